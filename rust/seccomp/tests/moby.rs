//! Moby's default profile gives the answers that its users know.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod machine;

use machine::{ALLOW, Call, ERRNO, run, run_counting};
use pycontain_seccomp::{Abi, Arch, Filter, MobyProfile, Profile, compile, default_profile, number, resolve};

const EPERM: u32 = ERRNO + 1;
const ENOSYS: u32 = ERRNO + 38;

/// What docker gives a container by default.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

fn filter(more: &[&str], kernel: (u32, u32), arch: Arch) -> Filter {
    let capabilities = [&CAPABILITIES, more].concat();
    compile(&resolve(&default_profile(), &capabilities, kernel, arch), arch).unwrap()
}

fn answer(filter: &Filter, abi: Abi, name: &str, args: &[u64]) -> u32 {
    let number = number(abi, name).unwrap_or_else(|| panic!("no {name}"));
    run(&filter.instructions, &Call::new(abi, number, args))
}

#[test]
fn known_calls_get_their_known_answers() {
    let filter = filter(&[], (6, 1), Arch::X86_64);
    let cases: [(&str, &[u64], u32); 22] = [
        ("read", &[], ALLOW),
        ("execve", &[], ALLOW),
        ("mount", &[], EPERM),
        ("unshare", &[], EPERM),
        ("keyctl", &[], EPERM),
        ("bpf", &[], EPERM),
        ("kexec_load", &[], EPERM),
        ("clone3", &[], ENOSYS),
        ("clone", &[0x0100_0011], ALLOW),
        ("clone", &[0x1000_0000], EPERM), // CLONE_NEWUSER
        ("clone", &[0x0002_0000], EPERM), // CLONE_NEWNS
        ("ptrace", &[], ALLOW),
        ("chroot", &[], ALLOW), // by CAP_SYS_CHROOT
        ("socket", &[2], ALLOW),
        ("socket", &[40], EPERM), // AF_VSOCK
        ("personality", &[0], ALLOW),
        ("personality", &[0x0002_0008], ALLOW),
        ("personality", &[0xffff_ffff], ALLOW),
        ("personality", &[0x0004_0000], EPERM), // ADDR_NO_RANDOMIZE
        ("arch_prctl", &[], ALLOW),
        ("open_by_handle_at", &[], EPERM),
        ("listns", &[], ENOSYS), // newer than the profile
    ];
    for (name, args, should) in cases {
        assert_eq!(answer(&filter, Abi::X86_64, name, args), should, "{name} {args:x?}");
    }
}

#[test]
fn capabilities_and_kernels_change_the_answers() {
    let administrator = filter(&["CAP_SYS_ADMIN"], (6, 1), Arch::X86_64);
    assert_eq!(answer(&administrator, Abi::X86_64, "clone3", &[]), ALLOW);
    assert_eq!(answer(&administrator, Abi::X86_64, "clone", &[0x1000_0000]), ALLOW);
    assert_eq!(answer(&administrator, Abi::X86_64, "mount", &[]), ALLOW);
    let old = filter(&[], (4, 7), Arch::X86_64);
    assert_eq!(answer(&old, Abi::X86_64, "ptrace", &[]), EPERM);
    assert_eq!(answer(&filter(&["CAP_SYS_PTRACE"], (4, 7), Arch::X86_64), Abi::X86_64, "ptrace", &[]), ALLOW);
}

#[test]
fn the_other_abis_of_a_machine_are_filtered_too() {
    let x86 = filter(&[], (6, 1), Arch::X86_64);
    for abi in [Abi::X86, Abi::X32] {
        assert_eq!(answer(&x86, abi, "read", &[]), ALLOW);
        assert_eq!(answer(&x86, abi, "mount", &[]), EPERM);
        assert_eq!(answer(&x86, abi, "clone3", &[]), ENOSYS);
    }
    assert_eq!(answer(&x86, Abi::X86, "socketcall", &[1]), ALLOW);
    let arm = filter(&[], (6, 1), Arch::Aarch64);
    for abi in [Abi::Aarch64, Abi::Arm] {
        assert_eq!(answer(&arm, abi, "read", &[]), ALLOW);
        assert_eq!(answer(&arm, abi, "mount", &[]), EPERM);
    }
    assert_eq!(answer(&arm, Abi::Arm, "set_tls", &[]), ALLOW);
    assert_eq!(run(&arm.instructions, &Call::new(Abi::X86_64, 0, &[])), machine::KILL_THREAD);
}

#[test]
fn plain_answers_need_no_arguments() {
    let filter = filter(&[], (6, 1), Arch::X86_64);
    let mut looked = Vec::new();
    for number in 0..500 {
        let (_, loads) = run_counting(&filter.instructions, &Call::new(Abi::X86_64, number, &[]));
        if loads > 0 {
            looked.push(number);
        }
    }
    let with_arguments = ["socket", "clone", "personality"].map(|name| number(Abi::X86_64, name).unwrap());
    assert_eq!(looked, with_arguments, "the kernel keeps constant answers only");
}

#[test]
fn the_program_is_short() {
    // The kernel takes 4096; what it walks through is the depth of the search, not this.
    let length = filter(&[], (6, 1), Arch::X86_64).instructions.len();
    assert!((100..800).contains(&length), "{length}");
}

#[test]
fn profiles_survive_being_written_and_read() {
    let moby = default_profile();
    let json = serde_json::to_string(&moby).unwrap();
    assert_eq!(serde_json::from_str::<MobyProfile>(&json).unwrap(), moby);
    let profile = resolve(&moby, &CAPABILITIES, (6, 1), Arch::X86_64);
    assert_eq!(profile.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    let json = serde_json::to_string(&profile).unwrap();
    assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
}

#[test]
fn profiles_in_the_form_of_the_runtime_specification_are_taken_too() {
    let json = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
        {"name": "mkdir", "action": "SCMP_ACT_ERRNO", "args": [], "includes": {}, "excludes": null},
        {"names": ["rmdir"], "action": "SCMP_ACT_ERRNO", "excludes": {"minKernel": "5.0.1"}}]}"#;
    let moby: MobyProfile = serde_json::from_str(json).unwrap();
    let none: [&str; 0] = [];
    let names = |kernel| -> Vec<String> {
        resolve(&moby, &none, kernel, Arch::X86_64)
            .syscalls
            .into_iter()
            .flat_map(|entry| entry.names)
            .collect()
    };
    assert_eq!(names((4, 19)), ["mkdir", "rmdir"]);
    assert_eq!(names((5, 0)), ["mkdir"]);
    assert!(serde_json::from_str::<MobyProfile>(&json.replace("5.0.1", "five")).is_err());
}
