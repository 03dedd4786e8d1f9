//! Points of a job's way at which a test can let the worker die or panic. Without the feature `failpoints` they
//! are nothing at all.
//!
//! `FAILPOINT=NAME:ACTION:N` lets the N-th job that reaches the point NAME do ACTION: `kill` (the process ends
//! at once, as by SIGKILL) or `panic`.

/// A job was taken from its queue.
pub const TAKEN: &str = "taken";
/// Its lookup is over, and nothing is published yet.
pub const LOOKED_UP: &str = "looked_up";
/// What replaces it is confirmed, and it is not acknowledged yet.
pub const REPLACED: &str = "replaced";
/// It is acknowledged, as far as the worker can tell.
pub const ACKNOWLEDGED: &str = "acknowledged";

/// A job passes here.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn reach(_point: &str) {}

/// A job passes here.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(point: &str) {
    use std::{
        env,
        sync::{
            LazyLock,
            atomic::{AtomicU64, Ordering},
        },
    };
    static WANTED: LazyLock<Option<(String, String, u64)>> = LazyLock::new(|| {
        let text = env::var("FAILPOINT").ok()?;
        let mut parts = text.split(':');
        Some((parts.next()?.to_owned(), parts.next()?.to_owned(), parts.next()?.parse().ok()?))
    });
    static REACHED: AtomicU64 = AtomicU64::new(0);
    let Some((name, action, nth)) = &*WANTED else { return };
    if name == point && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *nth {
        match action.as_str() {
            "kill" => std::process::abort(),
            _ => panic!("as the failpoint {name} was told to"),
        }
    }
}
