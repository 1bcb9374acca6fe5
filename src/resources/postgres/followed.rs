//! The server of a cluster that may be followed: streamed from, backed up, checked. One rule for all who connect to a cluster.
//!
//! PostgreSQL gives every promotion a higher timeline, so whoever is on an older one than is stored was demoted, or has not followed
//! yet: it is passed over for the next server of the conninfo, whatever it says of itself.

use futures_util::future::join_all;

use super::source::Error;
use crate::pg::TimelineId;
use crate::pgwire::{self, ConnInfo, ReplicationConnection, SystemIdentity};
use crate::repository::{self, Repository, ResourceName};

/// A server that was overtaken: another one was promoted, and its history is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{server} is on timeline {timeline}, but timeline {newest} is stored: another server was promoted, and this one is not followed{}",
    rest.as_ref().map(|error| format!("; no other server of the conninfo can be used: {error}")).unwrap_or_default()
)]
pub struct Superseded {
    /// The server.
    pub server: String,
    /// The timeline that it is on.
    pub timeline: TimelineId,
    /// The newest one that is stored.
    pub newest: TimelineId,
    /// The object that shows it.
    pub object: String,
    /// Why none of the other servers is taken in its place, where there are others.
    pub rest: Option<String>,
}

impl Superseded {
    /// What the names of the newer timeline's WAL begin with: left in the store, it would be taken for that of the next one of that number.
    fn wal(&self) -> String {
        let lineage = self.object.rsplit_once("history/").map_or("", |(lineage, _)| lineage);
        format!("{lineage}{:08X}", self.newest.0)
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        let wal = self.wal();
        format!(
            "stop this server if it was demoted, or name the promoted one in conninfo; if the newer timeline was a mistake, move its history {} and all of its \
             WAL, whose names begin with {wal}, out of the store together, with the entries below {}/backups/ of base backups that were taken on it, and keep \
             them until a restore has shown that nothing is missing",
            self.object,
            wal.split("/wal/").next().unwrap_or_default()
        )
    }
}

/// A server that may be followed.
#[derive(Debug)]
pub struct Reached {
    /// The connection to it.
    pub connection: ReplicationConnection,
    /// What it said of itself.
    pub identity: SystemIdentity,
    /// How to reach this very server again.
    pub info: ConnInfo,
}

/// Connects to the first server that may be followed; `open` is a connection that is there already. What is passed over is logged.
///
/// # Errors
/// `Superseded` where none is left; those of the server and the repository.
pub async fn reach(
    repository: &Repository,
    resource: &ResourceName,
    info: &ConnInfo,
    mut open: Option<ReplicationConnection>,
) -> Result<Reached, Error> {
    let (mut left, mut passed_over) = (info.clone(), None::<Superseded>);
    loop {
        let connected = match open.take() {
            Some(connection) => Ok(connection),
            None => ReplicationConnection::connect(&left).await,
        };
        let connection = match (connected, passed_over.clone()) {
            (Ok(connection), _) => connection,
            (Err(error), Some(demoted)) => return Err(Superseded { rest: Some(error.to_string()), ..demoted }.into()),
            (Err(error), None) => return Err(error.into()),
        };
        let reached = identified(connection, info).await?;
        let Some(demoted) = superseded(repository, resource, &reached).await? else { return Ok(reached) };
        reached.connection.close().await;
        let next = left.without_server(&demoted.server);
        let first = passed_over.get_or_insert(demoted.clone());
        let Some(next) = next else { return Err(first.clone().into()) };
        tracing::warn!(%resource, "{demoted}; trying the next server");
        left = next;
    }
}

/// The other servers of a conninfo that answer as it wants them, and were overtaken.
pub async fn superseded_beside(
    repository: &Repository,
    resource: &ResourceName,
    info: &ConnInfo,
    followed: &str,
) -> Vec<Superseded> {
    let others = info.hosts().iter().map(ToString::to_string).filter(|server| server != followed);
    let looks = others.filter_map(|server| info.clone().with_only_server(&server)).map(async |only| {
        let reached = identified(ReplicationConnection::connect(&only).await.ok()?, &only).await.ok()?;
        let found = superseded(repository, resource, &reached).await.ok()?;
        reached.connection.close().await;
        found
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// What the server behind a connection says of itself.
///
/// # Errors
/// Those of the server.
pub async fn identified(mut connection: ReplicationConnection, info: &ConnInfo) -> pgwire::Result<Reached> {
    let identity = connection.identify_system().await?;
    let info = info.clone().with_only_server(connection.server()).unwrap_or_else(|| info.clone());
    Ok(Reached { connection, identity, info })
}

async fn superseded(
    repository: &Repository,
    resource: &ResourceName,
    reached: &Reached,
) -> repository::Result<Option<Superseded>> {
    let SystemIdentity { system_id, timeline, .. } = reached.identity;
    let newest = repository.newest_history(resource, system_id).await?;
    Ok(overtaken(reached.connection.server(), timeline, newest))
}

/// The rule itself: whether a server on `timeline` was overtaken by the newest history that is stored, and its object.
#[must_use]
pub fn overtaken(server: &str, timeline: TimelineId, newest: Option<(TimelineId, String)>) -> Option<Superseded> {
    let (newest, object) = newest.filter(|(newest, _)| *newest > timeline)?;
    Some(Superseded { server: server.to_owned(), timeline, newest, object, rest: None })
}
