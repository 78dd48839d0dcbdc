//! Runs in: a monitor. Probes of a container's health, by docker's rules: processes inside, one at a time.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{pipe2, read};
use pycontain_runtime::protocol::{Event, Failure, Health as Options};
use pycontain_runtime::time;
use pycontain_sys::socket;
use serde::Serialize;

use super::{Monitor, happenings};
use crate::channel;
use crate::failure::During;

/// As much of what a probe writes is kept, of so many probes.
const LONGEST_OUTPUT: usize = 4096;
const KEPT: usize = 5;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// In `state.json`.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    status: Status,
    failing_streak: u32,
    log: Vec<Entry>,
}

#[derive(Clone, Debug, Serialize)]
struct Entry {
    start: String,
    end: String,
    exit_code: i32,
    output: String,
}

pub(super) struct Health {
    pub options: Options,
    pub report: Report,
    run_begun: Instant,
    due: Instant,
    pub probe: Option<Probe>,
}

/// One that is under way: a process inside, of which the monitor itself is the client.
pub(super) struct Probe {
    pub handle: OwnedFd,
    pub output: Option<OwnedFd>,
    written: Vec<u8>,
    begun: String,
    deadline: Instant,
}

impl Health {
    pub(super) fn new(options: Options) -> Self {
        let now = Instant::now();
        let mut health = Self { options, report: Report::default(), run_begun: now, due: now, probe: None };
        health.plan_next(now);
        health
    }

    fn plan_next(&mut self, now: Instant) {
        let starting = self.report.status == Status::Starting
            && now.duration_since(self.run_begun) < milliseconds(self.options.start_period);
        let pause = if starting { self.options.start_interval } else { self.options.interval };
        self.due = now + milliseconds(pause);
    }

    /// When there is something to do, while the container runs.
    pub(super) fn due(&self) -> Instant {
        self.probe.as_ref().map_or(self.due, |probe| probe.deadline)
    }

    pub(super) fn begin(&mut self, handle: OwnedFd, output: OwnedFd) {
        let deadline = Instant::now() + milliseconds(self.options.timeout);
        let (written, begun) = (Vec::new(), time::now());
        self.probe = Some(Probe { handle, output: Some(output), written, begun, deadline });
    }

    /// A probe has ended, or was not even begun. `why` it did not run as it should, if so.
    pub(super) fn ended(&mut self, status: i32, why: Option<String>) {
        let now = Instant::now();
        let (start, written) = self.probe.take().map_or_else(
            || (time::now(), Vec::new()),
            |mut probe| {
                probe.take_output();
                (probe.begun, probe.written)
            },
        );
        let output = why.unwrap_or_else(|| String::from_utf8_lossy(&written).into_owned());
        self.report.log.push(Entry { start, end: time::now(), exit_code: status, output });
        if self.report.log.len() > KEPT {
            self.report.log.remove(0);
        }
        if status == 0 {
            self.report.failing_streak = 0;
            self.report.status = Status::Healthy;
        } else if self.report.status != Status::Starting
            || now.duration_since(self.run_begun) >= milliseconds(self.options.start_period)
        {
            self.report.failing_streak += 1;
            if self.report.failing_streak >= self.options.retries.max(1) {
                self.report.status = Status::Unhealthy;
            }
        }
        self.plan_next(now);
    }
}

impl Probe {
    /// What it has written; a process that it left behind may keep the pipe open.
    pub(super) fn take_output(&mut self) {
        let mut buffer = [0; 1024];
        while let Some(output) = &self.output {
            match read(output.as_fd(), &mut buffer) {
                Ok(length @ 1..) => {
                    let room = LONGEST_OUTPUT - self.written.len();
                    self.written.extend_from_slice(&buffer[..length.min(room)]);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Ok(_) | Err(_) => self.output = None,
            }
        }
    }
}

impl Monitor<'_> {
    /// A new run: nothing is known of its health.
    pub(super) fn watch_health(&mut self) -> nix::Result<()> {
        self.health = self.detached.health.clone().map(Health::new);
        self.write_health()
    }

    /// On a full disk it stays as it was.
    fn report_health(&mut self) {
        let before = self.state.health.as_ref().map(|report| report.status);
        let _ = self.write_health();
        let now = self.state.health.as_ref().map(|report| report.status).filter(|now| Some(*now) != before);
        if let Some(word) = now.map(Status::word) {
            happenings::tell(&self.directory, &format!("health_status: {word}"), &[]);
        }
    }

    fn write_health(&mut self) -> nix::Result<()> {
        self.state.health = self.health.as_ref().map(|health| health.report.clone());
        self.state.write(&self.directory)
    }

    /// It is time for a probe, or a probe has taken too long. What stands still is not asked how it is.
    pub(super) fn on_health_due(&mut self) {
        let still = self.stands_still();
        let Some(health) = &mut self.health else { return };
        if still {
            return health.plan_next(Instant::now());
        }
        if health.probe.is_some() {
            let why = format!("Health check exceeded timeout ({} ms)", health.options.timeout);
            health.ended(-1, Some(why));
            return self.report_health();
        }
        let begun = self.begin_probe();
        let Some(health) = &mut self.health else { return };
        match begun {
            Ok((handle, output)) => health.begin(handle, output),
            Err(failure) => {
                health.ended(-1, Some(failure.step));
                self.report_health();
            }
        }
    }

    fn begin_probe(&mut self) -> Result<(OwnedFd, OwnedFd), Failure> {
        let plan = self
            .health_plan
            .as_ref()
            .ok_or(Errno::ENOENT)
            .and_then(|plan| plan.try_clone().map_err(|_| Errno::EMFILE));
        let plan = plan.during(|| "find the plan of a probe".to_owned())?;
        let streams = || -> nix::Result<(OwnedFd, OwnedFd, [OwnedFd; 2])> {
            let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
            let (output, theirs) = pipe2(OFlag::O_CLOEXEC)?;
            super::streams::do_not_wait(&output)?;
            let copy = theirs.try_clone().map_err(|_| Errno::EMFILE)?;
            Ok((output, null, [theirs, copy]))
        };
        let (output, null, [stdout, stderr]) = streams().during(|| "make a pipe".to_owned())?;
        let (handle, theirs) = socket::pair().during(|| "make a socket pair".to_owned())?;
        let entered = self.enter(theirs, false, &[plan, null, stdout, stderr])?;
        self.entries += 1;
        self.entered.insert(self.entries, entered);
        Ok((handle, output))
    }

    pub(super) fn on_probe_output(&mut self) {
        let probe = self.health.as_mut().and_then(|health| health.probe.as_mut());
        probe.into_iter().for_each(Probe::take_output);
    }

    pub(super) fn on_probe(&mut self) {
        let Some(health) = &mut self.health else { return };
        let Some(probe) = &health.probe else { return };
        match channel::receive::<Event>(probe.handle.as_fd(), false) {
            Ok(Some((Event::Exited(exited), _))) => health.ended(exited.status, None),
            Ok(Some((Event::Failed(failure), _))) => health.ended(-1, Some(failure.step)),
            Ok(Some(_)) | Err(Errno::EAGAIN) => return,
            Ok(None) | Err(_) => health.ended(-1, None),
        }
        self.report_health();
    }
}

fn milliseconds(value: u64) -> Duration {
    // So that it can be added to any moment.
    Duration::from_millis(value.min(u64::from(u32::MAX)))
}
