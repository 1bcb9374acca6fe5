//! A plan for a person to read.

use std::fmt;

use super::{NO_COMMIT, RestorePlan};
use crate::pg::TimelineId;
use crate::pg::records::Commit;
use crate::pg::recovery::{RecoveryTarget, TargetAction};

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = self.backup.postgres();
        writeln!(f, "cluster    {}, PostgreSQL {}", self.system_id, detail.server_version / 10000)?;
        writeln!(f, "target     {}", self.target_line())?;
        if let Some(before) = &self.located.before {
            writeln!(f, "           last commit in it:  {}", Line(before))?;
        } else if self.asked != RecoveryTarget::Immediate && !self.located.search_cut_short {
            writeln!(f, "           last commit in it:  {NO_COMMIT}")?;
        }
        if let Some(after) = &self.located.after {
            writeln!(f, "           first one left out: {}", Line(after))?;
        }
        let (start, stop) = (detail.start_lsn, detail.stop_lsn);
        writeln!(f, "backup     {}, finished {:.0}, consistent from {stop} on", self.backup.id, self.backup.finished_at)?;
        writeln!(f, "           {} stored, {} to write", bytes(self.stored_bytes), bytes(self.plain_bytes))?;
        let segments = if self.segments == 1 { "1 segment".to_owned() } else { format!("{} segments", self.segments) };
        let timelines: Vec<String> = self.wal.iter().map(|part| part.timeline.to_string()).collect();
        let (end, which) = (self.wal.last().map_or(start, |part| part.end), timelines.join(", then "));
        writeln!(f, "WAL        {start} to {end} on timeline {which}: {} in {segments}", bytes(self.wal_bytes))?;
        for window in &self.windows {
            writeln!(f, "window     {window}")?;
        }
        write!(f, "time       about {}", duration(self.estimated_seconds))?;
        self.warnings.iter().try_for_each(|warning| write!(f, "\nwarning    {warning}"))
    }
}

impl RestorePlan {
    fn target_line(&self) -> String {
        let timeline = self.stop.timeline.unwrap_or_else(|| self.wal.last().map_or(TimelineId::FIRST, |part| part.timeline));
        let bound = match (&self.asked, self.stop.inclusive) {
            (RecoveryTarget::EndOfWal | RecoveryTarget::Immediate | RecoveryTarget::Name(_), _) => "",
            (_, true) => ", inclusive",
            (_, false) => ", exclusive",
        };
        let action = if self.stop.target == RecoveryTarget::EndOfWal { TargetAction::Promote } else { self.stop.action };
        format!("{}{bound}, on timeline {timeline}, then {action}", self.asked)
    }
}

/// A commit in one line.
struct Line<'a>(&'a Commit);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}, transaction {}", self.0.time, self.0.lsn, self.0.xid)
    }
}

/// A size in the unit that suits it.
pub fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} bytes");
    }
    let exponent = (count.ilog2() / 10).min(5);
    let tenths = (u128::from(count) * 10) >> (10 * exponent);
    format!("{}.{} {}", tenths / 10, tenths % 10, units[exponent as usize - 1])
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        let sizes = [0, 1023, 1024, 1536, 5 << 20, (3 << 30) + (1 << 29), u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "5.0 MiB", "3.5 GiB", "16383.9 PiB"]);
        assert_eq!([5, 119, 121, 7300].map(duration), ["5 s", "119 s", "3 min", "2 h 1 min"]);
    }
}
