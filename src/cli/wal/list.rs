//! `holdfast wal list CLUSTER`: what is stored of the WAL.

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;

use super::super::backups::damaged;
use super::super::output::table;
use super::super::{Context, Outcome, exit};
use crate::operations::status::{Noted, Records, records};
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, SegmentName, SegmentNumber, SystemId, TimelineId};
use crate::repository::{Conflict, Damaged, Gap, ResourceName, StoredWal, WalArchive, WalObject};
use crate::resources::postgres::archive::inventory::{Stretch, stretches};

/// How many headers are read at once.
const HEADERS_AT_ONCE: usize = 16;

/// What `wal list` takes.
#[derive(Args)]
pub(super) struct Options {
    /// The cluster, as in postgres/main [default: the only one in the configuration]
    cluster: Option<ResourceName>,
    /// The system identifier of the cluster [default: the newest under that name]
    #[arg(long, value_name = "SYSTEM_ID")]
    lineage: Option<SystemId>,
    /// Only this timeline
    #[arg(long, value_name = "NUMBER")]
    timeline: Option<u32>,
    /// Every object with the times of its first and last commit; reads each object's header
    #[arg(long)]
    times: bool,
    /// With --times: begin at this segment
    #[arg(long, value_name = "SEGMENT", requires = "times")]
    from: Option<SegmentName>,
    /// With --times: at most this many objects of each timeline
    #[arg(long, value_name = "COUNT", requires = "times", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

#[derive(Serialize)]
struct Report {
    resource: ResourceName,
    system_id: SystemId,
    segment_bytes: u64,
    timelines: Vec<Timeline>,
    gaps: Vec<Noted<Gap>>,
    conflicts: Vec<Noted<Conflict>>,
    /// Records of gaps and conflicts that cannot be read.
    damaged: Vec<Damaged>,
}

#[derive(Serialize)]
struct Timeline {
    timeline: TimelineId,
    /// The timeline that it left, and where.
    parent: Option<(TimelineId, Lsn)>,
    stretches: Vec<Stretch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<Vec<Object>>,
}

/// An object, and what its header says.
#[derive(Serialize)]
struct Object {
    name: String,
    stored_bytes: u64,
    stored_at: Timestamp,
    start: Option<Lsn>,
    end: Option<Lsn>,
    commits: u64,
    first_commit_at: Option<Timestamp>,
    last_commit_at: Option<Timestamp>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.config()?;
    let (resource, _) = config.cluster(options.cluster.as_ref())?;
    let repository = context.repository_now(&config).await?;
    let lineage = match options.lineage {
        Some(system_id) => repository.lineage_of(&resource, system_id).await?,
        None => repository.newest_lineage(&resource).await?,
    };
    let archive = repository.wal(&resource, &lineage);
    let mut timelines = Vec::new();
    for timeline in archive.timelines().await? {
        if options.timeline.is_none_or(|wanted| wanted == timeline.0) {
            timelines.push(look(&archive, timeline, options).await?);
        }
    }
    let (system_id, segment_bytes) = (archive.system_id(), archive.segment_size().bytes());
    let Records { gaps, conflicts, damaged } = records(&archive).await?;
    let report = Report { resource, system_id, segment_bytes, timelines, gaps, conflicts, damaged };
    context.output.result(&report, Report::text);
    Ok(exit::DONE)
}

async fn look(archive: &WalArchive, timeline: TimelineId, options: &Options) -> Result<Timeline, exit::Failure> {
    let history = archive.history(timeline).await?;
    let parent = history.as_ref().and_then(TimelineHistory::parent).map(|parent| (parent.timeline, parent.end));
    let stretches = stretches(archive, timeline, SegmentNumber(0)).await?;
    let objects = if options.times { Some(objects(archive, timeline, options).await?) } else { None };
    Ok(Timeline { timeline, parent, stretches, objects })
}

async fn objects(archive: &WalArchive, timeline: TimelineId, options: &Options) -> Result<Vec<Object>, exit::Failure> {
    let first = SegmentName::new(timeline, SegmentNumber(0), archive.segment_size());
    let from = options.from.filter(|from| from.timeline() == timeline).unwrap_or(first);
    let page = archive.list_from(from, usize::from(options.limit)).await?;
    let reads = page.into_iter().map(|stored| object(archive, stored));
    stream::iter(reads).buffered(HEADERS_AT_ONCE).try_collect().await
}

async fn object(archive: &WalArchive, stored: StoredWal) -> Result<Object, exit::Failure> {
    let (name, about) = match &stored.object {
        WalObject::File(name) => (name.to_string(), archive.about_file(*name).await?),
        WalObject::Slice(slice) => (
            format!("{} from {:X} to {:X}", slice.segment, slice.bytes.start, slice.bytes.end),
            archive.about_slice(slice).await?,
        ),
    };
    let activity = about.as_ref().and_then(|about| about.activity.as_ref());
    Ok(Object {
        name,
        stored_bytes: stored.stored_bytes,
        stored_at: stored.stored_at,
        start: about.as_ref().and_then(|about| about.start),
        end: about.as_ref().and_then(|about| about.end),
        commits: activity.map_or(0, |activity| activity.commits),
        first_commit_at: activity.and_then(|activity| activity.first_commit).map(|commit| commit.time),
        last_commit_at: activity.and_then(|activity| activity.last_commit).map(|commit| commit.time),
    })
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!("WAL of {}, system identifier {}\n", self.resource, self.system_id);
        if self.timelines.is_empty() {
            text.push_str("nothing is stored yet\n");
        }
        for timeline in &self.timelines {
            text.push_str(&timeline.text());
        }
        let note = |at: Option<Timestamp>| at.map(|at| format!(" (acknowledged {at})")).unwrap_or_default();
        for gap in &self.gaps {
            let Gap { timeline, start, end, .. } = gap.record;
            let note = note(gap.acknowledged_at);
            text.push_str(&format!("gap {}: {start} to {end} on timeline {timeline} is lost{note}\n", gap.name));
        }
        for conflict in &self.conflicts {
            let Conflict { at, refused, .. } = &conflict.record;
            let note = note(conflict.acknowledged_at);
            text.push_str(&format!("conflict {}: {refused} sent other WAL than is stored at {at}{note}\n", conflict.name));
        }
        self.damaged.iter().for_each(|record| text.push_str(&damaged(record)));
        text
    }
}

