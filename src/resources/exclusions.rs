//! What the configuration left out of a backup, recorded with it: so that its restore removes nothing that no backup has, whatever the configuration
//! says by then.
//!
//! Patterns can be names of files and keys. So they stand in an object of the backup, which is encrypted as its content is, and not in the catalog.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Run;
use crate::config::Pattern;
use crate::repository::{BackupEntry, BackupObject, Draft, Error, Exclusions, Repository, Result};

/// The newest format that this version reads, and the one that it writes.
const FORMAT: u32 = 1;
/// The object.
const OBJECT: &str = "exclusions";
/// What to do where it is not recorded.
pub(super) const UNRECORDED_HINT: &str = "restore without --delete-extra, and remove by hand what is not to stay; a backup that is taken now records what it leaves out";

/// What is left out of a backup by the configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LeftOut {
    format: u32,
    /// What `exclude` says.
    pub patterns: Vec<Pattern>,
    /// Whether file systems that are mounted in the trees are left out.
    pub one_file_system: bool,
}

impl LeftOut {
    /// What a section leaves out.
    pub(super) fn new(patterns: &[Pattern], one_file_system: bool) -> Self {
        Self { format: FORMAT, patterns: patterns.to_vec(), one_file_system }
    }

    /// Stores it with a backup: what the catalog says of it, and the object, if there is anything.
    pub(super) async fn store(&self, draft: &Draft) -> Result<(Exclusions, Option<BackupObject>)> {
        if self.patterns.is_empty() && !self.one_file_system {
            return Ok((Exclusions::default(), None));
        }
        let json = serde_json::to_vec(self).expect("patterns are text, and have no failing serializer");
        let object = draft.put_small(OBJECT, "exclusions", Bytes::from(json)).await?;
        Ok((Exclusions { object: Some(object.name.clone()) }, Some(object)))
    }

    /// What was left out of a backup; `None` where it does not record that. That it cannot be read is an error only where it is `needed`.
    pub(super) async fn of(run: &Run, backup: &BackupEntry, needed: bool) -> Result<Option<Self>> {
        match Self::read(&run.repository, backup).await {
            Err(error) if !needed => {
                tracing::warn!("what backup {} left out cannot be read: {error}", backup.id);
                Ok(None)
            }
            read => read,
        }
    }

    async fn read(repository: &Repository, backup: &BackupEntry) -> Result<Option<Self>> {
        let Some(exclusions) = backup.exclusions() else { return Ok(None) };
        let Some(name) = &exclusions.object else { return Ok(Some(Self::new(&[], false))) };
        let backups = repository.backups(&backup.resource);
        let json = backups.get_small(&backup.id, name).await?;
        let malformed = |detail: String| Error::Malformed { object: backups.key(&backup.id, name), detail };
        let read: Self = serde_json::from_slice(&json).map_err(|error| malformed(error.to_string()))?;
        if read.format > FORMAT {
            let newer = format!("it has format {}; this version of Holdfast reads up to {FORMAT}", read.format);
            return Err(malformed(newer));
        }
        Ok(Some(read))
    }

    /// What was left out then and is not `now`, in words for people.
    pub(super) fn more_than(&self, now: &Self) -> Vec<String> {
        let is_new = |pattern: &&Pattern| !now.patterns.iter().any(|other| other.text() == pattern.text());
        let patterns = self.patterns.iter().filter(is_new);
        let mut more: Vec<String> = patterns.map(|pattern| format!("'{}'", pattern.text().escape_debug())).collect();
        if self.one_file_system && !now.one_file_system {
            more.push("other file systems".to_owned());
        }
        more
    }

    /// What one of the two leaves out.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.patterns.extend(other.patterns);
        Self { one_file_system: self.one_file_system || other.one_file_system, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::{ChangeDigest, Compression};
    use crate::repository::{Detail, FilesBackup, WriteLimits};
    use crate::storage::FileStore;

    fn left_out(patterns: &[&str], one_file_system: bool) -> LeftOut {
        let patterns: Vec<Pattern> = patterns.iter().map(|pattern| pattern.parse().expect("a pattern")).collect();
        LeftOut::new(&patterns, one_file_system)
    }

    /// The catalog entry of a backup of files that leaves this out.
    async fn entry(run: &Run, left_out: &LeftOut) -> BackupEntry {
        let resource = "files/a".parse().expect("a name");
        let draft = run.begin(&resource, WriteLimits::default()).await.expect("a draft");
        let (exclusions, object) = left_out.store(&draft).await.expect("store it");
        let detail = FilesBackup {
            archive: String::new(),
            files: 0,
            directories: 0,
            links: 0,
            skipped: 0,
            fingerprint: ChangeDigest::of(b"a tree").expect("a digest"),
            exclusions: Some(exclusions),
        };
        draft.entry(object.into_iter().collect(), 0, Detail::Files(detail))
    }

    #[tokio::test]
    async fn what_was_left_out_of_a_backup_is_known_later() {
        let folder = tempfile::tempdir().expect("a directory");
        let store = Arc::new(FileStore::create(folder.path()).await.expect("a store"));
        let (repository, _) = Repository::create(store, Compression::default()).await.expect("a repository");
        let run = Run::new(repository);
        for (patterns, one_file_system, objects) in [(vec!["*.tmp", "/a/b/**"], false, 1), (vec![], true, 1), (vec![], false, 0)]
        {
            let mut entry = entry(&run, &left_out(&patterns, one_file_system)).await;
            assert_eq!(entry.objects.len(), objects);
            let read = LeftOut::of(&run, &entry, true).await.expect("it is there").expect("it is recorded");
            let texts: Vec<&str> = read.patterns.iter().map(Pattern::text).collect();
            assert_eq!((texts, read.one_file_system), (patterns, one_file_system));
            // As it was before that was recorded.
            let Detail::Files(detail) = &mut entry.detail else { panic!("it is one of files") };
            detail.exclusions = None;
            assert!(LeftOut::of(&run, &entry, true).await.expect("nothing is missing").is_none());
        }
    }

    #[tokio::test]
    async fn what_was_left_out_and_cannot_be_read_hinders_only_what_needs_it() {
        let folder = tempfile::tempdir().expect("a directory");
        let store = Arc::new(FileStore::create(folder.path()).await.expect("a store"));
        let (repository, _) = Repository::create(store, Compression::default()).await.expect("a repository");
        let run = Run::new(repository);
        let mut entry = entry(&run, &left_out(&["*.tmp"], false)).await;
        let Detail::Files(detail) = &mut entry.detail else { panic!("it is one of files") };
        detail.exclusions = Some(Exclusions { object: Some("gone".to_owned()) });
        assert!(LeftOut::of(&run, &entry, false).await.is_ok_and(|read| read.is_none()));
        assert!(LeftOut::of(&run, &entry, true).await.is_err());
    }

    #[test]
    fn only_what_is_not_left_out_any_more_is_spoken_of() {
        let (then, now) = (left_out(&["*.tmp", "cache"], true), left_out(&["cache", "*.o"], false));
        assert_eq!(then.more_than(&now), ["'*.tmp'", "other file systems"]);
        assert_eq!(then.more_than(&then), Vec::<String>::new());
        let both = now.and(then);
        assert!(both.one_file_system && both.patterns.len() == 4);
    }
}
