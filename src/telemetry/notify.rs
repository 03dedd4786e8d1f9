//! What systemd is told (`sd_notify(3)`): started, what the worker is about, alive, reloading, stopping. Where nobody
//! asked for it, by `NOTIFY_SOCKET`, nothing is said.

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// The worker has begun. It does not wait for the broker, which may be down for hours: that is no failed start, and
/// the status tells it.
pub fn started() {
    tell(&[NotifyState::Ready]);
}

/// What it is about: the line that `systemctl status` shows.
pub fn status(text: &str) {
    // One line: a line end would begin another message.
    tell(&[NotifyState::Status(&text.replace(['\n', '\r'], " "))]);
}

/// The configuration is being read again. The time lets systemd tell this from an answer to a reload before.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic time"),
    }
}

/// It was read, and taken over or refused.
pub fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// It finishes what is in flight and ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that the worker is alive as long as it is, twice in the time that `WatchdogSec=` allows. All work is done on
/// one thread, and this runs on it: what holds it up holds this up. A broker or a provider that hangs does not; those
/// are waited for with bounds of their own.
pub async fn watchdog(is_live: impl Fn() -> bool) {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return;
    };
    let mut beats = interval(limit / 2);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        if is_live() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
