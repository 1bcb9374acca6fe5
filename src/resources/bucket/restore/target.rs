//! Where objects are restored to.

use std::ffi::OsStr;
use std::path::Path;

use super::super::error::{Error, Result};
use super::super::line::Line;
use super::super::source::{Listing, Source};
use super::super::survey::{Look, Mark, Survey};
use super::RestoreRequest;
use super::directory::{Directory, Walk};
use super::names::beginning;
use crate::config::{Bucket, Pattern, StoreUrl};

/// A bucket or a directory.
#[derive(Debug)]
pub(super) enum Target {
    /// A bucket, or what lies below a prefix of one.
    Bucket(Box<Source>),
    /// A directory.
    Directory(Directory),
}

impl Target {
    /// The target that is named, or the source itself; and whether it is the source.
    pub async fn find(section: &Bucket, to: Option<&OsStr>, request: &RestoreRequest) -> Result<(Self, bool)> {
        let own = &section.source.url;
        let url = match to.map(|to| (to, to.to_str())) {
            None => own.clone(),
            Some((_, Some(text))) if text.contains("://") => {
                text.parse().map_err(|detail| Error::Target { to: text.to_owned(), detail })?
            }
            Some((to, _)) => StoreUrl::Directory(std::path::absolute(to).map_err(Error::file("find", Path::new(to)))?),
        };
        match &url {
            StoreUrl::Directory(path) => Ok((Self::Directory(Directory::new(path.clone())), false)),
            StoreUrl::S3 { bucket, prefix } => {
                let begin = request.begin().to_owned();
                let target = Source::at(&section.source, bucket, prefix, Vec::new(), begin).await?;
                Ok((Self::Bucket(Box::new(target)), url == *own))
            }
        }
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        match self {
            Self::Bucket(bucket) => bucket.url(),
            Self::Directory(directory) => directory.root().display().to_string(),
        }
    }

    /// What the object of a key is called there.
    pub fn name(&self, key: &str) -> String {
        match self {
            Self::Bucket(_) => key.to_owned(),
            Self::Directory(directory) => directory.names().name(key),
        }
    }

    /// Whether that is not its key.
    pub fn renames(&self, key: &str) -> bool {
        matches!(self, Self::Directory(directory) if directory.names().name(key) != key)
    }

    /// What is there of a part of all names.
    pub async fn survey(&self, part: u32, parts: u32, request: &RestoreRequest) -> Result<Survey> {
        match self {
            Self::Bucket(bucket) => bucket.survey(Look::Content, part, parts, |key| request.wants(key)).await,
            Self::Directory(directory) => directory.survey(part, parts).await,
        }
    }

    /// Whether what is there under a name is what a line says, given what it looked like.
    pub async fn is_right(&self, line: &Line, name: &str, mark: Mark) -> Result<bool> {
        match self {
            Self::Bucket(_) => Ok(!line.etag.is_empty() && Look::Content.mark(&line.listed()) == mark),
            Self::Directory(directory) => directory.is_right(line, name, mark).await,
        }
    }

    /// What is there and was not met in a survey, as far as it is asked for, and without what backups leave out.
    pub fn extras<'a>(&'a self, survey: &'a Survey, request: &RestoreRequest, exclude: &'a [Pattern]) -> Extras<'a> {
        let begin = match self {
            Self::Bucket(_) => request.begin().to_owned(),
            Self::Directory(_) => beginning(request.begin()),
        };
        let there = match self {
            // One object is asked for, and others are none of it.
            _ if survey.unmet() == 0 || request.key.is_some() => There::Nothing,
            Self::Bucket(bucket) => There::Bucket(bucket.objects()),
            Self::Directory(directory) => There::Directory(directory.walk()),
        };
        Extras { there, survey, begin, exclude }
    }
}

/// What is there and not in the backup, one after the other.
pub(super) struct Extras<'a> {
    there: There<'a>,
    survey: &'a Survey,
    begin: String,
    exclude: &'a [Pattern],
}

enum There<'a> {
    Nothing,
    Bucket(Listing<'a>),
    Directory(Walk),
}

impl Extras<'_> {
    /// The next one's name and size.
    pub async fn next(&mut self) -> Result<Option<(String, u64)>> {
        loop {
            let found = match &mut self.there {
                There::Nothing => None,
                There::Bucket(listing) => listing.next().await?.map(|object| (object.key, object.size)),
                There::Directory(walk) => walk.next().await?.map(|(name, bytes)| (name, bytes.unwrap_or(0))),
            };
            let Some((name, bytes)) = found else { return Ok(None) };
            let excluded = self.exclude.iter().any(|pattern| pattern.matches(&name));
            if self.survey.is_unmet(&name) && name.starts_with(&self.begin) && !excluded {
                return Ok(Some((name, bytes)));
            }
        }
    }
}
