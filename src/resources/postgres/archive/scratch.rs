//! An archive for the tests of this folder.

use std::path::Path;
use std::sync::Arc;

use crate::codec::Compression;
use crate::pg::{SegmentSize, SystemId};
use crate::repository::{Lineage, NewLineage, Repository, ResourceKind, ResourceName, WalAbout, WalArchive, WalSource};
use crate::storage::{FileStore, Store};
use crate::sys::clock;

/// An archive of 1 MiB segments in a directory.
pub(super) async fn archive(directory: &Path) -> WalArchive {
    archive_in(Arc::new(FileStore::create(directory).await.unwrap())).await
}

/// The same in a store.
pub(super) async fn archive_in(store: Arc<dyn Store>) -> WalArchive {
    let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
    let resource = ResourceName::new(ResourceKind::Postgres, "main").unwrap();
    let segment_size = SegmentSize::try_from(1 << 20).unwrap();
    let lineage = Lineage { system_id: SystemId(7), segment_size, postgres_major: 17, created_at: clock::now() };
    repository.add_lineage(&resource, &lineage, NewLineage::OnlyFirst).await.unwrap();
    repository.wal(&resource, &lineage)
}

/// What is said of WAL of that cluster of which nothing is known.
pub(super) fn about() -> WalAbout {
    WalAbout { system_id: SystemId(7), source: WalSource::Streaming, start: None, end: None, activity: None }
}
