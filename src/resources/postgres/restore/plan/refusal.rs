//! Why a restore cannot be planned, with the windows that it could be planned in.

use std::fmt;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

use super::Window;
use crate::pg::records::Commit;
use crate::pg::recovery::RecoveryTarget;
use crate::pg::{Lsn, TimelineId};
use crate::repository::{BackupId, Damaged};

/// A target that cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}{}", Windows(.windows), Unread(.damaged))]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What the cluster can be restored to, on the timeline that was asked for.
    pub windows: Box<[Window]>,
    /// Records that could not be read, and that could tell of more.
    pub damaged: Vec<Damaged>,
    /// Another timeline that leads there, where none was asked for: in place of what the reason suggests, or beside it.
    pub elsewhere: Option<Box<Elsewhere>>,
}

/// A timeline on the way that leads to a target which the newest one does not lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elsewhere {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where it was left.
    pub left_at: Lsn,
    /// Whether the target lies on it; otherwise it leads to the last that is stored before the target.
    pub is_exact: bool,
    /// Up to where it would be replayed.
    pub end: Lsn,
}

/// Why a target cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Nothing is listed.
    #[error("there is no backup to restore")]
    NoBackup,
    /// The backup that was asked for is not listed.
    #[error("there is no backup {0}")]
    UnknownBackup(BackupId),
    /// The backup that was asked for cannot be read.
    #[error("the catalog entry of backup {id} is damaged: {detail}")]
    DamagedBackup {
        /// What was asked for.
        id: BackupId,
        /// What is wrong with its entry.
        detail: String,
    },
    /// No backup lies on that timeline or its ancestors.
    #[error("no backup leads to timeline {timeline}; the timelines known here are {}", Timelines(.known))]
    NoBackupOnTimeline {
        /// What was asked for.
        timeline: TimelineId,
        /// What is known.
        known: Vec<TimelineId>,
    },
    /// Nothing but its history is stored of the timeline.
    #[error("no WAL of timeline {timeline} is stored: it was forked off timeline {parent} at {fork}")]
    NothingOfTimeline {
        /// What was asked for.
        timeline: TimelineId,
        /// Which timeline it was forked off.
        parent: TimelineId,
        /// Where.
        fork: Lsn,
    },
    /// It is not known which timelines that one descends from.
    #[error("the history of timeline {timeline} is not stored: which timelines it descends from is not known")]
    MissingHistory {
        /// The timeline.
        timeline: TimelineId,
        /// The newest one that is known to descend from a backup, where any would do.
        instead: Option<TimelineId>,
    },
    /// Earlier than a restored cluster can be consistent.
    #[error("{target}{} lies before the first consistent point of {backup}", Place(.at))]
    BeforeFirstConsistentPoint {
        /// What was asked for.
        target: RecoveryTarget,
        /// Where it lies, where that was found and the target does not say so itself.
        at: Option<Lsn>,
        /// Every backup, or the one that was asked for.
        backup: String,
    },
    /// Past the end of what is stored.
    #[error("{target} lies past the end of the stored WAL, which is {end}")]
    AfterEnd {
        /// What was asked for.
        target: RecoveryTarget,
        /// The end of the stored WAL.
        end: Lsn,
    },
    /// No commit is stored that is later.
    #[error("{time} is later than the last stored commit{}", LastCommit(.last))]
    AfterLastCommit {
        /// What was asked for.
        time: Timestamp,
        /// The last stored commit.
        last: Option<Commit>,
    },
    /// WAL is missing on the way.
    #[error("WAL is missing between {start} and {end}{}, which recovery from backup {backup} would have to cross", Noticed(.noticed))]
    Gap {
        /// Where the stored WAL ends.
        start: Lsn,
        /// Where it begins again.
        end: Lsn,
        /// When that was noticed, where it was.
        noticed: Option<Timestamp>,
        /// The newest backup before the target.
        backup: BackupId,
    },
    /// The server ran with `wal_level = minimal` on the way.
    #[error(
        "the server went over to wal_level = minimal at {at} (noticed at {noticed}), and PostgreSQL refuses to recover across that, as recovery \
         from backup {backup} would have to"
    )]
    WalLevelMinimal {
        /// Up to where can be restored before that.
        start: Lsn,
        /// Where.
        at: Lsn,
        /// When that was noticed.
        noticed: Timestamp,
        /// The newest backup before the target.
        backup: BackupId,
    },
    /// No such restore point is stored.
    #[error("there is no restore point named '{name}' in the stored WAL")]
    UnknownName {
        /// What was asked for.
        name: String,
    },
    /// Several restore points have the name.
    #[error("several restore points are named '{name}': at {}", Positions(.at))]
    AmbiguousName {
        /// What was asked for.
        name: String,
        /// Where they are.
        at: Vec<Lsn>,
    },
    /// Neither a commit nor a rollback of that transaction is stored.
    #[error("there is no commit or rollback of transaction {xid} in the stored WAL")]
    UnknownXid {
        /// What was asked for.
        xid: u32,
    },
}

impl Elsewhere {
    /// Whether it holds more of what was asked for than the newest timeline does up to `reachable`, where a hole follows. What the newest one
    /// committed behind the place where this one was left is not on this one, and would be dropped without a word.
    #[must_use]
    pub fn leads_further_than(&self, reachable: Option<Lsn>) -> bool {
        reachable.is_none_or(|lsn| lsn <= self.left_at && (self.is_exact || lsn < self.end))
    }

