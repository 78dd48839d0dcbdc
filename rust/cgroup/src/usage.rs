//! Metering: what a group has used, as a frozen value. At most ten files, one read each, because this is on
//! the way out of every container.

use serde::{Deserialize, Serialize};

use crate::directory::Directory;
use crate::group::Group;
use crate::layout::Version;

const NANOSECONDS_PER_MICROSECOND: u64 = 1000;

/// What cannot be had on this host is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Nanoseconds of CPU time.
    pub cpu_total: Option<u64>,
    pub cpu_user: Option<u64>,
    pub cpu_system: Option<u64>,
    /// Nanoseconds for which the group was held back by its quota.
    pub cpu_throttled: Option<u64>,
    /// Bytes, page cache included.
    pub memory_current: Option<u64>,
    /// Bytes; on version 2 since Linux 5.19.
    pub memory_peak: Option<u64>,
    /// Processes killed because the group was at its memory limit.
    pub oom_kills: Option<u64>,
    /// Tasks, which are threads.
    pub pids_current: Option<u64>,
    /// Since Linux 6.11.
    pub pids_peak: Option<u64>,
    /// Bytes from and to block devices.
    pub io_read: Option<u64>,
    pub io_written: Option<u64>,
}

impl Group {
    /// Reads the meters; one that cannot be read is left out.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        self.meter_cpu(&mut usage);
        if let Some(directory) = self.at(self.places.memory) {
            meter_memory(directory, &mut usage);
        }
        if let Some(directory) = self.at(self.places.pids) {
            usage.pids_current = number(directory, "pids.current");
            usage.pids_peak = number(directory, "pids.peak");
        }
        if let Some(directory) = self.at(self.places.io) {
            meter_io(directory, &mut usage);
        }
        usage
    }

    /// Reads what counts when a container has ended: CPU time, the peak of memory, OOM kills. Three files, because this
    /// is on the way out of every container.
    pub fn totals(&self) -> Usage {
        let mut usage = Usage::default();
        if let Some(directory) = self.at(self.places.cpuacct) {
            usage.cpu_total = number(directory, "cpuacct.usage");
        } else {
            self.meter_cpu(&mut usage);
        }
        if let Some(directory) = self.at(self.places.memory) {
            meter_peak(directory, &mut usage);
        }
        usage
    }

    fn meter_cpu(&self, usage: &mut Usage) {
        // Every version 2 group has the times in one file, whether or not it has a CPU controller.
        let unified = self.at(self.places.unified).and_then(|directory| directory.try_read("cpu.stat").ok());
        if let Some(stat) = unified {
            let nanoseconds = |key| field(&stat, key).map(|time| time * NANOSECONDS_PER_MICROSECOND);
            usage.cpu_total = nanoseconds("usage_usec");
            usage.cpu_user = nanoseconds("user_usec");
            usage.cpu_system = nanoseconds("system_usec");
            usage.cpu_throttled = nanoseconds("throttled_usec");
        } else if let Some(directory) = self.at(self.places.cpuacct) {
            usage.cpu_total = number(directory, "cpuacct.usage");
            usage.cpu_user = number(directory, "cpuacct.usage_user");
            usage.cpu_system = number(directory, "cpuacct.usage_sys");
        }
        let version_1 = self.at(self.places.cpu).filter(|directory| directory.version == Version::V1);
        if let Some(stat) = version_1.and_then(|directory| directory.try_read("cpu.stat").ok()) {
            usage.cpu_throttled = field(&stat, "throttled_time");
        }
    }
}

fn meter_memory(directory: &Directory, usage: &mut Usage) {
    let current = match directory.version {
        Version::V1 => "memory.usage_in_bytes",
        Version::V2 => "memory.current",
    };
    usage.memory_current = number(directory, current);
    meter_peak(directory, usage);
}

fn meter_peak(directory: &Directory, usage: &mut Usage) {
    let (peak, events) = match directory.version {
        Version::V1 => ("memory.max_usage_in_bytes", "memory.oom_control"),
        Version::V2 => ("memory.peak", "memory.events"),
    };
    usage.memory_peak = number(directory, peak);
    usage.oom_kills = directory.try_read(events).ok().and_then(|text| field(&text, "oom_kill"));
}

fn meter_io(directory: &Directory, usage: &mut Usage) {
    let file = match directory.version {
        Version::V1 => "blkio.throttle.io_service_bytes_recursive",
        Version::V2 => "io.stat",
    };
    if let Ok(text) = directory.try_read(file) {
        let (read, written) = match directory.version {
            Version::V1 => sum_service_bytes(&text),
            Version::V2 => sum_io_stat(&text),
        };
        usage.io_read = Some(read);
        usage.io_written = Some(written);
    }
}

fn number(directory: &Directory, file: &str) -> Option<u64> {
    directory.try_read(file).ok()?.trim().parse().ok()
}

/// The value in a line `key value`.
pub(crate) fn field(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == key)?.1.trim().parse().ok()
}

/// Lines `8:0 Read 4096`, `8:0 Write 512` and more, for each device.
pub(crate) fn sum_service_bytes(text: &str) -> (u64, u64) {
    let mut sums = (0, 0);
    for line in text.lines() {
        let mut fields = line.split(' ').skip(1);
        let (operation, bytes) = (fields.next(), fields.next().and_then(|bytes| bytes.parse::<u64>().ok()));
        match (operation, bytes) {
            (Some("Read"), Some(bytes)) => sums.0 += bytes,
            (Some("Write"), Some(bytes)) => sums.1 += bytes,
            _ => {}
        }
    }
    sums
}

/// Lines `8:0 rbytes=4096 wbytes=512 rios=1 …`, one for each device.
pub(crate) fn sum_io_stat(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let values = text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
        values.sum()
    };
    (sum("rbytes="), sum("wbytes="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_key() {
        let text = "oom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(field(text, "oom_kill"), Some(2));
        assert_eq!(field(text, "oom_ki"), None);
    }

    #[test]
    fn bytes_of_all_devices_are_summed() {
        let version_1 =
            "8:0 Read 4096\n8:0 Write 512\n8:0 Total 4608\n8:16 Read 1\n8:16 Write 2\nTotal 4611\n";
        assert_eq!(sum_service_bytes(version_1), (4097, 514));
        let version_2 = "8:0 rbytes=4096 wbytes=512 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2\n";
        assert_eq!(sum_io_stat(version_2), (4097, 514));
        assert_eq!(sum_io_stat(""), (0, 0));
    }
}
