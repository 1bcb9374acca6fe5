//! One cluster: can it be reached, is its WAL on the way, can it be restored.

use jiff::Timestamp;

use super::archiver::{Archived, check_archived, check_archiver};
use super::objectives::check_rpo;
use super::server::{Server, check_server};
use super::{Finding, Level};
use crate::config::Postgres;
use crate::operations::running_backup;
use crate::operations::status::{ClusterStatus, Noted, cluster_status};
use crate::operations::windows::Window;
use crate::pg::{Lsn, TimelineId};
use crate::pgwire::{ConnInfo, SlotHolder, SlotName, SlotState, SqlConnection, SystemIdentity, WalStatus};
use crate::repository::{Conflict, Damaged, Gap, GapCause, Repository, ResourceName};
use crate::resources::postgres::archive::{ReceiverStatus, State};
use crate::resources::postgres::source;

/// How far what is stored may lie behind the server before that is worth a word, in bytes: two segments of the default size.
const BEHIND_BYTES_MAX: u64 = 32 << 20;

/// Looks at one cluster. `receiver` is what an agent says of it, where one answers.
pub async fn check_cluster(
    repository: Option<&Repository>,
    resource: &ResourceName,
    cluster: &Postgres,
    receiver: Option<&ReceiverStatus>,
) -> Vec<Finding> {
    let object = resource.to_string();
    let (mut findings, server) = check_server(repository, resource, cluster).await;
    let (mut told, mut archived) = (None, None);
    if let Some(server @ Server { info, .. }) = &server {
        if cluster.stream {
            let (slot, reached) = check_slot(&object, &cluster.slot, server, receiver).await;
            findings.extend(slot);
            told = reached;
        }
        let (archiver, last) = check_archiver(&object, info, cluster.stream).await;
        findings.extend(archiver);
        archived = last;
    }
    let server = server.and_then(|server| server.identity);
    if let Some(repository) = repository {
        findings.extend(check_stored(repository, resource, (server.as_ref(), told, archived.as_ref())).await);
        if let (Some(rpo), Some(server)) = (cluster.objectives.rpo, &server) {
            findings.extend(check_rpo(repository, resource, rpo, server).await);
        }
    }
    findings
}

/// Whether the slot is there, in use and out of danger; and up to where the server was told through it that WAL is stored.
async fn check_slot(object: &str, name: &str, server: &Server, receiver: Option<&ReceiverStatus>) -> (Vec<Finding>, Option<Lsn>) {
    let slot = match look_up_slot(name, &server.info).await {
        Ok(slot) => slot,
        Err(error) => return (judge_unseen(object, server.refused.as_ref(), &error).into_iter().collect(), None),
    };
    let told = slot.as_ref().filter(|slot| slot.active).and_then(|slot| slot.restart_lsn);
    (judge_slot(object, name, slot.as_ref(), receiver), told)
}

/// Of a slot that cannot be looked up nothing is known, not even that it is there. What keeps everybody out has been said of the server already.
fn judge_unseen(object: &str, refused: Option<&source::Error>, error: &source::Error) -> Option<Finding> {
    if let (Some(source::Error::Server(refused)), source::Error::Server(error)) = (refused, error)
        && std::mem::discriminant(refused.failure()) == std::mem::discriminant(error.failure())
    {
        return None;
    }
    let found = format!("the replication slot could not be looked up: {error}");
    Some(Finding::bad(Level::Critical, object, found, error.hint()))
}

async fn look_up_slot(name: &str, info: &ConnInfo) -> Result<Option<SlotState>, source::Error> {
    let name: SlotName = name.parse()?;
    let sql = SqlConnection::connect(info).await?;
    Ok(sql.replication_slot(&name).await?)
}

