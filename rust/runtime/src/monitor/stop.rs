//! Runs in: a monitor. Whether there is anything to wait for when a command is asked to end.

/// Whether the first process inside does something about `signal`. The kernel keeps from it what it has not asked for: to
/// wait would be to wait for nothing. A signal that is blocked is one that it takes by other means (signalfd). Who stands in
/// sigwait, as inits do, our own among them, has what they wait for unblocked meanwhile: they are known by that call.
pub(super) fn handles(pid: i32, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let set = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        value.and_then(|value| u64::from_str_radix(value.trim(), 16).ok()).unwrap_or(0)
    };
    let bit = u32::try_from(signal - 1).ok().and_then(|place| 1_u64.checked_shl(place)).unwrap_or(0);
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let waits = call.split(' ').next() == Some(nix::libc::SYS_rt_sigtimedwait.to_string().as_str());
    waits || (set("SigCgt:") | set("SigBlk:")) & bit != 0
}
