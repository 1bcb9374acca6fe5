//! Taking a backup: what is as it was is referred to, the rest is read, many objects at once, and stored.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::task::JoinSet;

use super::error::{Error, Result};
use super::known::Known;
use super::line::{Line, Place};
use super::pack::Packs;
use super::previous::{self, Before, Previous, is_lasting};
use super::remarks::Named;
use super::source::{Listing, Retagged, Source};
use super::sums::{Reads, Sums};
use super::survey::{Look, Survey};
use crate::codec::{Hash, Hasher};
use crate::repository::{BackupEntry, BucketBackup, Detail, Draft, ObjectWriter};
use crate::resources::exclusions::LeftOut;
use crate::resources::{Progress, Run};
use crate::storage::s3::{FirstPiece, ListedObject, Md5Hasher, Md5Sum, Reading};

/// How many objects are read at once, the first piece of each.
const READS_AT_ONCE: usize = 16;
/// The size of the pieces of a large object, and how many of them are read at once.
const PIECE_BYTES: u64 = 4 << 20;
const PIECES_AT_ONCE: usize = 2;
/// How often an object that changes while it is read is read again.
const TRIES: usize = 4;
/// The object that holds the listing; the extension of the compression follows.
const LISTING: &str = "listing.jsonl";

/// Takes a backup into a draft.
pub(super) async fn store(run: &Run, draft: &Draft, source: Source) -> Result<(BackupEntry, Vec<String>)> {
    run.progress.say("looking at the backup before");
    let (previous, mut sentences) = match Previous::find(draft.backups()).await? {
        Before::Usable(previous) => (Some(*previous), Vec::new()),
        Before::None => (None, Vec::new()),
        Before::Unreadable(why) => (None, vec![why]),
    };
    let exclude = LeftOut::new(source.exclude(), false);
    let storing = Storing {
        source: Arc::new(source),
        progress: run.progress.clone(),
        packs: Packs::new(draft),
        listing: draft.begin_object(LISTING),
        known: Known::default(),
        same: Vec::new(),
        used: HashSet::new(),
        sums: Sums::default(),
        tally: Tally::default(),
    };
    let (mut objects, listing, used, tally) = storing.run(previous.as_ref(), draft).await?;
    sentences.extend(tally.sentences());
    let kept = previous.map(|previous| previous.kept(&used)).unwrap_or_default();
    previous::confirm(draft.backups(), &kept).await?;
    let (exclusions, object) = exclude.store(draft).await?;
    objects.extend(object);
    let detail = BucketBackup {
        listing,
        objects: tally.objects,
        read_objects: tally.read_objects,
        left_out: tally.vanished.count + tally.unsteady.count,
        kept,
        exclusions: Some(exclusions),
    };
    Ok((draft.entry(objects, tally.bytes, Detail::Bucket(detail)), sentences))
}

/// What was done so far.
#[derive(Default)]
struct Tally {
    objects: u64,
    read_objects: u64,
    bytes: u64,
    vanished: Named,
    changed: Named,
    altered: Named,
    /// What came twice alike, and not as its ETag says: it is spoken of where other ETags of the bucket are sums.
    unlike: Named,
    unsteady: Named,
    damaged: Option<String>,
}

impl Tally {
    /// Takes note of an object that was stored when it was read `again`.
    fn note(&mut self, key: &str, again: usize, reads: &Reads) {
        if reads.was_altered {
            self.altered.add(key);
        } else if reads.is_unlike {
            self.unlike.add(key);
        } else if again > 0 && !reads.was_doubted() {
            self.changed.add(key);
        }
    }

    /// Forgets what may be as it should be: no ETag of the bucket has turned out to be a sum.
    fn judge(mut self, sums: &Sums) -> Self {
        if !sums.are_proven() {
            self.unlike = Named::default();
        } else if self.unlike.count > 0 {
            tracing::warn!(
                "{} object(s) came without the MD5 sum that their ETags look like, and were stored",
                self.unlike.count
            );
        }
        self
    }

    fn sentences(&self) -> impl Iterator<Item = String> {
        let unsteady = format!("left out because they changed each of {TRIES} times that they were read");
        let named = [
            self.vanished.sentence("vanished while the backup was taken"),
            self.changed.sentence("changed while they were read, and were read again"),
            self.altered.sentence("did not arrive as their ETags say that they are, and were read again"),
            self.unlike
                .sentence("came twice alike and without the MD5 sum that their ETags look like, and were stored as they came"),
            self.unsteady.sentence(&unsteady),
            self.damaged.clone(),
        ];
        named.into_iter().flatten()
    }
}

struct Storing<'a> {
    source: Arc<Source>,
    progress: Progress,
    packs: Packs<'a>,
    listing: ObjectWriter,
    known: Known,
    /// Lines of objects that are as they were, and are to be listed.
    same: Vec<Line>,
    /// The packs that lines refer to.
    used: HashSet<String>,
    sums: Sums,
    tally: Tally,
}

