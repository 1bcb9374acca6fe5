//! Opening the store that a repository's URL names.

use std::path::PathBuf;
use std::sync::Arc;

use super::retry::Policy;
use super::{FileStore, Pointed, Result, Retrying, S3Store, Store, s3};

/// Where a store is.
#[derive(Clone, Debug)]
pub enum Location {
    /// A directory (`file:///path`).
    Directory(PathBuf),
    /// A bucket, or a part of one (`s3://bucket/prefix`).
    S3(Box<s3::Options>),
}

/// Opens a store that exists; its operations are tried again as `policy` says.
///
/// # Errors
/// `Failure::NoStore` where the directory is missing or holds no store. A bucket is first asked for something by whoever uses it.
pub async fn open(location: &Location, policy: Policy) -> Result<Arc<dyn Store>> {
    let store: Arc<dyn Store> = match location {
        Location::Directory(path) => Arc::new(FileStore::open(path).await?),
        Location::S3(options) => Arc::new(S3Store::connect((**options).clone()).await),
    };
    Ok(Arc::new(Retrying::new(Pointed::wherever_armed(store), policy)))
}

/// The same for a store that may have to be made. A bucket is not made: who owns it, where and how is not for a backup tool to decide.
///
/// # Errors
/// When the directory cannot be made.
pub async fn create(location: &Location, policy: Policy) -> Result<Arc<dyn Store>> {
    if let Location::Directory(path) = location {
        FileStore::create(path).await?;
    }
    open(location, policy).await
}
