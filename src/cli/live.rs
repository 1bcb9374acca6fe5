//! What a running agent says of itself, over its HTTP address.

use std::net::SocketAddr;
use std::time::Duration;

use indicatif::HumanBytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::agent::AgentStatus;
use crate::operations::windows::Window;
use crate::repository::ResourceName;
use crate::resources::postgres::archive::{BackupState, NewBackup, ReceiverStatus, SlotStatus, State};

/// How long the agent may take to answer; it answers from memory.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Why nothing is known of the agent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silence {
    /// None answers there.
    #[error("none answers")]
    Nobody,
    /// One answers that writes into another repository.
    #[error("the one that answers at {listen} writes into another repository, {repository}")]
    Stranger {
        /// Where that one lies.
        repository: String,
        listen: SocketAddr,
    },
}

impl Silence {
    /// What to do about a stranger.
    pub(super) const HINT: &str = "give this agent an [agent] listen of its own, and reload it";
}

/// The status of the agent that writes into `repository`, or of whichever answers where that cannot be reached.
pub(super) async fn status(listen: SocketAddr, repository: Option<&str>) -> Result<AgentStatus, Silence> {
    let answer = timeout(ANSWER_WITHIN, ask(listen)).await;
    match answer.ok().and_then(Result::ok).flatten() {
        None => Err(Silence::Nobody),
        Some(agent) if repository.is_some_and(|repository| agent.repository != repository) => {
            Err(Silence::Stranger { repository: agent.repository, listen })
        }
        Some(agent) => Ok(agent),
    }
}

async fn ask(listen: SocketAddr) -> std::io::Result<Option<AgentStatus>> {
    let mut connection = TcpStream::connect(listen).await?;
    // HTTP/1.0: the answer is one body that ends with the connection.
    connection.write_all(b"GET /status HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    connection.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").map(|head| &answer[head + 4..]);
    Ok(body.and_then(|body| serde_json::from_slice(body).ok()))
}

/// What the agent says of one cluster, for people; `window` is what was found in the store afterwards.
pub(super) fn lines(agent: &Result<AgentStatus, Silence>, resource: &ResourceName, window: Option<&Window>) -> Vec<String> {
    let agent = match agent {
        Ok(agent) => agent,
        Err(Silence::Nobody) => return vec!["  NO AGENT ANSWERS: nothing streams; start 'holdfast agent'".to_owned()],
        Err(stranger @ Silence::Stranger { .. }) => {
            return vec![format!("  NO WORD OF THE AGENT: {stranger}; {}", Silence::HINT)];
        }
    };
    let Some(receiver) = agent.receiver(resource) else { return Vec::new() };
    let missing = window.and_then(|window| missing_line(receiver, window));
    receiver_lines(receiver).into_iter().chain(missing).collect()
}

/// That objects are gone which the agent has stored. It knows of its own puts, and does not look at them again.
fn missing_line(receiver: &ReceiverStatus, window: &Window) -> Option<String> {
    let stored =
        receiver.stored.filter(|stored| receiver.timeline == Some(window.timeline) && *stored > window.to && !window.cut)?;
    Some(format!(
        "  WAL IS MISSING BEHIND {}: the agent has stored it up to {stored}, and it is not in the store any more; restart the agent, which streams again what \
         the server still has, and find out what removes objects from the store",
        window.to
    ))
}

fn receiver_lines(receiver: &ReceiverStatus) -> Vec<String> {
    let mut lines = vec![stream_line(receiver)];
    lines.extend(receiver.delay.as_ref().map(|delay| {
        format!(
            "  loss window (commit to stored): p50 {:.2} s, p99 {:.2} s, longest {:.2} s, of the last {} commits",
            delay.p50_seconds, delay.p99_seconds, delay.max_seconds, delay.commits
        )
    }));
    lines.extend(receiver.slot.as_ref().map(|slot| slot_line(slot, receiver.state)));
    lines.extend(receiver.new_backup.as_ref().map(new_backup_line));
    let troubles = receiver.store_trouble.iter().chain(&receiver.trouble);
    lines.extend(troubles.map(|trouble| {
        let hint = trouble.hint.as_ref().map(|hint| format!("\n    -> {hint}")).unwrap_or_default();
        format!("  TROUBLE: {}{hint}", trouble.message)
    }));
    lines.extend(receiver.warnings.iter().map(|warning| format!("  warning: {warning}")));
    lines
}

