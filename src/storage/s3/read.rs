//! Reading an object, or a part of it, whole: what breaks off is continued where it broke off.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::{Bytes, BytesMut};

use super::{Done, LIMIT, S3Store, answer, failure};
use crate::storage::{Failure, ObjectKey};

/// How often in a row an answer may bring nothing.
const FRUITLESS: usize = 3;

/// How long the next piece of a body may take.
pub const PIECE_LIMIT: Duration = Duration::from_secs(30);

/// What is reserved at once for a body; a larger one grows as it comes.
const RESERVED: usize = 64 << 20;

/// The bytes of an object: all, or those in `range` that there are.
pub async fn object(store: &S3Store, key: &ObjectKey, range: Option<Range<u64>>) -> Done<Bytes> {
    if range.as_ref().is_some_and(Range::is_empty) {
        return store.head(key).await?.map(|_| Bytes::new()).ok_or(Failure::NotFound);
    }
    let mut reading =
        Reading { start: range.as_ref().map_or(0, |range| range.start), range, end: None, etag: None, body: BytesMut::new() };
    let mut fruitless = 0;
    loop {
        let before = reading.body.len();
        match reading.go_on(store, key).await {
            Ok(()) => return Ok(reading.body.freeze()),
            Err(failure @ Failure::Unavailable(_)) if reading.end.is_some() => {
                fruitless = if reading.body.len() > before { 0 } else { fruitless + 1 };
                if fruitless == FRUITLESS {
                    return Err(failure);
                }
                tracing::debug!(%key, %failure, have = reading.body.len(), "going on with a body that broke off");
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// A part of an object that has come so far.
struct Reading {
    /// What was asked for; `None`: everything.
    range: Option<Range<u64>>,
    /// Where the wanted part begins in the object.
    start: u64,
    /// Where it ends in the object: known from the first answer on.
    end: Option<u64>,
    /// The object's version in the first answer, so that no two are mixed.
    etag: Option<String>,
    body: BytesMut,
}

impl Reading {
    /// Asks for what is missing, and takes it.
    async fn go_on(&mut self, store: &S3Store, key: &ObjectKey) -> Done<()> {
        let begin = self.start + self.body.len() as u64;
        if self.end == Some(begin) {
            return Ok(());
        }
        let request = store.client.get_object().bucket(&store.options.bucket).key(store.full(key.as_str()));
        let request = request.set_range(self.header(begin)).set_if_match(self.etag.clone());
        let output = match answer(LIMIT, request.send()).await? {
            Ok(output) => output,
            // The range begins at the end of the object or after it.
            Err(error) if failure::status(&error) == Some(416) => return Ok(()),
            Err(error) if failure::status(&error) == Some(412) => {
                return Err(Failure::Corrupt("the object was exchanged while it was read".to_owned()));
            }
            Err(error) => return Err(failure::of(&error)),
        };
        self.take(begin, output).await
    }

    fn header(&self, begin: u64) -> Option<String> {
        match (self.end, &self.range) {
            (Some(end), _) => Some(format!("bytes={begin}-{}", end - 1)),
            (None, Some(range)) => Some(format!("bytes={begin}-{}", range.end - 1)),
            (None, None) => None,
        }
    }

    async fn take(&mut self, begin: u64, output: GetObjectOutput) -> Done<()> {
        let extent = Extent::of(&output)?;
        let end =
            self.end.or_else(|| self.range.as_ref().map(|range| range.end)).map_or(extent.total, |end| end.min(extent.total));
        self.end = Some(end);
        self.etag = self.etag.take().or(output.e_tag.clone());
        self.body.reserve(usize::try_from(end.saturating_sub(begin)).unwrap_or(RESERVED).min(RESERVED));
        // A service that ignores the range sends everything.
        let mut skip = begin.checked_sub(extent.begin).ok_or_else(|| odd("begins after what was asked for"))?;
        let mut body = output.body;
        loop {
            let piece = tokio::time::timeout(PIECE_LIMIT, body.next()).await;
            let piece = piece.map_err(|_| Failure::Unavailable("the answer came to a stop".to_owned()))?;
            let Some(piece) = piece else { break };
            let piece = piece.map_err(|error| failure::of_body(&error))?;
            let passed = skip.min(piece.len() as u64);
            skip -= passed;
            self.append(end, &piece[usize::try_from(passed).unwrap_or(piece.len())..]);
        }
        match self.start + self.body.len() as u64 {
            here if here < end => Err(Failure::Unavailable(format!("the answer ended at byte {here} of {end}"))),
            _ => Ok(()),
        }
    }

    fn append(&mut self, end: u64, piece: &[u8]) {
        let missing = end.saturating_sub(self.start + self.body.len() as u64);
        let wanted = usize::try_from(missing).map_or(piece.len(), |missing| missing.min(piece.len()));
        self.body.extend_from_slice(&piece[..wanted]);
    }
}

/// Which part of the object an answer brings.
pub struct Extent {
    pub begin: u64,
    pub total: u64,
}

impl Extent {
    pub fn of(output: &GetObjectOutput) -> Done<Self> {
        match output.content_range() {
            Some(range) => Self::parse(range).ok_or_else(|| odd(range)),
            None => {
                let total = output.content_length().and_then(|length| u64::try_from(length).ok());
                Ok(Self { begin: 0, total: total.ok_or_else(|| odd("has no length"))? })
            }
        }
    }

    /// Reads `bytes BEGIN-LAST/TOTAL`.
    fn parse(range: &str) -> Option<Self> {
        let (span, total) = range.strip_prefix("bytes ")?.split_once('/')?;
        let (begin, _) = span.split_once('-')?;
        Some(Self { begin: begin.parse().ok()?, total: total.parse().ok()? })
    }
}

fn odd(what: &str) -> Failure {
    Failure::Other(format!("the service's answer is odd: {what}"))
}