/// The hash and the place of content that was stored.
type Placed = Option<(Hash, Option<Place>)>;

/// The objects to list, the name of the listing, the packs that are used, the tally.
type Stored = (Vec<crate::repository::BackupObject>, String, HashSet<String>, Tally);

impl Storing<'_> {
    async fn run(mut self, previous: Option<&Previous>, draft: &Draft) -> Result<Stored> {
        match previous {
            None => self.read(None).await?,
            Some(previous) => {
                let (mut part, mut parts) = (0, 1);
                while part < parts {
                    parts = self.run_part(previous, part, parts).await?;
                    part += 1;
                }
            }
        }
        let Self { packs, listing, used, tally, sums, .. } = self;
        let packs = packs.finish().await?;
        let mut objects = draft.finish_object(listing).await?.to_vec();
        let name = objects[0].name.clone();
        objects.extend(packs);
        Ok((objects, name, used, tally.judge(&sums)))
    }

    /// One part of all keys: takes over what is as it was, and reads the rest. Returns how many parts there are.
    async fn run_part(&mut self, previous: &Previous, part: u32, parts: u32) -> Result<u32> {
        self.progress.say("listing");
        let mut survey = self.source.survey(Look::Version, part, parts, |_| true).await?;
        self.progress.expect(survey.bytes);
        self.progress.say("");
        let taken = self.take_over(previous, &mut survey).await;
        self.add_same().await?;
        if let Err(error) = taken {
            // What was taken over until then is sound; the rest is read.
            let Some(why) = is_lasting(&error).then(|| error.to_string()) else { return Err(error) };
            self.tally.damaged = Some(format!("the listing of backup {} cannot be read to its end: {why}", previous.id()));
        }
        let parts = survey.parts();
        if survey.unmet() > 0 {
            self.read(Some(survey)).await?;
        }
        Ok(parts)
    }

    /// Takes over the lines of objects that are as they were.
    async fn take_over(&mut self, previous: &Previous, survey: &mut Survey) -> Result<()> {
        let mut lines = previous.lines().await?;
        while let Some(line) = lines.next().await? {
            if !previous.has(&line) {
                continue;
            }
            self.known.add(&line);
            if survey.meet_like(&line.key, Look::Version.mark(&line.listed())) {
                self.progress.done(line.size);
                self.same.push(line);
            }
            if self.same.len() >= READS_AT_ONCE {
                self.add_same().await?;
            }
        }
        Ok(())
    }

    /// Lists objects that are as they were, with the tags that they have now where these are asked for.
    async fn add_same(&mut self) -> Result<()> {
        let lines = std::mem::take(&mut self.same);
        let tagged: Vec<_> = lines.into_iter().map(|line| self.source.with_tags_now(line)).collect();
        for found in try_join_all(tagged).await? {
            match found {
                Retagged::Line(line) => self.add(&line).await?,
                Retagged::Gone(key) => self.tally.vanished.add(&key),
            }
        }
        Ok(())
    }

    /// Reads and stores every object of the survey's part that was not met; all objects where there is no survey.
    async fn read(&mut self, mut survey: Option<Survey>) -> Result<()> {
        let source = Arc::clone(&self.source);
        let mut listing = source.objects();
        let mut reads = JoinSet::new();
        loop {
            while reads.len() < READS_AT_ONCE
                && let Some(listed) = next_unmet(&mut listing, &mut survey).await?
            {
                let source = Arc::clone(&source);
                reads.spawn(async move { source.first(&listed.key).await.map(|first| (listed, first)) });
            }
            match reads.join_next().await {
                None => return Ok(()),
                Some(read) => {
                    let (listed, first) = read.map_err(|panic| Error::Interrupted(panic.to_string()))??;
                    self.store(&listed, first).await?;
                }
            }
        }
    }

    /// Stores an object whose first piece was read.
    async fn store(&mut self, listed: &ListedObject, mut first: Reading<FirstPiece>) -> Result<()> {
        let mut reads = Reads::default();
        for again in 0..TRIES {
            let FirstPiece { object, description, piece, md5, .. } = match first {
                Reading::Here(first) => first,
                Reading::Gone => {
                    self.tally.vanished.add(&listed.key);
                    return Ok(());
                }
                Reading::Changed => {
                    first = self.source.first(&listed.key).await?;
                    continue;
                }
            };
            let md5 = self.sums.expected(md5);
            let stored = match piece.len() as u64 == object.size {
                true => self.store_whole(&piece, md5, &mut reads).await?,
                false => self.store_large(&object, piece, md5, &mut reads).await?,
            };
            if let Some((blake3, place)) = stored {
                self.tally.note(&listed.key, again, &reads);
                let ListedObject { key, size, etag, modified } = object;
                return self.added(Line { key, size, etag, modified, blake3, about: description, place }).await;
            }
            first = self.source.first(&listed.key).await?;
        }
        self.tally.unsteady.add(&listed.key);
        Ok(())
    }

    async fn added(&mut self, line: Line) -> Result<()> {
        self.known.add(&line);
        self.tally.read_objects += 1;
        self.add(&line).await
    }

    /// Stores an object that is at hand; `None` where it is to be read again.
    async fn store_whole(&mut self, content: &Bytes, md5: Option<Md5Sum>, reads: &mut Reads) -> Result<Placed> {
        let hash = Hash::of(content);
        self.progress.done(content.len() as u64);
        if !self.sums.take(reads, hash, md5, || Md5Sum::of(content)) {
            return Ok(None);
        }
        if content.is_empty() {
            return Ok(Some((hash, None)));
        }
        if let Some(place) = self.known.find(hash) {
            return Ok(Some((hash, Some(place))));
        }
        let mut member = self.packs.begin(content.len() as u64).await?;
        self.packs.write(&mut member, content).await?;
        Ok(Some((hash, Some(member.place))))
    }

    /// Stores an object of which more than the first piece has to be read, all of one version; `None` where that one is gone, or what came
    /// is to be read again: it stays as a member that nothing refers to.
    async fn store_large(
        &mut self,
        object: &ListedObject,
        first: Bytes,
        md5: Option<Md5Sum>,
        reads: &mut Reads,
    ) -> Result<Placed> {
        let mut member = self.packs.begin(object.size).await?;
        let (mut hash, mut sum) = (Hasher::new(), Md5Hasher::default());
        let mut pieces = Pieces::behind(first.len() as u64, object.clone(), Arc::clone(&self.source));
        let mut piece = Some(first);
        while let Some(content) = piece {
            hash.update(&content);
            if md5.is_some() {
                sum.update(&content);
            }
            self.progress.done(content.len() as u64);
            self.packs.write(&mut member, &content).await?;
            piece = match pieces.next().await? {
                Reading::Here(next) => next,
                Reading::Changed | Reading::Gone => {
                    self.packs.give_up(member).await?;
                    return Ok(None);
                }
            };
        }
        let hash = hash.finish();
        let is_right = self.sums.take(reads, hash, md5, || sum.finish());
        Ok(is_right.then_some((hash, Some(member.place))))
    }

    async fn add(&mut self, line: &Line) -> Result<()> {
        if let Some(place) = &line.place
            && !self.used.contains(&place.pack)
        {
            self.used.insert(place.pack.clone());
        }
        self.tally.objects += 1;
        self.tally.bytes += line.size;
        Ok(self.listing.write(&line.to_json()).await?)
    }
}

