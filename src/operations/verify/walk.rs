//! From the first segment of a timeline to the last one.

use std::ops::Range;

use futures_util::TryStreamExt;
use futures_util::stream::{self, StreamExt};

use super::segment::{Seen, look};
use super::span::{Known, Span};
use super::{Lost, Reading, VerifiedWal, WalDamage};
use crate::pg::{Lsn, SegmentName, SegmentNumber, WalFileName};
use crate::repository::{StoredWal, WalObject};
use crate::resources::postgres::archive::check_join;
use crate::resources::{Result, Run};
use crate::sys::places::place_for;

/// How many keys one listing asks for: what stores give at most.
const PAGE_ENTRIES: usize = 1000;
/// How many segments are looked at at once; of those that are read whole, as many as there is room for.
const AT_ONCE: usize = 16;

/// Looks at the WAL of one timeline.
pub(super) async fn verify(run: &Run, known: &Known, span: &Span, reading: Reading) -> Result<VerifiedWal> {
    let mut walk = Walk::new(known, span, reading);
    walk.note_holes();
    run.progress.say(format!("WAL of timeline {} from {} to {}", span.timeline, span.from, span.to));
    let (archive, size) = (&known.archive, known.archive.segment_size());
    let first = SegmentName::new(span.timeline, SegmentNumber::containing(span.from, size), size);
    let mut page = archive.list_from(first, PAGE_ENTRIES).await?;
    let mut held = Vec::new();
    loop {
        let next = match page.last() {
            Some(last) if page.len() >= PAGE_ENTRIES => Some(archive.list_after(&last.object, PAGE_ENTRIES).await?),
            _ => None,
        };
        let mut segments = grouped(held, page);
        // The next page may begin with more of the last one.
        held = next.as_ref().and_then(|_| segments.pop()).into_iter().collect();
        run.until_cancelled(walk.pass(run, segments)).await?;
        match next {
            Some(next) => page = next,
            None => return Ok(walk.verified),
        }
    }
}

type Listed = (SegmentName, Vec<WalObject>);

/// Adds listed objects, in the order of their names, to those of the segment before.
fn grouped(mut segments: Vec<Listed>, page: Vec<StoredWal>) -> Vec<Listed> {
    for StoredWal { object, .. } in page {
        match (object.segment(), segments.last_mut()) {
            (Some(segment), Some((last, objects))) if *last == segment => objects.push(object),
            (Some(segment), _) => segments.push((segment, vec![object])),
            (None, _) => {}
        }
    }
    segments
}

/// What was found so far, and what the next segment has to follow.
struct Walk<'a> {
    known: &'a Known,
    span: &'a Span,
    verified: VerifiedWal,
    /// The last segment that was passed, and where its last record begins.
    last: Option<(SegmentNumber, Lsn)>,
}

impl<'a> Walk<'a> {
    fn new(known: &'a Known, span: &'a Span, reading: Reading) -> Self {
        let verified = VerifiedWal {
            resource: known.archive.resource().clone(),
            system_id: known.archive.system_id(),
            timeline: span.timeline,
            from: span.from,
            to: span.to,
            read: reading,
            objects: 0,
            wal_bytes: 0,
            sealed: false,
            acknowledged_gaps: Vec::new(),
            damage: Vec::new(),
        };
        Self { known, span, verified, last: None }
    }

    /// Takes note of what the listing has shown.
    fn note_holes(&mut self) {
        let folder = format!("{}/wal/{}", self.verified.resource, self.verified.system_id);
        for hole in &self.span.holes {
            let detail = format!("WAL of timeline {} from {} to {} is not there", self.span.timeline, hole.start, hole.end);
            self.note(folder.clone(), detail, hole);
        }
        if !self.known.has_history(self.span.timeline) {
            let key = self.known.archive.key(WalFileName::History(self.span.timeline));
            let detail = "it is not there, and nothing is restored along this timeline without it".to_owned();
            self.note(key.to_string(), detail, &(self.span.from..Lsn(u64::MAX)));
        }
    }

    /// Takes note of damage, unless it is a gap of which somebody has taken note.
    fn note(&mut self, object: String, detail: String, range: &Range<Lsn>) {
        let detail = match self.known.gap(self.span.timeline, range) {
            Some(gap) if !gap.is_open() => return self.verified.acknowledged_gaps.push(gap.name.clone()),
            Some(gap) => format!("{detail}; it is recorded as gap {}", gap.name),
            None => detail,
        };
        let lost = Lost::between(&self.known.backups, range.start, range.end);
        self.verified.damage.push(WalDamage { object, detail, lost });
    }

    async fn pass(&mut self, run: &Run, segments: Vec<Listed>) -> Result<()> {
        let (known, reading) = (self.known, self.verified.read);
        let bytes = known.archive.segment_size().bytes();
        let room = if reading == Reading::Content { known.archive.room_for(bytes) } else { 0 };
        let look = |(segment, objects): Listed| async move {
            let _place = place_for(room).await;
            look(&known.archive, segment, &objects, reading).await
        };
        let mut seen = stream::iter(segments).map(look).buffered(AT_ONCE);
        while let Some(seen) = seen.try_next().await? {
            run.progress.done(bytes);
            self.follow(seen);
        }
        Ok(())
    }

    /// Takes note of what was seen of the next segment.
    fn follow(&mut self, seen: Seen) {
        let size = self.known.archive.segment_size();
        self.verified.objects += seen.objects;
        self.verified.wal_bytes += seen.wal_bytes;
        self.verified.sealed |= seen.sealed;
        for (damaged, range) in seen.damaged {
            self.note(damaged.object, damaged.detail, &range);
        }
        let before = self.last.take();
        let (Some(number), Some(activity)) = (seen.segment.number(size), seen.activity) else { return };
        let before = before.filter(|(last, _)| last.next() == number).map(|(_, record)| record);
        if let Err(broken) = check_join(seen.segment, &activity, before) {
            let key = self.known.archive.key(WalFileName::Segment(seen.segment)).to_string();
            let detail = format!(
                "its first record, at {}, follows one at {}, but the last record before it is at {}",
                broken.first, broken.named, broken.stored
            );
            self.note(key, detail, &(number.start(size)..number.end(size)));
        }
        // A segment in which no record begins is passed by one record.
        self.last = activity.last_record.or(before).map(|record| (number, record));
    }
}
