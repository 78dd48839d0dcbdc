//! Whether a container that has ended is started again, and after how long: docker's rules, as a pure function.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);
/// Who ran for this long begins with the shortest pause again.
const LONG_RUN: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    #[default]
    No,
    /// After a status other than 0; at most so many times, if that is not 0.
    OnFailure {
        most: u32,
    },
    Always,
    /// As `Always`, as far as a monitor is concerned: the two differ when the machine starts.
    UnlessStopped,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub status: i32,
    pub lasted: Duration,
    /// The user wanted it to end: then it stays so.
    pub stopped: bool,
}

/// What is remembered from one run to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restarts {
    pub count: u32,
    pause: Duration,
}

impl Restarts {
    /// The pause before the next run; nothing when there is none.
    pub fn after(&mut self, policy: Policy, end: End) -> Option<Duration> {
        let wanted = match policy {
            Policy::No => false,
            Policy::OnFailure { most } => end.status != 0 && (most == 0 || self.count < most),
            Policy::Always | Policy::UnlessStopped => true,
        };
        if !wanted || end.stopped {
            return None;
        }
        let fresh = self.pause.is_zero() || end.lasted >= LONG_RUN;
        self.pause = if fresh { SHORTEST } else { (self.pause * 2).min(LONGEST) };
        self.count += 1;
        Some(self.pause)
    }
}
