//! The bucket that is backed up: its objects without what is excluded, and their content.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::error::Result;
use super::line::Line;
use super::survey::{Look, Survey};
use crate::config::{self, BucketSource, Pattern, StoreUrl, Tags};
use crate::storage::retry::Policy;
use crate::storage::s3::{self, Bucket, FirstPiece, ListedObject, Reading};

/// An object up to this size is read in one piece, and others beside it.
pub(super) const WHOLE_BYTES_MAX: u64 = 1 << 20;

/// A bucket with what is left out of it.
#[derive(Debug)]
pub(super) struct Source {
    bucket: Bucket,
    exclude: Vec<Pattern>,
    /// Only what begins so is listed.
    prefix: String,
    /// Which tags are read.
    tags: Tags,
    /// Whether tags may be read was found out.
    tags_allowed: OnceCell<()>,
}

/// An object that is as it was, with the tags that it has now; or that is gone.
pub(super) enum Retagged {
    /// It is there.
    Line(Box<Line>),
    /// It has vanished since it was listed; its key.
    Gone(String),
}

impl Source {
    /// The bucket of a section, whose requests are tried again as `retry` says.
    pub async fn of(section: &config::Bucket, retry: Policy) -> Result<Self> {
        let (bucket, prefix) = match &section.source.url {
            StoreUrl::S3 { bucket, prefix } => (bucket.as_str(), prefix.as_str()),
            StoreUrl::Directory(_) => ("", ""),
        };
        let options = s3::Options { retry, ..section.source.options(bucket, prefix)? };
        let source = Self::new(options, section.exclude.clone(), String::new()).await;
        Ok(Self { tags: section.tags, ..source })
    }

    /// Another bucket, reached in the same way.
    pub async fn at(source: &BucketSource, bucket: &str, below: &str, exclude: Vec<Pattern>, prefix: String) -> Result<Self> {
        Ok(Self::new(source.options(bucket, below)?, exclude, prefix).await)
    }

    async fn new(options: s3::Options, exclude: Vec<Pattern>, prefix: String) -> Self {
        let bucket = Bucket::connect(options).await;
        Self { bucket, exclude, prefix, tags: Tags::default(), tags_allowed: OnceCell::new() }
    }

    /// The client.
    pub const fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The bucket's URL.
    pub fn url(&self) -> String {
        self.bucket.url()
    }

    /// What is left out.
    pub fn exclude(&self) -> &[Pattern] {
        &self.exclude
    }

    /// Whether an object is left out.
    pub fn excludes(&self, key: &str) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches(key))
    }

    /// Its objects, page by page.
    pub fn objects(&self) -> Listing<'_> {
        Listing { source: self, ready: VecDeque::new(), next: Some(None) }
    }

    /// A look at all its objects, or at a part of them.
    pub async fn survey(&self, look: Look, part: u32, parts: u32, wanted: impl Fn(&str) -> bool) -> Result<Survey> {
        let mut survey = Survey::new(part, parts);
        let mut objects = self.objects();
        while let Some(object) = objects.next().await? {
            if wanted(&object.key) {
                survey.take(&object.key, look.mark(&object), object.size);
            }
        }
        survey.sort();
        Ok(survey)
    }

    /// The first piece of an object with all that the object carries.
    pub async fn first(&self, key: &str) -> Result<Reading<FirstPiece>> {
        let mut first = match self.bucket.first_piece(key, WHOLE_BYTES_MAX).await? {
            Reading::Here(first) => first,
            other => return Ok(other),
        };
        if self.tags != Tags::Never && (first.has_tags || self.tags_allowed.get().is_none()) {
            // Where tags may not be read, a service does not say that there are any: so they are asked for once, come what may.
            match self.bucket.tags(key).await? {
                Reading::Here(tags) => first.description.tags = tags,
                Reading::Changed => return Ok(Reading::Changed),
                Reading::Gone => return Ok(Reading::Gone),
            }
            drop(self.tags_allowed.set(()));
        }
        Ok(Reading::Here(first))
    }

    /// A line of the backup before, of an object that is as it was. Tags change without a trace in a listing.
    pub async fn with_tags_now(&self, mut line: Line) -> Result<Retagged> {
        match self.tags {
            Tags::Changed => {}
            Tags::Never => line.about.tags.clear(),
            Tags::Always => match self.bucket.tags(&line.key).await? {
                Reading::Here(tags) => line.about.tags = tags,
                Reading::Changed | Reading::Gone => return Ok(Retagged::Gone(line.key)),
            },
        }
        Ok(Retagged::Line(Box::new(line)))
    }

    /// A piece of the version that `object` is.
    pub async fn piece(&self, object: &ListedObject, range: std::ops::Range<u64>) -> Result<Reading<Bytes>> {
        Ok(self.bucket.piece(&object.key, range, &object.etag).await?)
    }
}

/// The objects of a bucket, one after the other.
pub(super) struct Listing<'a> {
    source: &'a Source,
    ready: VecDeque<ListedObject>,
    /// Where the next page begins; none behind the last one.
    next: Option<Option<String>>,
}

impl Listing<'_> {
    /// The next object that is not left out.
    pub async fn next(&mut self) -> Result<Option<ListedObject>> {
        loop {
            while let Some(object) = self.ready.pop_front() {
                if !self.source.excludes(&object.key) {
                    return Ok(Some(object));
                }
            }
            let Some(from) = self.next.take() else { return Ok(None) };
            let page = self.source.bucket.page(&self.source.prefix, from.as_deref(), 1000).await?;
            self.next = page.next.map(Some);
            self.ready = page.objects.into();
        }
    }
}