/// While nothing is streamed nobody looks at the slot, and it may have been dropped.
fn slot_line(slot: &SlotStatus, state: State) -> String {
    let SlotStatus { name, restart, at, .. } = slot;
    if restart.is_none() {
        return format!("  SLOT '{name}' HOLDS NOTHING BACK: at {at:.0} it was missing, or the server had given it up");
    }
    let limit = slot.limit_bytes.map_or_else(|| "no limit".to_owned(), |limit| format!("lost at {}", HumanBytes(limit)));
    let pace =
        slot.lost_at.map(|at| format!(", at the present rate of {}/s about {at:.0}", HumanBytes(slot.growth_bytes_per_second)));
    let retained = HumanBytes(slot.retained_bytes);
    match state {
        State::Streaming | State::Stalled => {
            format!("  slot '{name}' holds back {retained} ({limit}{})", pace.unwrap_or_default())
        }
        State::Starting | State::Waiting | State::Stopped => format!("  slot '{name}' held back {retained} at {at:.0} ({limit})"),
    }
}

fn new_backup_line(backup: &NewBackup) -> String {
    let NewBackup { because, since, failures, .. } = backup;
    match backup.state {
        BackupState::Running => format!("  a base backup is being taken since {since:.0} because of gap {because}"),
        BackupState::Done => format!("  a base backup was taken at {since:.0} because of gap {because}"),
        BackupState::Failed => {
            let why = backup.trouble.as_ref().map_or("", |trouble| trouble.message.as_str());
            format!("  THE BASE BACKUP BECAUSE OF GAP {because} FAILED ({failures} times) and is tried again: {why}")
        }
    }
}

fn stream_line(receiver: &ReceiverStatus) -> String {
    let state = match receiver.state {
        State::Starting => "is starting",
        State::Streaming if receiver.store_trouble.is_some() => "STREAMS, BUT THE STORE TAKES NOTHING",
        State::Streaming => "streams",
        State::Stalled => "WAITS FOR THE STORE",
        State::Waiting => "IS IN TROUBLE and tries again",
        State::Stopped => "has stopped",
    };
    let stored = receiver.stored.map(|stored| format!(", stored to {stored}, {} behind", HumanBytes(receiver.lag_bytes)));
    format!("  the agent {state}{}", stored.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::{Lsn, TimelineId};

    #[test]
    fn a_slot_that_nobody_looks_at_or_that_is_gone_is_not_said_to_hold_anything_back() {
        let at = "2026-11-22T07:16:00Z".parse().expect("a time");
        let (name, restart) = ("holdfast".to_owned(), Some(Lsn(0x300_0000)));
        let slot = SlotStatus {
            name,
            restart,
            retained_bytes: 1 << 20,
            limit_bytes: None,
            growth_bytes_per_second: 0,
            lost_at: None,
            at,
        };
        let line = |restart, state| slot_line(&SlotStatus { restart, ..slot.clone() }, state);
        assert_eq!(line(restart, State::Streaming), "  slot 'holdfast' holds back 1.00 MiB (no limit)");
        assert_eq!(line(restart, State::Waiting), "  slot 'holdfast' held back 1.00 MiB at 2026-11-22T07:16:00Z (no limit)");
        assert!(line(None, State::Stalled).starts_with("  SLOT 'holdfast' HOLDS NOTHING BACK: at 2026-11-22T07:16:00Z"));
    }

    #[test]
    fn what_the_agent_has_stored_and_is_not_found_is_named() {
        let from_time = "2026-11-22T07:16:00Z".parse().expect("a time");
        let window = |to, cut| Window { from: Lsn(1), from_time, timeline: TimelineId(2), to: Lsn(to), cut, backups: Vec::new() };
        let receiver = |timeline, stored| ReceiverStatus {
            timeline: Some(TimelineId(timeline)),
            stored: Some(Lsn(stored)),
            ..ReceiverStatus::default()
        };
        let line = missing_line(&receiver(2, 700), &window(500, false)).expect("it is missing");
        assert!(line.starts_with("  WAL IS MISSING BEHIND 0/1F4: the agent has stored it up to 0/2BC"), "{line}");
        assert_eq!(missing_line(&receiver(2, 700), &window(700, false)), None);
        assert_eq!(missing_line(&receiver(3, 700), &window(500, false)), None, "the window leads to an older timeline");
        assert_eq!(missing_line(&receiver(2, 700), &window(500, true)), None, "that is said already");
    }
}
