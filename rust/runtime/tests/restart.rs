//! The restart policy, for any history of runs.

use std::time::Duration;

use proptest::prelude::*;
use pycontain_runtime::restart::{End, Policy, Restarts};

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::No),
        (0..5u32).prop_map(|most| Policy::OnFailure { most }),
        Just(Policy::Always),
        Just(Policy::UnlessStopped),
    ]
}

fn end() -> impl Strategy<Value = End> {
    (0..3i32, 0..20_000u64, prop::bool::weighted(0.1)).prop_map(|(status, lasted, stopped)| End {
        status,
        lasted: Duration::from_millis(lasted),
        stopped,
    })
}

proptest! {
    #[test]
    fn what_the_user_stopped_stays_so(policy in policy(), status in 0..256i32) {
        let end = End { status, lasted: Duration::ZERO, stopped: true };
        prop_assert_eq!(Restarts::default().after(policy, end), None);
    }

    #[test]
    fn pauses_double_to_a_minute_and_begin_anew_after_a_long_run(
        policy in policy(), ends in prop::collection::vec(end(), 1..40),
    ) {
        let mut restarts = Restarts::default();
        let mut before = None;
        for end in ends {
            let count = restarts.count;
            let Some(pause) = restarts.after(policy, end) else { break };
            let short = Duration::from_millis(100);
            let expected = match before {
                Some(before) if end.lasted < Duration::from_secs(10) => Duration::from_secs(60).min(before * 2),
                _ => short,
            };
            prop_assert_eq!(pause, expected);
            prop_assert_eq!(restarts.count, count + 1);
            before = Some(pause);
        }
    }

    #[test]
    fn failures_are_counted_and_success_ends_it(most in 1..10u32) {
        let mut restarts = Restarts::default();
        let policy = Policy::OnFailure { most };
        let failed = End { status: 1, lasted: Duration::ZERO, stopped: false };
        for _ in 0..most {
            prop_assert!(restarts.after(policy, failed).is_some());
        }
        prop_assert_eq!(restarts.after(policy, failed), None);
        prop_assert_eq!(Restarts::default().after(policy, End { status: 0, ..failed }), None);
    }

    #[test]
    fn always_is_always(status in 0..256i32, lasted in 0..100_000u64) {
        for policy in [Policy::Always, Policy::UnlessStopped] {
            let end = End { status, lasted: Duration::from_millis(lasted), stopped: false };
            prop_assert!(Restarts::default().after(policy, end).is_some());
        }
    }
}
