//! The way to a running stream: which cluster this is, its history, the slot, and where to go on.

use std::ops::Range;
use std::time::Duration;

use super::chain::Chain;
use super::foreign::foreign_wal;
use super::known::Known;
use super::report::Report;
use super::slicing::SliceRule;
use super::start::{Begin, Fork, begin_at, begin_first_at, find_forks, last_end_before, left_out};
use super::{Error, NotJoined, Result, joins, setting, slot};
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, SegmentName, TimelineId, WalFileName};
use crate::pgwire::{ConnInfo, Failure, ReplicationConnection, SlotName, SystemIdentity, TargetSessionAttrs, WalStream};
use crate::repository::{self, Conflict, Gap, GapCause, Lineage, Repository, ResourceName, WalAbout, WalArchive, WalSource};
use crate::resources::postgres::followed::Reached;
use crate::sys::clock;

/// What a receiver is told: fixed as long as it runs.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub repository: Repository,
    pub resource: ResourceName,
    pub info: ConnInfo,
    pub slot: SlotName,
    pub rule: SliceRule,
    pub report: Report,
}

/// Where a stream is to begin, and why.
#[derive(Debug)]
pub(super) struct Plan {
    /// The WAL of this cluster.
    pub archive: WalArchive,
    /// The server's history.
    pub chain: Chain,
    /// Where the stored WAL ends, or where streaming goes on behind a gap.
    pub goal: Lsn,
    /// What is missing in the stored WAL, where streaming goes on there.
    pub hole: Option<Range<Lsn>>,
    /// What the slot holds back; the end of the server's WAL where it holds back nothing.
    pub reserved: Lsn,
    /// Where to begin.
    pub begin: Begin,
    /// The last record before that, where it is stored.
    pub follows: Option<Lsn>,
    /// The server, and how to reach it again: it and no other.
    pub server: String,
    pub info: ConnInfo,
    /// Where the server's WAL ended, if nothing is stored of it yet.
    pub new_from: Option<Lsn>,
    /// How often a status is due.
    pub status_every: Duration,
}

impl Plan {
    /// What was acknowledged before: nothing less is reported as flushed.
    pub fn floor(&self) -> Lsn {
        self.goal.max(self.reserved)
    }

    /// Where the timeline of the stream ends, if the server has left it.
    pub fn end(&self) -> Option<Lsn> {
        self.chain.branches().iter().find(|branch| branch.timeline == self.begin.timeline)?.end
    }
}

/// Where to go on. What lies stored behind the slot's position may come from another life of this cluster (a snapshot that was put back)
/// or from a clone of it: it is streamed again, and compared when it is stored again, before anything behind it is acknowledged.
fn goal(stored: Option<Lsn>, reserved: Lsn, followed: Option<Lsn>) -> Lsn {
    match stored {
        Some(stored) if stored < reserved => stored,
        _ => reserved.max(followed.unwrap_or_default()),
    }
}

impl Task {
    /// Finds out where to go on. Nothing is written before it is sure that this is the right cluster. `followed` is the end of what this
    /// very connection has just delivered and the store has taken.
    ///
    /// # Errors
    /// Those of the server and the repository: another cluster, above all.
    pub async fn plan(&self, reached: &mut Reached, followed: Option<Lsn>) -> Result<Plan> {
        let Reached { connection, identity, info } = reached;
        let identity = *identity;
        let archive = self.archive(connection, identity).await?;
        let chain = self.history(connection, &archive, identity.timeline).await?;
        let reserved = slot::ensure(connection, &self.slot).await?.unwrap_or(identity.flushed);
        let stored = last_end_before(&archive, &chain, reserved).await?;
        let gaps = archive.gaps().await?.records;
        let goal = past_gaps(&chain, &gaps, goal(stored, reserved, followed));
        let hole = match stored {
            Some(stored) => left_out(&archive, &chain, stored, &gaps).await?.filter(|hole| hole.start < goal),
            None => None,
        };
        let goal = hole.as_ref().map_or(goal, |hole| hole.start);
        let begin = match stored {
            Some(_) => begin_at(&chain, goal, archive.segment_size()),
            None => begin_first_at(&chain, goal, archive.segment_size()),
        };
        let follows = last_record_before(&archive, &chain, begin).await?;
        self.describe(connection, identity, &archive, &chain).await?;
        tracing::info!(
            resource = %self.resource, server = connection.server(), timeline = %begin.timeline, slot_position = %reserved,
            stored = stored.map(tracing::field::display), begin = %begin.lsn, "streaming begins"
        );
        self.report.update(|status| {
            status.gaps = gaps;
            status.stored = stored;
            status.server_end = Some(identity.flushed);
        });
        let status_every = status_every(&connection.show("wal_sender_timeout").await?);
        let new_from = stored.is_none().then_some(identity.flushed);
        let server = connection.server().to_owned();
        Ok(Plan { archive, chain, goal, hole, reserved, begin, follows, server, info: info.clone(), new_from, status_every })
    }

