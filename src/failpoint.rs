//! Points of a job's way at which a test can let the worker die or panic, and consumers that it can make silent.
//! Without the feature `failpoints` they are nothing at all.
//!
//! - `FAILPOINT=NAME:ACTION:N` lets the N-th job that reaches the point NAME do ACTION: `kill` (the process ends at
//!   once, as by SIGKILL) or `panic`, with any words behind it.
//! - `FAILPOINT=NAME:ACTION:id=ID` lets the job with the `message_id` ID do so, each time.
//! - `FAILPOINT=silent:QUEUE:N` lets the consumer of QUEUE be silent the first N times that it begins: the broker
//!   does not know it any more, and nothing tells so.
//! - `FAILPOINT_LOOK_MS=N` lets the worker look for progress every N milliseconds.

#[cfg(not(feature = "failpoints"))]
use std::time::Duration;

/// A job was taken from its queue.
pub const TAKEN: &str = "taken";
/// Its lookup is over, and nothing is published yet.
pub const LOOKED_UP: &str = "looked_up";
/// A step of its lookup said something.
pub const STEPPED: &str = "stepped";
/// What replaces it is confirmed, and it is not acknowledged yet.
pub const REPLACED: &str = "replaced";
/// It is acknowledged, as far as the worker can tell.
pub const ACKNOWLEDGED: &str = "acknowledged";

#[cfg(feature = "failpoints")]
pub(crate) use told::{is_silent, look_every, reach};

/// A job passes here.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn reach(_point: &str, _id: Option<&str>) {}

/// Whether the consumer of a queue, which begins, is to be silent.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn is_silent(_queue: &str) -> bool {
    false
}

/// How often the worker looks for progress.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn look_every(usual: Duration) -> Duration {
    usual
}

/// As the environment tells.
#[cfg(feature = "failpoints")]
mod told {
    use std::{
        env,
        sync::{
            LazyLock,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    static TOLD: LazyLock<Option<[String; 3]>> = LazyLock::new(|| {
        let text = env::var("FAILPOINT").ok()?;
        let mut parts = text.split(':').map(str::to_owned);
        Some([parts.next()?, parts.next()?, parts.next()?])
    });
    static REACHED: AtomicU64 = AtomicU64::new(0);

    pub(crate) fn reach(point: &str, id: Option<&str>) {
        let Some([name, action, which]) = &*TOLD else {
            return;
        };
        if name != point {
            return;
        }
        let is_it = match which.strip_prefix("id=") {
            Some(wanted) => id == Some(wanted),
            None => which.parse() == Ok(REACHED.fetch_add(1, Ordering::Relaxed) + 1),
        };
        match action.as_str() {
            _ if !is_it => {}
            "kill" => std::process::abort(),
            panic => panic!("as the failpoint {name} was told to: {panic}"),
        }
    }

    pub(crate) fn is_silent(queue: &str) -> bool {
        let Some([name, silent, times]) = &*TOLD else {
            return false;
        };
        name == "silent"
            && silent == queue
            && times
                .parse()
                .is_ok_and(|n| REACHED.fetch_add(1, Ordering::Relaxed) < n)
    }

    pub(crate) fn look_every(usual: Duration) -> Duration {
        let told = env::var("FAILPOINT_LOOK_MS")
            .ok()
            .and_then(|text| text.parse().ok());
        told.map_or(usual, Duration::from_millis)
    }
}
