//! Looking at what is stored of one segment.

use std::fmt::Display;
use std::ops::Range;

use super::Reading;
use crate::pg::page::check_segment;
use crate::pg::records::Activity;
use crate::pg::{Lsn, SegmentName, WalFileName};
use crate::repository::{Damaged, Error, Result, Slice, WalAbout, WalArchive, WalObject};
use crate::resources::postgres::archive::coverage::{minimal_chain, range_of};

/// What was seen of a segment.
pub(super) struct Seen {
    pub segment: SegmentName,
    /// How many objects were read.
    pub objects: usize,
    /// How many bytes of WAL were read.
    pub wal_bytes: u64,
    /// What happens in it, as its objects say; `None` where one of them does not.
    pub activity: Option<Activity>,
    /// Content could not be read for want of an identity.
    pub sealed: bool,
    /// What is wrong, and which WAL that concerns.
    pub damaged: Vec<(Damaged, Range<Lsn>)>,
}

/// Looks at a segment of which these objects are listed.
pub(super) async fn look(archive: &WalArchive, segment: SegmentName, listed: &[WalObject], reading: Reading) -> Result<Seen> {
    let activity = Some(Activity::default());
    let mut seen = Seen { segment, objects: 0, wal_bytes: 0, activity, sealed: false, damaged: Vec::new() };
    for object in chosen(segment, listed) {
        match read(archive, &object, reading, &mut seen.sealed).await {
            Ok(Some((about, bytes))) => {
                seen.objects += 1;
                seen.wal_bytes += bytes;
                seen.activity = seen.activity.zip(about.activity).map(|(mut whole, part)| {
                    whole.extend(part);
                    whole
                });
            }
            // Its bytes lie in a larger object now, or retention has removed it since it was listed.
            Ok(None) => seen.activity = None,
            Err(error) => {
                seen.activity = None;
                let damaged = Damaged::of(&archive.key_of(&object), error)?;
                let whole = archive.segment_size();
                let range = range_of(archive, &object).await.ok().flatten();
                let start = || segment.number(whole).map(|number| number.start(whole)..number.end(whole));
                seen.damaged.push((damaged, range.or_else(start).unwrap_or_default()));
            }
        }
    }
    Ok(seen)
}

/// The objects that a restore reads: the segment, or the fewest slices of it, or its `.partial` file.
fn chosen(segment: SegmentName, listed: &[WalObject]) -> Vec<WalObject> {
    let (whole, partial) = (WalObject::File(WalFileName::Segment(segment)), WalObject::File(WalFileName::Partial(segment)));
    if listed.contains(&whole) {
        return vec![whole];
    }
    let pieces: Vec<Range<u64>> = listed.iter().filter_map(slice_of).collect();
    let end = pieces.iter().map(|bytes| bytes.end).max().unwrap_or(0);
    let chain = minimal_chain(&pieces, end).unwrap_or(pieces);
    let slices = chain.into_iter().map(|bytes| WalObject::Slice(Slice { segment, bytes }));
    slices.chain(listed.contains(&partial).then_some(partial)).collect()
}

fn slice_of(object: &WalObject) -> Option<Range<u64>> {
    match object {
        WalObject::Slice(slice) => Some(slice.bytes.clone()),
        WalObject::File(_) => None,
    }
}

/// What an object says of itself, and how many bytes of WAL were read; `None` where it is not there any more.
async fn read(archive: &WalArchive, object: &WalObject, reading: Reading, sealed: &mut bool) -> Result<Option<(WalAbout, u64)>> {
    if reading == Reading::Content {
        match read_content(archive, object).await {
            Err(error) if error.is_locked() => *sealed = true,
            outcome => return outcome,
        }
    }
    let about = match object {
        WalObject::File(name) => archive.about_file(*name).await,
        WalObject::Slice(slice) => archive.about_slice(slice).await,
    };
    Ok(about?.map(|about| (about, 0)))
}

async fn read_content(archive: &WalArchive, object: &WalObject) -> Result<Option<(WalAbout, u64)>> {
    let Some((about, plain)) = archive.get_object(object).await? else { return Ok(None) };
    if let WalObject::File(WalFileName::Segment(segment)) = object {
        let malformed =
            |error: &dyn Display| Error::Malformed { object: archive.key_of(object).to_string(), detail: error.to_string() };
        let checked = check_segment(&plain, *segment, archive.segment_size(), Some(archive.system_id()));
        checked.map_err(|error| malformed(&error))?;
    }
    Ok(Some((about, plain.len() as u64)))
}
