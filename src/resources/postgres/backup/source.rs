//! What the server is asked before anything is stored.

use super::error::{Error, Result};
use crate::pg::SegmentSize;
use crate::pgwire::ReplicationConnection;
use crate::repository::{Lineage, Repository, ResourceName};

/// What is asked of the server before anything is stored.
pub struct Source {
    pub lineage: Lineage,
    pub server_version: u32,
    pub segment_size: SegmentSize,
    pub data_directory_mode: String,
    pub data_checksums: bool,
}

impl Source {
    /// Asks, and refuses a cluster that the repository does not know under this name.
    pub async fn ask(repository: &Repository, resource: &ResourceName, connection: &mut ReplicationConnection) -> Result<Self> {
        let identity = connection.identify_system().await?;
        let lineage = repository.lineage_of(resource, identity.system_id).await?;
        let segment_size = connection.wal_segment_size().await?;
        if segment_size != lineage.segment_size {
            return Err(Error::SegmentSize { found: segment_size.bytes(), known: lineage.segment_size.bytes() });
        }
        Ok(Self {
            lineage,
            segment_size,
            server_version: connection.server_version().number(),
            data_directory_mode: connection.show("data_directory_mode").await?,
            data_checksums: connection.show("data_checksums").await? == "on",
        })
    }
}
