//! The agent's Unix socket, over which `holdfast-archive-command` asks for files to be stored.
//!
//! Invariants: a verdict of success is sent only for what is durable. Only root, the agent's own user and the configured one are
//! answered. The number of requests at once and the time that each may take are bounded.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use holdfast_archive_command::{Operation, Request, Verdict, exit};
use nix::unistd::{User, geteuid};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::{Agent, Config};
use crate::repository::{Repository, ResourceName};
use crate::resources::postgres::archive::push::Pusher;
use crate::resources::postgres::archive::push_ahead::PushAhead;
use crate::resources::postgres::shim;

/// How long a file may take. The shim waits a little longer.
const REQUEST: Duration = Duration::from_secs(270);
/// The most requests that are answered at once; further ones wait to be accepted.
const REQUESTS_AT_ONCE: usize = 8;
/// How long to rest after the socket could not be made or failed.
const REST: Duration = Duration::from_secs(5);

/// What is pushed for every cluster.
struct Pushers {
    config: Config,
    clusters: BTreeMap<ResourceName, PushAhead>,
}

/// Listens until it is asked to stop. What goes wrong with the socket is logged and tried again.
pub async fn serve(config: Config, repository: Repository, stop: CancellationToken) {
    let path = config.agent.socket.clone();
    let pusher = |(name, _): (ResourceName, _)| (name.clone(), PushAhead::new(Pusher::new(repository.clone(), name)));
    let clusters = config.clusters().map(pusher).collect();
    let pushers = Arc::new(Pushers { config, clusters });
    let agent = &pushers.config.agent;
    // The default needs no server of its own to be there.
    if agent.archive_user != Agent::default().archive_user && is_unknown(&agent.archive_user) {
        let hint = "set [agent] archive_user to the user that PostgreSQL runs as here";
        let named = &agent.archive_user;
        tracing::warn!(
            hint,
            "this system has no user '{named}': only root and the agent's own user can archive through the agent"
        );
    }
    while !stop.is_cancelled() {
        let ended = tokio::select! {
            ended = listen(&path, &pushers) => ended,
            () = stop.cancelled() => break,
        };
        if let Err(error) = ended {
            let hint = "its directory must belong to the agent's user (RuntimeDirectory= in a systemd unit), or name another place as [agent] socket";
            tracing::error!(
                hint,
                "the socket {}: {error}; archive_command runs 'holdfast wal push' itself meanwhile",
                path.display()
            );
        }
        tokio::select! {
            () = tokio::time::sleep(REST) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Answers requests; returns only when the socket fails.
async fn listen(path: &Path, pushers: &Arc<Pushers>) -> io::Result<()> {
    let socket = bind(path).await?;
    let places = Arc::new(Semaphore::new(REQUESTS_AT_ONCE));
    loop {
        let permit = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = socket.listener.accept().await?;
        let pushers = Arc::clone(pushers);
        tokio::spawn(async move {
            if let Err(error) = answer(pushers, stream).await {
                tracing::debug!("a request of archive_command was not answered: {error}");
            }
            drop(permit);
        });
    }
}

/// The socket that this process made, which is removed when it is not listened to any more. Another agent's of the same name stays.
struct Socket<'a> {
    path: &'a Path,
    /// Its device and inode, which no other gets as long as it is open.
    identity: (u64, u64),
    listener: UnixListener,
}

impl Drop for Socket<'_> {
    fn drop(&mut self) {
        let is_mine = identity(self.path).is_ok_and(|found| found == self.identity);
        if let Err(error) = if is_mine { fs::remove_file(self.path) } else { Ok(()) } {
            tracing::debug!("{} was not removed: {error}", self.path.display());
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Makes the socket, in place of one on which nobody listens. Everybody may connect; who is answered is decided by user.
async fn bind(path: &Path) -> io::Result<Socket<'_>> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another agent listens on it"));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let listener = UnixListener::bind(path)?;
    let socket = Socket { path, identity: identity(path)?, listener };
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(socket)
}

async fn answer(pushers: Arc<Pushers>, stream: UnixStream) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    shim::serve(stream, REQUEST, exit::NOT_STORED, async |request| {
        // A task of its own, so that a panic becomes a verdict.
        let answered = tokio::spawn(async move { pushers.push(user, &request).await }).await;
        answered.unwrap_or_else(|panic| refused(format!("the agent failed: {panic}")))
    })
    .await
}

impl Pushers {
    async fn push(&self, user: u32, request: &Request) -> Verdict {
        let (Operation::Push, [resource, path]) = (request.operation, request.fields.as_slice()) else {
            return refused("not a request to store a file: install the shim and the agent of one version".to_owned());
        };
        let path = PathBuf::from(OsStr::from_bytes(path));
        if !may_ask(user, &self.config.agent.archive_user) {
            return refused(may_not(user, &self.config.agent.archive_user));
        }
        let pusher = match self.cluster(&String::from_utf8_lossy(resource)) {
            Ok(pusher) => pusher,
            Err(message) => return refused(message),
        };
        let pushed = pusher.push(&path).await;
        if let Err(error) = &pushed {
            tracing::error!(path = %path.display(), "not stored: {error}");
        }
        let failed =
            |error: crate::resources::postgres::archive::push::Error| (exit::NOT_STORED, error.to_string(), error.hint());
        shim::verdict(pushed.map(|()| exit::DONE).map_err(failed))
    }

    /// The cluster of that name; the only one where none is named.
    fn cluster(&self, resource: &str) -> Result<&PushAhead, String> {
        let named = (!resource.is_empty()).then(|| resource.parse::<ResourceName>()).transpose();
        let named = named.map_err(|error| error.to_string())?;
        let (name, _) = self.config.cluster(named.as_ref()).map_err(|error| error.to_string())?;
        self.clusters.get(&name).ok_or_else(|| format!("{name} is not in the agent's configuration"))
    }
}

/// Root, the agent's user, and the one that the configuration names. The owner of the file is no proof: anybody can make a directory
/// that looks like a data directory, and WAL of the right cluster to put into it.
fn may_ask(user: u32, archive_user: &str) -> bool {
    let named = || User::from_name(archive_user).ok().flatten().map(|named| named.uid.as_raw());
    user == 0 || user == geteuid().as_raw() || named() == Some(user)
}

/// Why not, and what to do.
fn may_not(user: u32, archive_user: &str) -> String {
    let unknown = if is_unknown(archive_user) { ", a user that this system does not have" } else { "" };
    format!("user {user} may not store WAL; set [agent] archive_user (now '{archive_user}'{unknown}) to the server's user")
}

/// Whether the system says that there is no such user.
fn is_unknown(name: &str) -> bool {
    User::from_name(name).is_ok_and(|found| found.is_none())
}

fn refused(message: String) -> Verdict {
    Verdict { code: exit::NOT_STORED, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_not_store_wal_is_told_when_the_named_user_is_unknown() {
        assert!(may_not(1, "no such user").contains("(now 'no such user', a user that this system does not have)"));
        assert!(may_not(1, "root").contains("(now 'root') to the server's user"));
    }

    #[tokio::test]
    async fn whoever_cannot_listen_leaves_the_socket_to_the_agent_that_does() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("agent.sock");
        let socket = bind(&path).await.expect("a socket");
        assert!(bind(&path).await.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse));
        assert!(UnixStream::connect(&path).await.is_ok(), "it is listened to as before");
        // Somebody puts another one in its place.
        fs::remove_file(&path).expect("remove the socket");
        let other = bind(&path).await.expect("another socket");
        drop(socket);
        assert!(path.exists(), "the other one's");
        drop(other);
        assert!(!path.exists());
    }
}
