//! Architectures, the ABIs each of them runs, and their system call numbers.

use std::collections::HashMap;

/// The machine that a container runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    /// The one this code was compiled for, if filters can be made for it.
    pub const fn native() -> Option<Arch> {
        if cfg!(target_arch = "x86_64") {
            Some(Arch::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Arch::Aarch64)
        } else {
            None
        }
    }

    /// What its kernel can run, its own ABI first.
    pub fn abis(self) -> &'static [Abi] {
        match self {
            Arch::X86_64 => &[Abi::X86_64, Abi::X86, Abi::X32],
            Arch::Aarch64 => &[Abi::Aarch64, Abi::Arm],
        }
    }

    /// As Go says it, and with it Moby's profiles.
    pub fn go_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::Aarch64 => "arm64",
        }
    }
}

/// A way to make system calls, with numbers of its own. The order is that of the columns of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Abi {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
}

/// `__X32_SYSCALL_BIT`.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

impl Abi {
    /// As the runtime specification says it.
    pub fn name(self) -> &'static str {
        match self {
            Abi::X86_64 => "SCMP_ARCH_X86_64",
            Abi::X86 => "SCMP_ARCH_X86",
            Abi::X32 => "SCMP_ARCH_X32",
            Abi::Aarch64 => "SCMP_ARCH_AARCH64",
            Abi::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// `AUDIT_ARCH_*`, by which the kernel tells a filter who calls. x32 calls as x86-64 does, with a bit set.
    pub fn audit_arch(self) -> u32 {
        match self {
            Abi::X86_64 | Abi::X32 => 0xc000_003e,
            Abi::X86 => 0x4000_0003,
            Abi::Aarch64 => 0xc000_00b7,
            Abi::Arm => 0x4000_0028,
        }
    }

    /// Whether registers are 32 bits wide, so that the upper halves of arguments mean nothing.
    pub(crate) fn is_narrow(self) -> bool {
        matches!(self, Abi::X86 | Abi::Arm)
    }
}

const TABLE: &str = include_str!("../data/syscalls.tsv");

/// The table, read once for each filter.
pub(crate) struct Numbers(HashMap<&'static str, &'static str>);

impl Numbers {
    pub fn read() -> Numbers {
        let entries = TABLE.lines().filter(|line| !line.starts_with('#'));
        Numbers(entries.filter_map(|line| line.split_once('\t')).collect())
    }

    /// The number of a system call, unless the ABI does not have it.
    pub fn get(&self, abi: Abi, name: &str) -> Option<u32> {
        self.0.get(name)?.split('\t').nth(abi as usize)?.parse().ok()
    }
}

/// The number of a system call, unless the ABI does not have it.
pub fn number(abi: Abi, name: &str) -> Option<u32> {
    let (_, entry) = TABLE.split_once(&format!("\n{name}\t"))?;
    entry.lines().next()?.split('\t').nth(abi as usize)?.parse().ok()
}

/// Calls that x86 also makes through one of two others: the other, the value of its first argument, and the
/// part of that argument which says so. `ipc` keeps a version in the upper half.
pub(crate) fn multiplexed(abi: Abi, name: &str) -> Option<(u32, u64, u64)> {
    const SOCKETCALL: u32 = 102;
    const IPC: u32 = 117;
    const SOCKET_CALLS: [&str; 20] = [
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ];
    const IPC_CALLS: [(&str, u64); 12] = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    if abi != Abi::X86 {
        return None;
    }
    let socket = SOCKET_CALLS.iter().zip(1..).find(|(call, _)| **call == name);
    let socket = socket.map(|(_, value)| (SOCKETCALL, value, 0xffff_ffff));
    socket
        .or_else(|| IPC_CALLS.iter().find(|(call, _)| *call == name).map(|(_, value)| (IPC, *value, 0xffff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_found() {
        let numbers = Numbers::read();
        let mut lines = 0;
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            assert_eq!(fields.len(), 6, "{line}");
            for (abi, field) in
                [Abi::X86_64, Abi::X86, Abi::X32, Abi::Aarch64, Abi::Arm].into_iter().zip(&fields[1..])
            {
                let number_there = field.parse().ok();
                assert_eq!(numbers.get(abi, fields[0]), number_there, "{line}");
                assert_eq!(number(abi, fields[0]), number_there, "{line}");
            }
            lines += 1;
        }
        assert!(lines > 450);
        for absent in ["", "a", "zzz", "#", "read\t", "reads"] {
            assert_eq!(number(Abi::X86_64, absent), None, "{absent}");
        }
    }

    #[test]
    fn numbers_are_those_of_the_c_library() {
        let native = if cfg!(target_arch = "x86_64") { Abi::X86_64 } else { Abi::Aarch64 };
        let known = [
            ("read", libc::SYS_read),
            ("clone3", libc::SYS_clone3),
            ("personality", libc::SYS_personality),
            ("socket", libc::SYS_socket),
            ("mseal", libc::SYS_mseal),
            ("seccomp", libc::SYS_seccomp),
        ];
        for (name, known) in known {
            assert_eq!(number(native, name).map(i64::from), Some(known), "{name}");
        }
    }
}
