//! The server's archiver: whether it gets rid of its files, and whether what it takes for archived is stored.

use super::{Finding, Level};
use crate::operations::status::ClusterStatus;
use crate::operations::windows::Window;
use crate::pg::{SegmentName, SegmentSize, TimelineId, WalFileName};
use crate::pgwire::{self, ConnInfo, SqlConnection, SystemIdentity};
use crate::repository::{WalArchive, WalObject};
use crate::resources::postgres::source;

/// So many files may wait for `archive_command` on a server that writes fast.
const WAITING_MAX: i64 = 3;
const DOING: &str = "looking at the archiver";

/// What the server takes for archived.
pub(super) struct Archived {
    /// The last segment for which `archive_command` returned 0.
    segment: SegmentName,
    /// The `archive_command` of now.
    command: String,
}

/// What an archiver that is switched on says.
struct Archiver {
    /// How many files wait, and whether the last attempt failed; none where the role may not see it.
    waiting: Option<(i64, bool)>,
    archived: Option<Archived>,
}

/// Whether `archive_command`, where there is one, gets rid of its files: what it cannot store stays in `pg_wal`, and fills the disk. Where nothing is
/// streamed there has to be one, and what it is said to have archived has to be looked for.
pub(super) async fn check_archiver(object: &str, info: &ConnInfo, streams: bool) -> (Vec<Finding>, Option<Archived>) {
    match look_at_archiver(info).await {
        Ok(Some(Archiver { waiting, archived })) => {
            let judged = waiting.map(|(waiting, failed)| judge_waiting(object, waiting, failed));
            (judged.into_iter().collect(), archived.filter(|_| !streams))
        }
        Ok(None) if !streams => {
            let found = "nothing sends WAL: 'stream' is false in the configuration, and archive_mode is off on the server";
            let hint = "let the agent stream it, or set archive_mode and archive_command on the server";
            (vec![Finding::bad(Level::Warning, object, found, Some(hint.to_owned()))], None)
        }
        // What the role may not see is no finding: streaming needs no archive_command.
        _ => (Vec::new(), None),
    }
}

fn judge_waiting(object: &str, waiting: i64, failed: bool) -> Finding {
    let hint =
        "see the server's log for what archive_command says; the program must be in its PATH and may need --socket and --config";
    if failed || waiting > WAITING_MAX {
        let found = format!("archive_command fails or lags behind: {waiting} files wait in pg_wal/archive_status");
        return Finding::bad(Level::Critical, object, found, Some(hint.to_owned()));
    }
    Finding::ok(object, format!("archive_command keeps up: {waiting} files wait"))
}

/// None where nothing is archived.
async fn look_at_archiver(info: &ConnInfo) -> Result<Option<Archiver>, source::Error> {
    let sql = SqlConnection::connect(info).await?;
    let mode = sql.query_one(DOING, "SELECT current_setting('archive_mode') AS mode", &[]).await?;
    if sql.get::<&str>(DOING, &mode, "mode")? == "off" {
        return Ok(None);
    }
    let archived = last_archived(&sql).await?;
    // The folder of archive_status may be hidden from the role.
    Ok(Some(Archiver { waiting: waiting(&sql).await.ok(), archived }))
}

/// None where it was no segment: a history file tells nothing of the WAL before it.
async fn last_archived(sql: &SqlConnection) -> pgwire::Result<Option<Archived>> {
    let statement = "SELECT last_archived_wal AS name, current_setting('archive_command') AS command FROM pg_stat_archiver";
    let row = sql.query_one(DOING, statement, &[]).await?;
    let name: Option<String> = sql.get(DOING, &row, "name")?;
    let command: String = sql.get(DOING, &row, "command")?;
    let segment = name.and_then(|name| name.parse::<SegmentName>().ok());
    Ok(segment.map(|segment| Archived { segment, command }))
}

async fn waiting(sql: &SqlConnection) -> pgwire::Result<(i64, bool)> {
    let statement = "SELECT (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready') AS waiting, \
                     coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS failed FROM pg_stat_archiver";
    let row = sql.query_one(DOING, statement, &[]).await?;
    Ok((sql.get(DOING, &row, "waiting")?, sql.get(DOING, &row, "failed")?))
}

/// Whether the segment that the server took for archived, before `status` was made, is stored. Our own program returns 0 for what is stored and
/// for nothing else, so that one that is missing was given to another one, and the server has removed it or will.
pub(super) async fn check_archived(
    archive: &WalArchive,
    status: &ClusterStatus,
    server: &SystemIdentity,
    archived: &Archived,
) -> Option<Finding> {
    let window = status.present().filter(|_| server.system_id == status.system_id)?;
    if !lies_behind(window, archived.segment, server.timeline, archive.segment_size()) {
        return None;
    }
    let object = status.resource.to_string();
    match archive.stored_of(archived.segment).await {
        Ok(stored) if stored.contains(&WalObject::File(WalFileName::Segment(archived.segment))) => None,
        Ok(_) => Some(judge_archived(&object, window, archived)),
        Err(error) => Some(Finding::bad(Level::Critical, &object, error.to_string(), error.hint())),
    }
}

/// Whether a segment of the server's timeline ends behind everything that can be restored. What lies before that was archived before the first
/// backup, or is needed by none; where a hole is, that is another finding.
fn lies_behind(window: &Window, segment: SegmentName, timeline: TimelineId, size: SegmentSize) -> bool {
    let ends_behind = segment.number(size).is_some_and(|number| number.end(size) > window.to);
    let is_later = segment.timeline() > window.timeline || segment.timeline() == window.timeline && ends_behind;
    segment.timeline() == timeline && is_later && !window.cut
}

fn judge_archived(object: &str, window: &Window, archived: &Archived) -> Finding {
    let Archived { segment, command } = archived;
    let found = format!(
        "the server takes {segment} for archived, and it is not stored: WAL is stored up to {} on timeline {} only, and the server removes the rest",
        window.to, window.timeline
    );
    let now = if command.is_empty() { "empty".to_owned() } else { format!("{command:?}") };
    let hint = format!(
        "archive_command is {now}: set it to 'holdfast-archive-command --resource {object} \"%p\"'; then store what pg_wal still has of the segments \
         from {} on ('holdfast wal push PATH/pg_wal/SEGMENT'), and where one is gone run 'holdfast backup {object}'",
        window.to
    );
    Finding::bad(Level::Critical, object, found, Some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::{Lsn, SegmentNumber};

    #[test]
    fn only_a_segment_of_the_servers_timeline_that_ends_behind_the_window_is_missed() {
        let size = SegmentSize::DEFAULT;
        let to = Lsn(SegmentNumber(5).start(size).0 + 1000);
        let from_time = "2026-11-22T07:16:00Z".parse().expect("a time");
        let window = Window { backups: Vec::new(), from: Lsn(0), from_time, timeline: TimelineId(2), to, cut: false };
        let missed = |timeline, number, server| {
            let segment = SegmentName::new(TimelineId(timeline), SegmentNumber(number), size);
            lies_behind(&window, segment, TimelineId(server), size)
        };
        assert!(missed(2, 5, 2) && missed(2, 9, 2));
        assert!(!missed(2, 4, 2), "it lies before");
        assert!(!missed(1, 9, 2), "the server has left that timeline");
        assert!(missed(3, 4, 3), "nothing of the server's timeline is stored");
        let cut = Window { cut: true, ..window.clone() };
        assert!(!lies_behind(&cut, SegmentName::new(TimelineId(2), SegmentNumber(9), size), TimelineId(2), size));
    }
}