impl Timeline {
    fn text(&self) -> String {
        let parent = self.parent.map(|(parent, at)| format!(", left timeline {parent} at {at}")).unwrap_or_default();
        let row = |stretch: &Stretch| {
            let Stretch { start, end, whole_segments, pieces, stored_bytes, .. } = stretch;
            let (first, last) = (stretch.first_stored_at, stretch.last_stored_at);
            vec![
                start.to_string(),
                end.to_string(),
                whole_segments.to_string(),
                pieces.to_string(),
                size(*stored_bytes),
                when(first),
                when(last),
            ]
        };
        let headings = ["from", "to", "segments", "pieces", "stored", "first stored", "last stored"];
        let stretches = table(&headings, self.stretches.iter().map(row));
        let objects = self.objects.as_deref().map(objects_text).unwrap_or_default();
        format!("\ntimeline {}{parent}\n{stretches}\n{objects}", self.timeline)
    }
}

fn objects_text(objects: &[Object]) -> String {
    let time = |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| time.to_string());
    let row = |object: &Object| {
        let Object { name, stored_bytes, commits, first_commit_at, last_commit_at, .. } = object;
        vec![name.clone(), size(*stored_bytes), commits.to_string(), time(*first_commit_at), time(*last_commit_at)]
    };
    table(&["object", "stored", "commits", "first commit", "last commit"], objects.iter().map(row)) + "\n"
}

fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

fn when(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