    /// How to get there, and what is missed there.
    fn hint(&self) -> String {
        let Self { timeline, left_at, is_exact, end } = self;
        let without = match end > left_at {
            true => ", without what was committed on newer timelines behind that",
            false => "",
        };
        match is_exact {
            true => format!(
                "add --target-timeline {timeline}: on timeline {timeline}, which was left at {left_at}, it can be reached{without}"
            ),
            false => format!(
                "add --target-timeline {timeline} for the last that is stored before it, up to {end} on timeline {timeline}, which was left at {left_at}{without}"
            ),
        }
    }
}

impl Reason {
    /// Up to where can be restored before the hole in the way, where one is.
    #[must_use]
    pub const fn reachable(&self) -> Option<Lsn> {
        match self {
            Self::Gap { start, .. } | Self::WalLevelMinimal { start, .. } => Some(*start),
            _ => None,
        }
    }
}

impl Refusal {
    pub(super) fn of(reason: Reason) -> Self {
        Self { reason, windows: Box::default(), damaged: Vec::new(), elsewhere: None }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let elsewhere = self.elsewhere.as_deref();
        if let Some(better) = elsewhere.filter(|found| found.leads_further_than(self.reason.reachable())) {
            return Some(better.hint());
        }
        let hint = match &self.reason {
            Reason::NoBackup => "take one with 'holdfast backup'".to_owned(),
            Reason::UnknownBackup(_) => "'holdfast backups' lists them".to_owned(),
            Reason::DamagedBackup { .. } => Damaged::HINT.to_owned(),
            Reason::NothingOfTimeline { parent, fork, .. } => {
                format!(
                    "'--target-timeline {parent} --target-lsn {fork} --target-exclusive' restores up to the place where it was forked off"
                )
            }
            Reason::NoBackupOnTimeline { .. } => "choose another --target-timeline, or leave it out".to_owned(),
            Reason::AfterLastCommit { last: Some(last), .. } => {
                format!(
                    "without a target everything stored is restored; --target-time '{}' is the same up to the last commit",
                    last.time
                )
            }
            Reason::MissingHistory { timeline, instead } => missing_history(*timeline, *instead),
            Reason::Gap { start, .. } => {
                format!(
                    "choose a target within a window, or another --target-timeline; --target-lsn {start} is the last that can be reached before the hole"
                )
            }
            Reason::WalLevelMinimal { start, .. } => {
                format!(
                    "choose a target within a window: a base backup that was taken after the return to another wal_level opens one; \
                     --target-lsn {start} is the last that can be reached before that"
                )
            }
            Reason::AfterEnd { .. } | Reason::AfterLastCommit { .. } => {
                "without a target everything stored is restored".to_owned()
            }
            Reason::AmbiguousName { .. } => "choose one with --target-lsn".to_owned(),
            Reason::UnknownName { .. } | Reason::UnknownXid { .. } => {
                "check the spelling and --target-timeline; --target-time finds the commits around a moment".to_owned()
            }
            Reason::BeforeFirstConsistentPoint { .. } => {
                "choose a target within a window, or another --target-timeline".to_owned()
            }
        };
        Some(elsewhere.map_or_else(|| hint.clone(), |other| format!("{hint}; or {}", other.hint())))
    }
}

fn missing_history(timeline: TimelineId, instead: Option<TimelineId>) -> String {
    let file = format!("{:08X}.history", timeline.0);
    let store = format!(
        "bring it back: 'holdfast wal push PATH/pg_wal/{file}' on a server that has it, or from a copy of the repository"
    );
    match instead {
        Some(known) => format!(
            "{store}; or choose --target-timeline {known} to leave timeline {timeline} out: such a server can be looked at, and takes no writes before \
             that history is back"
        ),
        None => store,
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::of(reason)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timeline, start, end, since, until } = self;
        // As finely as PostgreSQL keeps time, and never before the first moment that can be had.
        let since = since.round(TimestampRound::new().smallest(Unit::Microsecond).mode(RoundMode::Ceil)).unwrap_or(*since);
        match until {
            Some(until) => write!(f, "{since} to {until} ({start} to {end}, timeline {timeline})"),
            None => write!(f, "from {since} on ({start} to {end}, timeline {timeline})"),
        }
    }
}

struct Windows<'a>(&'a [Window]);

impl fmt::Display for Windows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.0.len() > 1 { "; the recovery windows are " } else { "; the recovery window is " };
        for (index, window) in self.0.iter().enumerate() {
            write!(f, "{}{window}", if index == 0 { prefix } else { ", and " })?;
        }
        Ok(())
    }
}

struct Unread<'a>(&'a [Damaged]);

impl fmt::Display for Unread<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let damaged = self.0.iter().filter(|record| !record.missing);
        damaged
            .into_iter()
            .try_for_each(|record| write!(f, "; what {} tells of is not known, because it is damaged", record.object))
    }
}

struct Timelines<'a>(&'a [TimelineId]);

impl fmt::Display for Timelines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&text.join(", "))
    }
}

struct Positions<'a>(&'a [Lsn]);

impl fmt::Display for Positions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&text.join(", "))
    }
}

struct Place<'a>(&'a Option<Lsn>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |at| write!(f, " ({at})"))
    }
}

struct Noticed<'a>(&'a Option<Timestamp>);

impl fmt::Display for Noticed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |at| write!(f, " (noticed at {at})"))
    }
}

struct LastCommit<'a>(&'a Option<Commit>);

impl fmt::Display for LastCommit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(commit) => write!(f, ", which was at {} ({})", commit.time, commit.lsn),
            None => f.write_str(": none is stored"),
        }
    }
}
