//! Making everything ready: the repository's marker, a record per cluster, the replication slots. Safe to repeat.

use serde::Serialize;

use crate::config::Postgres;
use crate::pg::SystemId;
use crate::pg::version::Version;
use crate::pgwire::{Failure, ReplicationConnection, ReservedWal, SlotKind, SlotName};
use crate::repository::{Lineage, NewLineage, Repository, ResourceName, Stored};
use crate::resources::postgres::followed::{self, Reached};
use crate::resources::postgres::source;
use crate::sys::clock;

/// What was done for one cluster.
#[derive(Debug, Serialize)]
pub struct Prepared {
    /// The cluster.
    pub resource: ResourceName,
    /// Its system identifier.
    pub system_id: SystemId,
    /// The server's version, as it says.
    pub server_version: String,
    /// Whether the cluster is new to the repository.
    pub new: bool,
    /// The slot, and whether it was created; none where WAL is not streamed.
    pub slot: Option<PreparedSlot>,
}

/// A replication slot.
#[derive(Debug, Serialize)]
pub struct PreparedSlot {
    /// Its name.
    pub name: SlotName,
    /// Whether it was created now.
    pub created: bool,
}

/// Makes one cluster known to the repository and creates its slot.
///
/// # Errors
/// When the server cannot be reached or used, or the name belongs to another cluster: then nothing was written.
pub async fn prepare_cluster(
    repository: &Repository,
    resource: &ResourceName,
    cluster: &Postgres,
    rule: NewLineage,
) -> Result<Prepared, source::Error> {
    let info = source::conninfo(cluster)?;
    let Reached { connection: mut server, identity, .. } = followed::reach(repository, resource, &info, None).await?;
    let version = Version::of_server(server.server_version().number())?;
    let lineage = Lineage {
        system_id: identity.system_id,
        segment_size: server.wal_segment_size().await?,
        postgres_major: version.major,
        created_at: clock::now(),
    };
    if cluster.stream {
        // One that is of no use here is noticed before anything is written.
        server.read_slot(&cluster.slot.parse()?).await?;
    }
    let stored = repository.add_lineage(resource, &lineage, rule).await?;
    let slot = if cluster.stream { Some(prepare_slot(&mut server, &cluster.slot).await?) } else { None };
    let server_version = server.server_version().to_string();
    server.close().await;
    Ok(Prepared { resource: resource.clone(), system_id: identity.system_id, server_version, new: stored == Stored::New, slot })
}

/// Creates the slot and makes it hold WAL back from now on; one that is there already is left as it is.
async fn prepare_slot(server: &mut ReplicationConnection, name: &str) -> Result<PreparedSlot, source::Error> {
    let name: SlotName = name.parse()?;
    match server.create_physical_slot(&name, SlotKind::Permanent, ReservedWal::FromLastCheckpoint).await {
        Ok(()) => Ok(PreparedSlot { name, created: true }),
        Err(error) if matches!(error.failure(), Failure::SlotExists) => Ok(PreparedSlot { name, created: false }),
        Err(error) => Err(error.into()),
    }
}
