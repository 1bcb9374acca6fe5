//! The server of a cluster that is looked at: the one that is followed.

use super::{Finding, Level};
use crate::config::Postgres;
use crate::pg::version::Version;
use crate::pgwire::{ConnInfo, ReplicationConnection, SystemIdentity};
use crate::repository::{Repository, ResourceName};
use crate::resources::postgres::followed::{self, Reached, Superseded};
use crate::resources::postgres::source;

/// What more can be asked of.
pub(super) struct Server {
    /// How to reach it.
    pub info: ConnInfo,
    /// What it said of itself, if it let a receiver in.
    pub identity: Option<SystemIdentity>,
    /// Why it did not, where that is not so; it has been said.
    pub refused: Option<source::Error>,
}

/// Whether a server lets a receiver in, is one that is supported, and may be followed; and which others were overtaken. A server that may not
/// be followed is asked nothing more.
pub(super) async fn check_server(
    repository: Option<&Repository>,
    resource: &ResourceName,
    cluster: &Postgres,
) -> (Vec<Finding>, Option<Server>) {
    let object = resource.to_string();
    let bad = |error: &source::Error| vec![Finding::bad(Level::Critical, &object, error.to_string(), error.hint())];
    let info = match source::conninfo(cluster) {
        Ok(info) => info,
        Err(error) => return (bad(&error), None),
    };
    match look(repository, resource, &info).await {
        Ok((found, beside, server)) => {
            let warn = |other: &Superseded| Finding::bad(Level::Warning, &object, other.to_string(), Some(other.hint()));
            let findings = [Finding::ok(&object, found)].into_iter().chain(beside.iter().map(warn)).collect();
            (findings, Some(server))
        }
        Err(error @ source::Error::Superseded(_)) => (bad(&error), None),
        // Plain SQL may be let in where replication is not.
        Err(error) => (bad(&error), Some(Server { info, identity: None, refused: Some(error) })),
    }
}

async fn look(
    repository: Option<&Repository>,
    resource: &ResourceName,
    info: &ConnInfo,
) -> Result<(String, Vec<Superseded>, Server), source::Error> {
    let reached = match repository {
        Some(repository) => followed::reach(repository, resource, info, None).await?,
        None => followed::identified(ReplicationConnection::connect(info).await?, info).await?,
    };
    let Reached { connection: mut server, identity, info: only } = reached;
    Version::of_server(server.server_version().number())?;
    let wal_level = server.show("wal_level").await?;
    let elsewhere = configuration_elsewhere(&mut server).await.unwrap_or_default();
    let found = format!(
        "PostgreSQL {} at {}, timeline {}, wal_level {wal_level}{elsewhere}",
        server.server_version(),
        server.server(),
        identity.timeline
    );
    let beside = match repository {
        Some(repository) => followed::superseded_beside(repository, resource, info, server.server()).await,
        None => Vec::new(),
    };
    server.close().await;
    Ok((found, beside, Server { info: only, identity: Some(identity), refused: None }))
}

/// A word on a configuration outside the data directory, as Debian has it: no base backup holds it. Nothing where the role may not see
/// where it lies.
async fn configuration_elsewhere(server: &mut ReplicationConnection) -> Option<String> {
    let (file, data) = (server.show("config_file").await.ok()?, server.show("data_directory").await.ok()?);
    let is_inside = std::path::Path::new(&file).starts_with(&data);
    (!is_inside)
        .then(|| format!("; {file} is outside the data directory and in no base backup: a [files.NAME] section can keep it"))
}
