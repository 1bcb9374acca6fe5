//! The object that makes a store a repository, and says which format it has.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::Damaged;
use super::{Error, Result, Stored, keys, record};
use crate::storage::{ConditionalPut, Put, Store};
use crate::sys::clock;

/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// The content of `holdfast.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Marker {
    /// The repository's format.
    pub format: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// The version that made it.
    pub created_by: String,
    /// Whether the store creates objects atomically, as it was probed when the repository was made.
    #[serde(default = "atomic", with = "Conditional")]
    pub conditional_put: ConditionalPut,
}

const fn atomic() -> ConditionalPut {
    ConditionalPut::Atomic
}

/// How `ConditionalPut` is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "ConditionalPut", rename_all = "kebab-case")]
enum Conditional {
    Atomic,
    LookedUp,
}

/// Reads the marker, checks its format, and tells the store what is known about it. One that was altered and still says all that
/// is needed keeps nobody from reading or storing anything: what is wrong with it is returned beside it.
pub(super) async fn read(store: &dyn Store) -> Result<(Marker, Option<Damaged>)> {
    let bytes = match store.get(&keys::marker()).await {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Err(Error::NotInitialized { store: store.url() }),
        Err(error) => return Err(error.into()),
    };
    let malformed = |error: serde_json::Error| Error::Malformed { object: keys::MARKER.into(), detail: error.to_string() };
    let marker: Marker = serde_json::from_slice(&bytes).map_err(malformed)?;
    if marker.format > FORMAT {
        return Err(Error::NewerFormat { store: store.url(), found: marker.format, known: FORMAT });
    }
    // What a probe has found since to be weaker stays so.
    if marker.conditional_put == ConditionalPut::LookedUp {
        store.set_conditional_put(ConditionalPut::LookedUp);
    }
    let damaged = match record::open(&keys::marker(), &bytes) {
        Ok(_) => None,
        Err(error) => Some(Damaged::of(&keys::marker(), error)?),
    };
    Ok((marker, damaged))
}

/// Stores the marker; one that is there already is checked.
pub(super) async fn create(store: &dyn Store) -> Result<(Stored, Option<Damaged>)> {
    let created_by = format!("holdfast {}", env!("CARGO_PKG_VERSION"));
    let conditional_put = store.conditional_put();
    let marker = Marker { format: FORMAT, created_at: clock::now(), created_by, conditional_put };
    match store.put_if_absent(&keys::marker(), record::seal(&marker)).await? {
        Put::Created => Ok((Stored::New, None)),
        Put::AlreadyExists => read(store).await.map(|(_, damaged)| (Stored::Identical, damaged)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::codec::Compression;
    use crate::repository::{Error, Repository};
    use crate::storage::FileStore;

    #[tokio::test]
    async fn where_there_is_no_repository_its_url_may_be_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(FileStore::create(folder.path()).await.unwrap());
        let error = Repository::open(store, Compression::default()).await.unwrap_err();
        assert!(matches!(error, Error::NotInitialized { .. }), "{error}");
        let hint = error.hint().expect("a hint");
        assert!(hint.starts_with("correct [repository] url") && hint.ends_with("run 'holdfast init'"), "{hint}");
    }
}
