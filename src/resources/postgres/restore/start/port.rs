//! Which port a restored server listens on: the one of its configuration, unless somebody on this host, usually the original, has it.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::sys::local_postgres::LocalPostgres;

/// The port to start with: none where the restored configuration's is free, or cannot be found out. The server itself has the last word.
pub(super) fn instead(server: &LocalPostgres) -> Option<u16> {
    let configured = server.setting("port").ok()?.parse().ok()?;
    let sockets = server.setting("unix_socket_directories").unwrap_or_default();
    if !is_taken(configured, &sockets) {
        return None;
    }
    let free = free_port()?;
    tracing::warn!(
        "port {configured}, which the restored configuration names, is in use on this host: the server listens on {free}"
    );
    Some(free)
}

/// Whether a server listens on the port, or on the Unix socket of that number in one of the directories (`unix_socket_directories`).
fn is_taken(port: u16, socket_directories: &str) -> bool {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let answers = |directory: &str| UnixStream::connect(Path::new(directory).join(format!(".s.PGSQL.{port}"))).is_ok();
    bound.is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
        || socket_directories.split(',').map(|directory| directory.trim().trim_matches('"')).any(answers)
}

/// A port that nobody has at this moment.
fn free_port() -> Option<u16> {
    Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_port_that_is_listened_on_is_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_taken(port, ""));
        drop(listener);
        assert!(!is_taken(port, ""));
        assert_ne!(free_port(), None);
    }

    #[test]
    fn a_port_whose_unix_socket_answers_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port().unwrap();
        let path = directory.path().join(format!(".s.PGSQL.{port}"));
        let listener = UnixListener::bind(&path).unwrap();
        let directories = format!("/nowhere, \"{}\"", directory.path().display());
        assert!(is_taken(port, &directories));
        drop(listener);
        assert!(path.exists() && !is_taken(port, &directories), "a socket that a killed server left behind");
    }
}