fn judge_slot(object: &str, name: &str, slot: Option<&SlotState>, receiver: Option<&ReceiverStatus>) -> Vec<Finding> {
    let critical = |found: String, hint: &str| vec![Finding::bad(Level::Critical, object, found, Some(hint.to_owned()))];
    let Some(slot) = slot else {
        return critical(format!("there is no replication slot '{name}'"), "run 'holdfast init'");
    };
    if !slot.physical {
        return critical(format!("the slot '{name}' is a logical one"), "choose another name for 'slot' in the configuration");
    }
    if slot.wal_status == Some(WalStatus::Lost) {
        let hint = "the running agent makes a new one and records the gap; take a base backup afterwards";
        return critical(format!("the slot '{name}' is lost: the server removed WAL before it was stored"), hint);
    }
    if !slot.active {
        let hint = "start 'holdfast agent', and look into its log if it runs";
        return critical(format!("nothing is streaming from the slot '{name}'; WAL piles up on the server"), hint);
    }
    if slot.wal_status == Some(WalStatus::Unreserved) {
        let hint = "the store is too slow or away: see 'holdfast status'; raise max_slot_wal_keep_size meanwhile";
        return critical(format!("the slot '{name}' is about to be lost"), hint);
    }
    vec![judge_holder(object, name, slot.holder.as_ref(), receiver)]
}

/// Whether it is the agent that streams from a slot in use. Its own word tells: it streams through this slot, or not at all; and while it
/// streams it has no trouble with the server.
fn judge_holder(object: &str, name: &str, holder: Option<&SlotHolder>, receiver: Option<&ReceiverStatus>) -> Finding {
    let by = holder.map(|holder| format!(" by {holder}")).unwrap_or_default();
    match receiver {
        Some(ReceiverStatus { trouble: Some(_), .. }) => {
            let found = format!("the slot '{name}' is in use{by}, and the agent does not stream");
            let hint = "if that is a connection that the agent has lost, the server ends it within wal_sender_timeout; if not, stop it, or give \
                        one of the two another slot";
            Finding::bad(Level::Critical, object, found, Some(hint.to_owned()))
        }
        Some(ReceiverStatus { state: State::Streaming | State::Stalled, .. }) => {
            Finding::ok(object, format!("WAL is streamed through the slot '{name}' by the agent"))
        }
        _ => Finding::ok(object, format!("WAL is streamed through the slot '{name}'{by}")),
    }
}

/// Whether what is stored can be restored, and reaches up to now.
async fn check_stored(
    repository: &Repository,
    resource: &ResourceName,
    (server, told, archived): (Option<&SystemIdentity>, Option<Lsn>, Option<&Archived>),
) -> Vec<Finding> {
    let object = resource.to_string();
    let known = match server {
        Some(server) => repository.lineage_of(resource, server.system_id).await.map(Some),
        None => Ok(None),
    };
    let (status, lineage) = match known {
        Ok(lineage) => (cluster_status(repository, resource).await, lineage),
        Err(error) => (Err(error), None),
    };
    match status {
        Ok(status) => {
            let mut findings = judge_status(&object, &status, server.map(|server| server.flushed));
            findings.extend(judge_told(&object, &status, told));
            if let (Some(lineage), Some(server), Some(archived)) = (&lineage, server, archived) {
                findings.extend(check_archived(&repository.wal(resource, lineage), &status, server, archived).await);
            }
            // That it is there is no fault, and it stays as long as a backup leads to it.
            findings.extend(status.left_behind.iter().map(|fork| Finding::ok(&object, fork.to_string())));
            findings.extend(status.missing_histories.iter().map(|timeline| judge_missing_history(&object, *timeline)));
            findings.extend(status.damaged.iter().map(|record| judge_damaged(&object, record)));
            findings
        }
        Err(error) => vec![Finding::bad(Level::Critical, &object, error.to_string(), error.hint())],
    }
}

/// A slot is moved by whoever streams from it. What it was moved past and is not stored may be gone from the server already.
fn judge_told(object: &str, status: &ClusterStatus, told: Option<Lsn>) -> Option<Finding> {
    let (window, told) = (status.present()?, told?);
    // Where stored WAL is missing or damaged that is another finding.
    (told > window.to && !window.cut).then(|| {
        let found = format!(
            "the slot was moved to {told}, and WAL is stored up to {} only: something else streams from it, or WAL was removed from the store, and the server may remove what is between",
            window.to
        );
        let hint = "find what streams in pg_stat_replication and stop it, then start 'holdfast agent'; one slot is for one agent. Where it is the agent ('holdfast status'), restart \
                    it: it streams again what the server still has; and find out what removes objects from the store";
        Finding::bad(Level::Critical, object, found, Some(hint.to_owned()))
    })
}

