//! What a server in recovery logs (`xlogrecovery.c`, `xlog.c`), line by line.

use crate::pg::{Lsn, TimelineId};

/// What was logged so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The last position mentioned: where a record begins.
    pub(super) lsn: Option<Lsn>,
    /// Up to where was replayed when it was consistent.
    pub(super) consistent: Option<Lsn>,
    /// Where the last record begins that was read.
    pub(super) last_read: Option<Lsn>,
    /// The time of the last transaction.
    pub(super) last_transaction: Option<String>,
    /// The timeline that was begun.
    pub(super) new_timeline: Option<TimelineId>,
    /// Why it stopped.
    pub(super) stopped: Option<String>,
    /// Whether it takes writes.
    pub(super) promoted: bool,
    /// Whether it waits.
    pub(super) paused: bool,
    /// Whether it shuts down because of the target.
    pub(super) shut_down_at_target: bool,
    /// Whether the server has said that it ends.
    pub(super) ended: bool,
}

impl Seen {
    pub(super) fn take(&mut self, line: &str) {
        self.ended |= line.contains("FATAL:  ") || line.contains("database system is shut down");
        let Some((_, message)) = line.split_once("LOG:  ") else { return };
        if let Some(position) = after(message, "redo done at ") {
            self.last_read = first_word(position).parse().ok();
            self.lsn = self.last_read.or(self.lsn);
        } else if let Some(position) = after(message, "consistent recovery state reached at ") {
            self.consistent = first_word(position).parse().ok();
        } else if let Some(position) = current_position(message) {
            self.lsn = first_word(position).parse().ok().or(self.lsn);
        } else if let Some(time) = after(message, "last completed transaction was at log time ") {
            self.last_transaction = Some(time.to_owned());
        } else if let Some(timeline) = after(message, "selected new timeline ID: ") {
            self.new_timeline = timeline.trim().parse().ok().map(TimelineId);
        } else if message.starts_with("recovery stopping ") {
            self.stopped = Some(message.to_owned());
        } else if message.starts_with("database system is ready to accept connections") {
            self.promoted = true;
        } else if message.starts_with("pausing at the end of recovery") || message.starts_with("recovery has paused") {
            self.paused = true;
        } else if message.starts_with("shutdown at recovery target") {
            self.shut_down_at_target = true;
        }
    }
}

fn after<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    message.strip_prefix(start)
}

/// `redo in progress, elapsed time: 1.00 s, current LSN: 0/4000028`
fn current_position(message: &str) -> Option<&str> {
    after(message, "redo in progress").and_then(|rest| Some(rest.split_once("current LSN: ")?.1))
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_logs_in_recovery_is_understood() {
        let mut seen = Seen::default();
        for line in [
            "2026-11-22 10:00:00.123 UTC [17] LOG:  redo starts at 0/2000028",
            "2026-11-22 10:00:00.123 UTC [17] LOG:  consistent recovery state reached at 0/2000120",
            "2026-11-22 10:00:01.123 UTC [17] LOG:  redo in progress, elapsed time: 1.00 s, current LSN: 0/3A00028",
            "2026-11-22 10:00:02.123 UTC [17] LOG:  recovery stopping before commit of transaction 741, time 2026-11-22 09:59:00+00",
            "2026-11-22 10:00:02.123 UTC [15] LOG:  database system is ready to accept read-only connections",
            "2026-11-22 10:00:02.123 UTC [17] LOG:  redo done at 0/4000028 system usage: CPU: user: 0.00 s",
            "2026-11-22 10:00:02.123 UTC [17] LOG:  last completed transaction was at log time 2026-11-22 09:58:59.5+00",
            "2026-11-22 10:00:02.123 UTC [17] LOG:  selected new timeline ID: 2",
        ] {
            seen.take(line);
        }
        assert_eq!(seen.last_read, seen.lsn);
        assert_eq!(seen.consistent, Some(Lsn(0x200_0120)));
        assert_eq!((seen.lsn, seen.new_timeline), (Some(Lsn(0x400_0028)), Some(TimelineId(2))));
        assert_eq!(seen.last_transaction.as_deref(), Some("2026-11-22 09:58:59.5+00"));
        assert!(seen.stopped.is_some() && !seen.paused && !seen.shut_down_at_target && !seen.ended && !seen.promoted);
        seen.take("2026-11-22 10:00:03.123 UTC [15] LOG:  database system is ready to accept connections");
        assert!(seen.promoted);
    }
}
