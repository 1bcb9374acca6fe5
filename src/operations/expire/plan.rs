//! The plan: what is kept and what goes, each with its reason. Pure.

use jiff::Timestamp;
use serde::Serialize;

use super::backups::judge;
use super::facts::{Facts, Rules};
use super::wal::{Need, WalNeeds, needs};
use crate::pg::{Lsn, SystemId, TimelineId};
use crate::repository::{BackupId, ResourceName};

/// What retention will do to one resource.
#[derive(Clone, Debug, Serialize)]
pub struct ExpirePlan {
    /// The resource.
    pub resource: ResourceName,
    /// The store's time when it was made.
    pub at: Timestamp,
    /// The backups, the oldest first.
    pub backups: Vec<Decision>,
    /// The WAL, timeline by timeline.
    pub wal: Vec<WalDecision>,
    /// Content that no catalog entry lists and nobody is at work on.
    pub garbage: Vec<Garbage>,
    /// What all that goes has taken in the store, in bytes.
    pub freed_bytes: u64,
}

/// What becomes of one backup.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    /// The backup.
    pub id: BackupId,
    /// When it was complete.
    pub finished_at: Timestamp,
    /// What it takes in the store.
    pub stored_bytes: u64,
    /// Whether it is kept.
    pub keep: bool,
    /// Why.
    pub reasons: Vec<String>,
}

/// What becomes of the WAL of one timeline.
#[derive(Clone, Debug, Serialize)]
pub struct WalDecision {
    /// The cluster.
    pub system_id: SystemId,
    /// The timeline.
    pub timeline: TimelineId,
    /// Why.
    pub reason: String,
    /// Up to where it goes; none where nothing does.
    pub removed_below: Option<Lsn>,
    /// How many objects go.
    pub objects: u64,
    /// What they take in the store.
    pub bytes: u64,
    /// What is needed.
    #[serde(skip)]
    pub needs: WalNeeds,
}

/// Content of a backup that is not listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Garbage {
    /// The backup's id.
    pub id: BackupId,
    /// How many objects it has.
    pub objects: u64,
    /// What they take in the store.
    pub bytes: u64,
}

/// Decides about everything but sizes, which have to be looked up: `measure` adds them.
#[must_use]
pub fn decide(resource: &ResourceName, facts: &Facts, rules: &Rules) -> ExpirePlan {
    let verdicts = judge(facts, rules);
    let decision = |(backup, verdict): (&super::Candidate, &super::backups::Verdict)| Decision {
        id: backup.id.clone(),
        finished_at: backup.finished_at,
        stored_bytes: backup.stored_bytes,
        keep: verdict.is_kept(),
        reasons: match verdict.is_kept() {
            true => verdict.rules.iter().chain(&verdict.holds).cloned().collect(),
            false => vec!["no rule of 'keep' wants it".to_owned()],
        },
    };
    let mut backups: Vec<Decision> = facts.backups.iter().zip(&verdicts).map(decision).collect();
    backups.sort_by(|a, b| (a.finished_at, a.id.as_str()).cmp(&(b.finished_at, b.id.as_str())));
    let freed_bytes = backups.iter().filter(|backup| !backup.keep).map(|backup| backup.stored_bytes).sum();
    let wal = needs(facts, &verdicts).into_iter().map(WalDecision::from).collect();
    ExpirePlan { resource: resource.clone(), at: facts.now, backups, wal, garbage: Vec::new(), freed_bytes }
}

impl From<WalNeeds> for WalDecision {
    fn from(needs: WalNeeds) -> Self {
        let reason = match &needs.need {
            Need::All(why) => format!("all of it stays: {why}"),
            Need::From(from) if from.is_valid() => format!("kept backups need it from {from} on"),
            Need::From(_) => "kept backups lead to all of it".to_owned(),
            Need::StoredAfter(moment) => format!("no kept backup leads to it; what was stored before {moment} goes"),
        };
        let beside = match needs.islands.len() {
            0 => String::new(),
            count => format!("; beside that, the WAL of {count} backup(s) kept alone"),
        };
        let WalNeeds { system_id, timeline, .. } = needs;
        Self { system_id, timeline, reason: reason + &beside, removed_below: None, objects: 0, bytes: 0, needs }
    }
}