/// A server that recovers needs the history of every timeline on its way.
fn judge_missing_history(object: &str, timeline: TimelineId) -> Finding {
    let found =
        format!("WAL or a backup of timeline {timeline} is stored, but not its history: nothing can be restored along it");
    let hint = format!(
        "the agent stores it when it connects, as long as the server has it; or run 'holdfast wal push PATH/pg_wal/{0:08X}.history'; where it was moved \
         away because that timeline was a mistake, move its WAL away as well: what lies beside the folder 'history' and begins with {0:08X}",
        timeline.0
    );
    Finding::bad(Level::Critical, object, found, Some(hint))
}

/// A record that cannot be read: what it tells of may be lost with it.
fn judge_damaged(object: &str, damaged: &Damaged) -> Finding {
    Finding::bad(Level::Critical, object, damaged.to_string(), Some(damaged.hint().to_owned()))
}

fn judge_status(object: &str, status: &ClusterStatus, server: Option<Lsn>) -> Vec<Finding> {
    let mut findings = judge_records(object, status);
    findings.extend(judge_windows(object, status, server));
    findings
}

/// Gaps and conflicts of which nobody has taken note.
fn judge_records(object: &str, status: &ClusterStatus) -> Vec<Finding> {
    let acknowledge = |name: &str| format!("when you have taken note of it: 'holdfast wal acknowledge {object} {name}'");
    let gap = |gap: &Noted<Gap>| {
        let found = match gap.record.cause {
            GapCause::WalLevelMinimal => format!(
                "the server went over to wal_level = minimal at {}: gap {}; no restore leads across it, from a base backup behind it alone",
                gap.record.start, gap.name
            ),
            _ => format!("WAL is lost: gap {}; moments in it cannot be restored, and no restore leads across it", gap.name),
        };
        Finding::bad(Level::Warning, object, found, Some(acknowledge(&gap.name)))
    };
    let conflict = |conflict: &Noted<Conflict>| {
        let Conflict { segment, at, refused, noticed_at, .. } = &conflict.record;
        let found = format!(
            "two servers write WAL under this name: what {refused} sent for {segment} contradicts what is stored at {at} ({noticed_at})"
        );
        let hint = format!("stop the one that should not, or give it a name of its own; {}", acknowledge(&conflict.name));
        Finding::bad(Level::Critical, object, found, Some(hint))
    };
    let gaps = status.gaps.iter().filter(|gap| gap.is_open()).map(gap);
    gaps.chain(status.conflicts.iter().filter(|conflict| conflict.is_open()).map(conflict)).collect()
}

fn judge_windows(object: &str, status: &ClusterStatus, server: Option<Lsn>) -> Vec<Finding> {
    let backup = running_backup::wanted(&status.resource, status.running_backup.as_ref());
    let bad = |level, found: String, hint: &str| vec![Finding::bad(level, object, found, Some(hint.to_owned()))];
    if status.newest_backup.is_none() {
        return bad(Level::Critical, "there is no base backup: nothing can be restored".to_owned(), &backup);
    }
    let Some(window) = status.windows.last() else {
        return bad(Level::Critical, "no base backup has all the WAL that it needs".to_owned(), &backup);
    };
    if let Some(newest) = status.newest_timeline.filter(|newest| *newest > window.timeline) {
        let Window { timeline, to, .. } = window;
        let found = format!(
            "WAL of timeline {newest} is stored, and no base backup leads to it: it can be restored to {to} on timeline {timeline} only"
        );
        let hint =
            format!("{backup}; where one did lead to it, 'holdfast verify {object}' names the WAL that is missing on the way");
        return bad(Level::Critical, found, &hint);
    }
    let mut findings = vec![Finding::ok(object, restorable(window, status.last_commit))];
    if window.cut {
        findings.extend(bad(
            Level::Critical,
            format!("WAL is missing behind {}: nothing after it can be restored", window.to),
            &backup,
        ));
    }
    if let Some(server) = server.filter(|server| server.bytes_since(window.to) > BEHIND_BYTES_MAX) {
        let found = format!("what is stored lies {} bytes behind the server", server.bytes_since(window.to));
        findings.extend(bad(Level::Critical, found, "see 'holdfast status' and the agent's log"));
    }
    findings
}