/// The next object of a listing that belongs to the survey's part and was not met; it is met from then on.
async fn next_unmet(listing: &mut Listing<'_>, survey: &mut Option<Survey>) -> Result<Option<ListedObject>> {
    while let Some(object) = listing.next().await? {
        let Some(survey) = survey else { return Ok(Some(object)) };
        // One that has come since the survey is taken as well.
        if survey.covers(&object.key) && survey.meet(&object.key).is_none_or(|(_, is_met)| !is_met) {
            return Ok(Some(object));
        }
    }
    Ok(None)
}

/// The pieces of a large object in their order, a few of them under way.
struct Pieces {
    source: Arc<Source>,
    object: ListedObject,
    next: u64,
    under_way: std::collections::VecDeque<tokio_util::task::AbortOnDropHandle<Result<Reading<Bytes>>>>,
}

impl Pieces {
    fn behind(next: u64, object: ListedObject, source: Arc<Source>) -> Self {
        Self { source, object, next, under_way: std::collections::VecDeque::new() }
    }

    /// The next one; none at the end.
    async fn next(&mut self) -> Result<Reading<Option<Bytes>>> {
        while self.under_way.len() < PIECES_AT_ONCE && self.next < self.object.size {
            let range = self.next..self.object.size.min(self.next + PIECE_BYTES);
            self.next = range.end;
            let (source, object) = (Arc::clone(&self.source), self.object.clone());
            let read = tokio::spawn(async move { source.piece(&object, range).await });
            self.under_way.push_back(tokio_util::task::AbortOnDropHandle::new(read));
        }
        let Some(read) = self.under_way.pop_front() else { return Ok(Reading::Here(None)) };
        Ok(match read.await.map_err(|panic| Error::Interrupted(panic.to_string()))?? {
            Reading::Here(piece) => Reading::Here(Some(piece)),
            Reading::Changed => Reading::Changed,
            Reading::Gone => Reading::Gone,
        })
    }
}
