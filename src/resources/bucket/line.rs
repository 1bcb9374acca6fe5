//! The listing of a backup: one line of JSON for each object, with what it carries and where its content is.

use bytes::{Buf, BytesMut};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use crate::codec::Hash;
use crate::repository::{BackupId, Content};
use crate::storage::s3::{Description, ListedObject};

/// No line is longer; S3 allows keys of 1 KiB, and 2 KiB of metadata.
const LINE_BYTES_MAX: usize = 1 << 20;

/// An object of the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// Its key, below the prefix of the source.
    pub key: String,
    /// Its size, in bytes.
    pub size: u64,
    /// Its ETag, without quotes.
    pub etag: String,
    /// When it was stored in the bucket.
    pub modified: Timestamp,
    /// The hash of its content.
    pub blake3: Hash,
    /// What it carries.
    #[serde(default, skip_serializing_if = "is_plain")]
    pub about: Description,
    /// Where its content is; none of an empty object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// Where the content of an object is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The pack: `ID/content-000001.tar.zst`, below the folder of all backups' content.
    pub pack: String,
    /// Its name in the pack, which is a tar file.
    pub member: String,
    /// Where its content begins in the tar file.
    pub offset: u64,
}

fn is_plain(about: &Description) -> bool {
    *about == Description::default()
}

impl Line {
    /// The object as a listing of the bucket showed it.
    pub fn listed(&self) -> ListedObject {
        ListedObject { key: self.key.clone(), size: self.size, etag: self.etag.clone(), modified: self.modified }
    }

    /// The line with its end.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("a line has string keys and no failing serializer");
        json.push(b'\n');
        json
    }
}

impl Place {
    /// The backup that has stored the pack, and the pack's name there.
    pub fn pack(&self) -> Option<(BackupId, &str)> {
        let (id, name) = self.pack.split_once('/')?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
        let fits = name.starts_with("content-") && name.bytes().all(plain);
        fits.then_some(())?;
        Some((id.parse().ok()?, name))
    }
}

/// A listing that is read line by line.
pub(super) struct Lines {
    object: String,
    content: Content,
    held: BytesMut,
    ended: bool,
}

impl Lines {
    /// The lines of an object's content; `object`: its key, for messages.
    pub fn new(object: String, content: Content) -> Self {
        Self { object, content, held: BytesMut::new(), ended: false }
    }

    /// The next line; `None` at the end, when the whole object was found sound.
    pub async fn next(&mut self) -> Result<Option<Line>> {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let line = self.held.split_to(end);
                self.held.advance(1);
                return serde_json::from_slice(&line).map(Some).map_err(|error| self.damaged(error.to_string()));
            }
            if self.ended {
                return if self.held.is_empty() { Ok(None) } else { Err(self.damaged("its last line has no end".to_owned())) };
            }
            if self.held.len() > LINE_BYTES_MAX {
                return Err(self.damaged("a line is too long".to_owned()));
            }
            match self.content.try_next().await? {
                Some(piece) => self.held.extend_from_slice(&piece),
                None => self.ended = true,
            }
        }
    }

    fn damaged(&self, detail: String) -> Error {
        Error::Listing { object: self.object.clone(), detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures_util::{StreamExt, stream};

    fn line(key: &str) -> Line {
        let (size, etag, modified) = (0, "e".to_owned(), Timestamp::UNIX_EPOCH);
        Line { key: key.to_owned(), size, etag, modified, blake3: Hash::of(b""), about: Description::default(), place: None }
    }

    fn lines(pieces: Vec<Vec<u8>>) -> Lines {
        let content = stream::iter(pieces.into_iter().map(|piece| Ok(Bytes::from(piece)))).boxed();
        Lines::new("listing".to_owned(), content)
    }

    #[tokio::test]
    async fn lines_come_back_however_they_are_cut() {
        let all = ["a", "b\n\r\"c", "größe"].map(line);
        let json: Vec<u8> = all.iter().flat_map(Line::to_json).collect();
        for cut in 1..20 {
            let mut read = lines(json.chunks(cut).map(<[u8]>::to_vec).collect());
            for expected in &all {
                assert_eq!(read.next().await.expect("a line").as_ref(), Some(expected));
            }
            assert!(read.next().await.expect("the end").is_none());
        }
    }

    #[tokio::test]
    async fn a_listing_that_is_cut_short_is_no_listing() {
        let mut json = line("a").to_json();
        json.pop();
        assert!(lines(vec![json]).next().await.is_err());
    }

    #[test]
    fn a_place_leads_nowhere_else() {
        let place = |pack: &str| Place { pack: pack.to_owned(), member: "000000".to_owned(), offset: 0 };
        assert!(place("20261122T071500Z-0A00002800/content-000001.tar.zst").pack().is_some());
        for wrong in
            ["content-000001.tar.zst", "../content-1", "a/../content-1", "a/content-1/b", "a/listing.jsonl.zst", "a/content-\\"]
        {
            assert!(place(wrong).pack().is_none(), "{wrong}");
        }
    }
}