/// From where to where, in times as well: nobody remembers a disaster by its position.
fn restorable(window: &Window, last_commit: Option<Timestamp>) -> String {
    let Window { from, from_time, to, timeline, .. } = window;
    let last = last_commit.map(|time| format!(" (last commit stored: {time:.0})")).unwrap_or_default();
    format!("can be restored from {from_time:.0} ({from}) to {to}{last} on timeline {timeline}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::running_backup::RunningBackup;
    use crate::pg::SystemId;
    use crate::pgwire::{self, Failure};
    use crate::resources::postgres::archive::Trouble;

    fn without_a_backup(running_backup: Option<RunningBackup>) -> ClusterStatus {
        ClusterStatus {
            resource: "postgres/main".parse().expect("a name"),
            system_id: SystemId(7),
            proven_at: "2026-11-22T07:16:00Z".parse().expect("a time"),
            windows: Vec::new(),
            newest_timeline: Some(TimelineId::FIRST),
            last_commit: None,
            backups: 0,
            newest_backup: None,
            running_backup,
            gaps: Vec::new(),
            conflicts: Vec::new(),
            damaged: Vec::new(),
            missing_histories: Vec::new(),
            left_behind: Vec::new(),
        }
    }

    #[test]
    fn a_slot_that_somebody_else_holds_is_not_said_to_be_the_agents() {
        let (application_name, role) = (Some("pg_receivewal".to_owned()), Some("backup".to_owned()));
        let holder = SlotHolder { pid: 7, application_name, role, address: None };
        let judged = |receiver: Option<&ReceiverStatus>| {
            let finding = judge_holder("postgres/main", "holdfast", Some(&holder), receiver);
            (finding.level, finding.found)
        };
        let mut receiver =
            ReceiverStatus { trouble: Some(Trouble::now("the slot is in use", None)), ..ReceiverStatus::default() };
        let (level, found) = judged(Some(&receiver));
        assert_eq!(level, Level::Critical);
        assert!(found.contains("in use by 'pg_receivewal' (role backup, server process 7), and the agent does not"), "{found}");
        (receiver.state, receiver.trouble) = (State::Streaming, None);
        let (level, found) = judged(Some(&receiver));
        assert!(level == Level::Ok && found.ends_with("by the agent"), "{found}");
        let (level, found) = judged(None);
        assert!(level == Level::Ok && found.contains("through the slot 'holdfast' by 'pg_receivewal'"), "{found}");
    }

    #[test]
    fn what_keeps_everybody_out_is_said_once_and_a_slot_that_is_not_seen_is_critical() {
        let error = |failure| source::Error::from(pgwire::Error::new("connecting", "db1:5432", failure));
        let judged = |refused: Option<Failure>, failure| {
            judge_unseen("postgres/main", refused.map(error).as_ref(), &error(failure)).map(|finding| finding.level)
        };
        assert_eq!(judged(Some(Failure::WrongPassword), Failure::WrongPassword), None);
        assert_eq!(judged(Some(Failure::LoginRefused), Failure::NoSuchDatabase), Some(Level::Critical));
        assert_eq!(judged(None, Failure::NoSuchDatabase), Some(Level::Critical));
    }

    #[test]
    fn what_can_be_restored_is_told_in_times_and_positions() {
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        let window = Window {
            backups: Vec::new(),
            from: Lsn(0x200_0028),
            from_time: time("2026-11-22T07:15:00.5Z"),
            timeline: TimelineId::FIRST,
            to: Lsn(0x300_0000),
            cut: false,
        };
        let said = restorable(&window, Some(time("2026-11-22T08:00:01Z")));
        let expected = "can be restored from 2026-11-22T07:15:00Z (0/2000028) to 0/3000000 (last commit stored: 2026-11-22T08:00:01Z) on timeline 1";
        assert_eq!(said, expected);
        assert!(restorable(&window, None).ends_with("to 0/3000000 on timeline 1"));
    }

    #[test]
    fn nobody_is_told_to_take_the_backup_that_is_being_taken() {
        let hint = |running| {
            let findings = judge_windows("postgres/main", &without_a_backup(running), None);
            assert_eq!(findings.iter().map(|finding| finding.level).collect::<Vec<_>>(), [Level::Critical]);
            findings.into_iter().find_map(|finding| finding.hint).expect("a hint")
        };
        assert_eq!(hint(None), "run 'holdfast backup postgres/main'");
        let id = "20261122T071500Z-0A00002800".parse().expect("an id");
        let said = hint(Some(RunningBackup { id, since: None, by: "process 7 on db1".to_owned() }));
        assert_eq!(said, "wait until it is listed: backup 20261122T071500Z-0A00002800 is being taken by process 7 on db1");
    }
}
