//! The plan for people.

use std::fmt;

use super::plan::{Decision, ExpirePlan, Garbage, WalDecision};

impl fmt::Display for ExpirePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.resource)?;
        if self.backups.is_empty() {
            writeln!(f, "  no backups")?;
        }
        self.backups.iter().try_for_each(|backup| write!(f, "{backup}"))?;
        self.wal.iter().try_for_each(|wal| write!(f, "{wal}"))?;
        self.garbage.iter().try_for_each(|garbage| write!(f, "{garbage}"))?;
        let gone = self.backups.iter().filter(|backup| !backup.keep).count();
        let kept = self.backups.len() - gone;
        write!(f, "  {kept} backup(s) stay, {gone} go; {} are freed", size(self.freed_bytes))
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.keep { "keep  " } else { "REMOVE" };
        let time = self.finished_at.strftime("%Y-%m-%d %H:%M:%SZ");
        writeln!(f, "  {what}  {}  {time}  {:>10}  {}", self.id, size(self.stored_bytes), self.reasons.join("; "))
    }
}

impl fmt::Display for WalDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  WAL     cluster {}, timeline {}: {}", self.system_id, self.timeline, self.reason)?;
        match self.removed_below {
            Some(below) => writeln!(f, "; REMOVE {} object(s) below {below}, {}", self.objects, size(self.bytes)),
            None if self.objects > 0 => writeln!(f, "; REMOVE {} slice(s) of whole segments", self.objects),
            None => writeln!(f, "; nothing goes"),
        }
    }
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  REMOVE  {}  {} object(s), {}, of a backup that is not listed", self.id, self.objects, size(self.bytes))
    }
}

/// Bytes for people.
#[allow(clippy::cast_precision_loss)] // for people
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}