    /// The archive of the cluster that was reached, if it is one that the repository knows under this name.
    async fn archive(&self, connection: &mut ReplicationConnection, identity: SystemIdentity) -> Result<WalArchive> {
        let found = connection.wal_segment_size().await?;
        let lineage = Lineage {
            system_id: identity.system_id,
            segment_size: found,
            postgres_major: connection.server_version().number() / 10_000,
            created_at: clock::now(),
        };
        let lineage = self.repository.lineage_of_running(&self.resource, &lineage).await?;
        if found != lineage.segment_size {
            return Err(Error::OtherSegmentSize { known: lineage.segment_size, found });
        }
        Ok(self.repository.wal(&self.resource, &lineage))
    }

    /// Stores the history files that are not stored yet, and returns the server's history.
    async fn history(&self, connection: &mut ReplicationConnection, archive: &WalArchive, current: TimelineId) -> Result<Chain> {
        if current == TimelineId::FIRST {
            return Ok(Chain::new(current, []));
        }
        let stored = archive.histories().await?;
        let content = connection.timeline_history(current).await?.content;
        let chain = Chain::of(&TimelineHistory::parse(current, &content)?);
        let missing = chain.branches().iter().map(|branch| branch.timeline).filter(|timeline| *timeline > TimelineId::FIRST);
        for timeline in missing.filter(|timeline| *timeline == current || !stored.contains(timeline)) {
            let content = match connection.timeline_history(timeline).await {
                Ok(file) => file.content,
                Err(error) if matches!(error.failure(), Failure::NoHistoryFile) && timeline != current => {
                    tracing::warn!(%timeline, "the server has lost the history file of an older timeline; it cannot be stored");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if !stored.contains(&timeline)
                && let Some(foreign) = foreign_wal(archive, &TimelineHistory::parse(timeline, &content)?).await?
            {
                return Err(foreign.into());
            }
            let about =
                WalAbout { system_id: archive.system_id(), source: WalSource::Streaming, start: None, end: None, activity: None };
            archive.put_file(WalFileName::History(timeline), content, &about).await?;
        }
        Ok(chain)
    }

    /// Puts what is known of the server into the report, with what somebody should know.
    async fn describe(
        &self,
        connection: &mut ReplicationConnection,
        identity: SystemIdentity,
        archive: &WalArchive,
        chain: &Chain,
    ) -> Result<()> {
        // Told of in the log alone: what is stored changes, and whoever looks into the repository finds them there.
        for Fork { timeline, left_at, stored_to } in find_forks(archive, chain).await? {
            tracing::warn!(
                resource = %self.resource,
                "the server left timeline {timeline} at {left_at}, but WAL of it is stored up to {stored_to}: that part is kept and belongs to no \
                 history of this server. After a restore to an earlier moment or a failover this is as it should be; retention removes it with the \
                 last backup that leads to it"
            );
        }
        let mut warnings = Vec::new();
        if takes_any_of_several(&self.info) && connection.is_standby().await? {
            warnings.push(format!(
                "{} is a standby, and with target_session_attrs=any the agent stays there: what the standby has not received yet is not stored either, \
                 and a slot on the primary holds WAL back. Set target_session_attrs=primary, or standby if that is meant",
                connection.server()
            ));
        }
        warnings.iter().for_each(|warning| tracing::warn!(resource = %self.resource, "{warning}"));
        self.report.update(|status| {
            status.server = Some(connection.server().to_owned());
            status.server_version = Some(connection.server_version().to_string());
            status.system_id = Some(identity.system_id);
            status.warnings = warnings;
        });
        Ok(())
    }

    /// Records that this server's WAL was refused, if that is what the error says. That it cannot be recorded makes nothing worse.
    pub async fn note_conflict(&self, plan: &Plan, error: &Error) {
        let size = plan.archive.segment_size();
        let (segment, at, stored) = match error {
            Error::Contradiction(found) => (found.segment, found.at, found.stored.clone()),
            Error::NotJoined(NotJoined { segment, first, .. }) => (*segment, *first, "the segment before it".to_owned()),
            Error::Repository(repository::Error::Conflict { object, .. }) => {
                let segment = object.rsplit('/').next().and_then(|name| name.get(..24)?.parse::<SegmentName>().ok());
                let Some(segment) = segment else { return };
                let at = segment.number(size).map_or(Lsn::INVALID, |number| number.start(size));
                (segment, at, object.clone())
            }
            _ => return,
        };
        let conflict = Conflict { segment, at, stored, refused: plan.server.clone(), noticed_at: clock::now() };
        if let Err(error) = plan.archive.put_conflict(&conflict).await {
            tracing::warn!(resource = %self.resource, "the conflict could not be recorded: {error}");
        }
    }

    /// Begins to stream.
    ///
    /// # Errors
    /// Those of the server. That the WAL is gone may also show later, in the stream.
    pub async fn stream(&self, connection: ReplicationConnection, plan: &Plan) -> Result<WalStream> {
        Ok(connection.start_replication(Some(&self.slot), plan.begin.lsn, plan.begin.timeline).await?)
    }

    /// What is stored already of the segments from the one on in which the stream begins.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn known(&self, plan: &Plan) -> Result<Known> {
        Ok(Known::list(&plan.archive, plan.begin, plan.end()).await?)
    }
}

/// Whether it is left to chance which of the servers is followed. Who names a single one, or asks for a standby, means it.
fn takes_any_of_several(info: &ConnInfo) -> bool {
    info.hosts().len() > 1 && info.target_session_attrs() == TargetSessionAttrs::Any
}

/// The last record before a stream that begins with a segment, if that one's predecessor in the server's history is stored.
async fn last_record_before(archive: &WalArchive, chain: &Chain, begin: Begin) -> Result<Option<Lsn>> {
    let Some(segment) = joins::begins_at(begin.lsn, archive.segment_size()) else { return Ok(None) };
    let timeline = chain.at(Lsn(begin.lsn.0.saturating_sub(1))).timeline;
    Ok(joins::last_record_before(archive, timeline, segment).await?)
}

/// Passes over what the server is known to have removed, where that begins just there.
fn past_gaps(chain: &Chain, gaps: &[Gap], mut position: Lsn) -> Lsn {
    let removed = |gap: &&Gap| matches!(gap.cause, GapCause::RemovedByServer | GapCause::Unknown);
    let begins = |gap: &&Gap, at: Lsn| removed(gap) && gap.start == at && gap.end > at && gap.timeline == chain.at(at).timeline;
    while let Some(gap) = gaps.iter().find(|gap| begins(gap, position)) {
        position = gap.end;
    }
    position
}

/// Often enough that the server does not lose patience: it waits for `wal_sender_timeout`.
fn status_every(wal_sender_timeout: &str) -> Duration {
    let third = setting::duration(wal_sender_timeout).filter(|time| !time.is_zero()).map(|time| time / 3);
    third.unwrap_or(Duration::MAX).clamp(Duration::from_millis(100), Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    #[test]
    fn a_recorded_gap_is_not_asked_for_again() {
        let chain = Chain::new(TimelineId(2), [(TimelineId(1), Lsn(300))]);
        let gap = |timeline, start, end| Gap {
            timeline: TimelineId(timeline),
            start: Lsn(start),
            end: Lsn(end),
            cause: GapCause::RemovedByServer,
            noticed_at: crate::sys::clock::now(),
        };
        let gaps = [gap(2, 300, 400), gap(1, 100, 300), gap(2, 200, 350)];
        assert_eq!(past_gaps(&chain, &gaps, Lsn(100)), Lsn(400));
        assert_eq!(past_gaps(&chain, &gaps, Lsn(101)), Lsn(101));
        assert_eq!(past_gaps(&chain, &gaps, Lsn(200)), Lsn(200), "a gap of another timeline");
    }

    #[test]
    fn a_standby_that_is_asked_for_is_worth_no_word() {
        let by_chance =
            |text: &str| takes_any_of_several(&ConnInfo::parse(text, &Environment::default()).expect("a connection string"));
        assert!(by_chance("host=a,b target_session_attrs=any"));
        for meant in
            ["host=a target_session_attrs=any", "host=a,b target_session_attrs=standby", "host=a,b target_session_attrs=primary"]
        {
            assert!(!by_chance(meant), "{meant}");
        }
    }

    #[test]
    fn what_lies_stored_behind_the_slot_is_streamed_again_before_anything_behind_it_is_acknowledged() {
        let (slot, stored) = (Lsn(200), Lsn(900));
        assert_eq!(goal(Some(stored), slot, None), slot);
        assert_eq!(goal(Some(stored), slot, Some(Lsn(700))), Lsn(700), "what this connection has delivered is known");
        assert_eq!(goal(Some(Lsn(100)), slot, Some(Lsn(700))), Lsn(100), "what is missing is asked for");
        assert_eq!(goal(None, slot, None), slot);
    }

    #[test]
    fn the_server_hears_of_us_in_time() {
        assert_eq!(status_every("1min"), Duration::from_secs(10));
        assert_eq!(status_every("3s"), Duration::from_secs(1));
        assert_eq!(status_every("0"), Duration::from_secs(10));
    }
}
