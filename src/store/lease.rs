//! Who holds a lake, and how a holder that died is told from one that lives.
//!
//! A bucket has no lock that ends with a process. Each run therefore has a lease there, which says what it claims: its holder renews it, and whoever
//! wants the same and finds it not renewed for its time ends it. Every write of a lease is conditional, so no two that conflict both succeed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Claim;

/// What a run writes about itself into the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The run; no two share it.
    pub run_id: String,
    /// Name of its machine.
    pub host: String,
    /// Its process.
    pub process: u32,
    /// Names boot, process namespace and start of that process, where the system tells: a process id alone is used again.
    pub incarnation: Option<String>,
}

impl Holder {
    /// This process.
    pub fn of_this_process(run_id: &str) -> Self {
        let process = std::process::id();
        Self {
            run_id: run_id.to_owned(),
            host: std::fs::read_to_string("/proc/sys/kernel/hostname")
                .map_or_else(|_| "unknown host".to_owned(), |name| name.trim().to_owned()),
            process,
            incarnation: incarnation(process),
        }
    }

    /// Whether the holder certainly no longer runs: it ran here, in this boot and process namespace, and its process is gone. False
    /// also where that cannot be known.
    pub fn is_dead(&self) -> bool {
        let (Some(theirs), Some(ours)) = (&self.incarnation, incarnation(std::process::id()))
        else {
            return false;
        };
        let world = |text: &str| text.rsplit_once(' ').map(|(world, _)| world.to_owned());
        world(theirs).is_some()
            && world(theirs) == world(&ours)
            && incarnation(self.process).as_ref() != Some(theirs)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "run {}, process {} on {}",
            self.run_id, self.process, self.host
        )
    }
}

/// `BOOT NAMESPACE START` of a process of this machine; none where the system does not tell or the process is gone.
///
/// # Source
/// Linux `proc_sys_kernel(5)` (`random/boot_id`), `namespaces(7)`, `proc_pid_stat(5)` (field 22, start time).
fn incarnation(process: u32) -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok();
    // The name in parentheses may hold anything, also blanks and parentheses. A zombie runs no more.
    let start = stat.and_then(|stat| {
        let after = stat.rsplit_once(')')?.1.trim_start().to_owned();
        let fields: Vec<&str> = after.split(' ').collect();
        (fields.first() != Some(&"Z")).then(|| fields.get(19).map(ToString::to_string))?
    });
    Some(format!(
        "{} {} {}",
        boot.trim(),
        namespace.display(),
        start.unwrap_or_else(|| "gone".to_owned())
    ))
}

/// What a run writes about itself while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    /// Who has it.
    #[serde(flatten)]
    pub(super) holder: Holder,
    /// Given back by its holder: free for whoever comes.
    pub(super) released: bool,
    /// Renewals so far: no two versions of the object are equal.
    pub(super) renewals: u64,
    /// Seconds after which, not renewed, it is no longer held.
    pub(super) seconds: u64,
    /// What nobody else may write meanwhile; of an earlier version the whole lake.
    #[serde(default = "Claim::everything")]
    pub(super) claim: Claim,
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.claim.member {
            Some(member) => write!(f, "{member}, {}", self.holder),
            None => self.holder.fmt(f),
        }
    }
}

/// How long a lease lives without being renewed, and how often it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// Time after which a lease that is not renewed is dead.
    pub life: Duration,
}

impl LeaseTimes {
    /// Between two renewals: four may fail in a row.
    pub(super) fn renewal(self) -> Duration {
        self.life / 5
    }
}

/// Seconds since the machine was started, the time it slept included: a process or machine that was suspended finds that time passed.
///
/// # Source
/// Linux `proc_uptime(5)`. Elsewhere the clock of the process, which some systems stop meanwhile.
pub(super) fn boot_seconds() -> f64 {
    static STARTED: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let uptime = std::fs::read_to_string("/proc/uptime").ok();
    let uptime = uptime.and_then(|text| text.split(' ').next()?.parse().ok());
    let started = STARTED.get_or_init(std::time::Instant::now);
    uptime.unwrap_or_else(|| started.elapsed().as_secs_f64())
}

/// When the lease was last certainly ours, in [`boot_seconds`].
#[derive(Clone, Debug)]
pub(super) struct Certain(Arc<Mutex<f64>>);

impl Certain {
    pub(super) fn now() -> Self {
        Self(Arc::new(Mutex::new(boot_seconds())))
    }

    pub(super) fn since(&self) -> f64 {
        boot_seconds() - *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was when the answer that says so was asked for.
    pub(super) fn at(&self, boot_seconds: f64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = boot_seconds;
    }
}

/// What to do about a lease that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Free, or its holder is certainly dead: take it over.
    Free,
    /// Renewed not long ago: its holder lives.
    Live,
    /// Not renewed for its time. Its dates are whole seconds, and may come from two machines: watch whether it is renewed for a while, then take it over.
    Watch,
}

/// Judges a lease by its age, in seconds by the store's clock.
pub(super) fn judge(lease: &Lease, age: i64) -> Finding {
    if lease.released || lease.holder.is_dead() {
        Finding::Free
    } else if age < i64::try_from(lease.seconds).unwrap_or(i64::MAX) {
        Finding::Live
    } else {
        Finding::Watch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Holder) -> Lease {
        Lease {
            holder,
            released: false,
            renewals: 0,
            seconds: 60,
            claim: Claim::everything(),
        }
    }

    #[test]
    fn a_running_process_is_alive_and_an_ended_one_dead() {
        let me = Holder::of_this_process("me");
        assert!(!me.is_dead());
        assert_eq!(judge(&lease(me.clone()), 10), Finding::Live);
        assert_eq!(judge(&lease(me.clone()), 60), Finding::Watch);
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("started");
        let other = Holder {
            process: child.id(),
            incarnation: incarnation(child.id()),
            ..me.clone()
        };
        assert!(!other.is_dead());
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(other.is_dead(), "{other:?}");
        assert_eq!(judge(&lease(other), 10), Finding::Free);
    }

    #[test]
    fn who_runs_elsewhere_is_never_called_dead() {
        let me = Holder::of_this_process("me");
        let elsewhere = Holder {
            process: u32::MAX,
            incarnation: Some("another-boot pid:[1] 7".to_owned()),
            ..me.clone()
        };
        assert!(!elsewhere.is_dead());
        let unknown = Holder {
            process: u32::MAX,
            incarnation: None,
            ..me
        };
        assert!(!unknown.is_dead());
        assert_eq!(
            judge(
                &Lease {
                    released: true,
                    ..lease(unknown)
                },
                0
            ),
            Finding::Free
        );
    }
}
