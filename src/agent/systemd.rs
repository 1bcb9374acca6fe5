//! Telling systemd how it goes: ready, reloading, stopping, and that the agent is still alive. Without systemd nothing is told.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// The agent runs.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The agent reads its configuration anew; `ready` ends that.
pub fn reloading() {
    let states = NotifyState::monotonic_usec_now().map(|now| [NotifyState::Reloading, now]);
    match states {
        Ok(states) => notify(&states),
        Err(error) => tracing::debug!("systemd is not told of the reload: {error}"),
    }
}

/// The agent ends.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Tells the watchdog, twice as often as it wants, that the runtime still runs its tasks; until the agent ends.
pub async fn watchdog(stop: CancellationToken) {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    tracing::debug!(?within, "systemd watches");
    while !stop.is_cancelled() {
        notify(&[NotifyState::Watchdog]);
        tokio::select! {
            () = tokio::time::sleep((within / 2).max(Duration::from_millis(100))) => {}
            () = stop.cancelled() => {}
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd is not told: {error}");
    }
}
