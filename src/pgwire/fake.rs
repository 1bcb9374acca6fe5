//! A scripted server for tests: it says what it is told to, whatever the client says.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::ReplicationConnection;
use super::authentication::{AllowedMethods, Credentials};
use super::error::Result;
use super::startup::{self, Login};
use tokio_postgres::config::ChannelBinding;

/// So long a test waits for an answer of the fake server.
pub(super) const DEADLINE: Duration = Duration::from_millis(500);

/// One message with its length.
pub(super) fn message(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.put_u32(u32::try_from(content.len() + 4).expect("a short message"));
    bytes.extend_from_slice(content);
    bytes
}

/// An ErrorResponse.
pub(super) fn error(sqlstate: &str) -> Vec<u8> {
    message(b'E', format!("SFEHLER\0VERROR\0C{sqlstate}\0Mwas auch immer\0\0").as_bytes())
}

/// A row of text columns.
pub(super) fn row(columns: &[Option<&str>]) -> Vec<u8> {
    let mut content = BytesMut::new();
    content.put_u16(u16::try_from(columns.len()).expect("a short row"));
    for column in columns {
        match column {
            Some(text) => {
                content.put_u32(u32::try_from(text.len()).expect("a short text"));
                content.put_slice(text.as_bytes());
            }
            None => content.put_i32(-1),
        }
    }
    message(b'D', &content)
}

/// A RowDescription without columns: nobody looks at them.
pub(super) fn description() -> Vec<u8> {
    message(b'T', &[0, 0])
}

pub(super) fn complete(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

pub(super) fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

pub(super) fn copy_both() -> Vec<u8> {
    message(b'W', &[0, 0, 0])
}

/// What a server says that lets everybody in.
pub(super) fn welcome(version: &str) -> Vec<u8> {
    let parameter = message(b'S', format!("server_version\0{version}\0").as_bytes());
    [message(b'R', &[0, 0, 0, 0]), parameter, ready()].concat()
}

pub(super) fn login(password: Option<&str>) -> Login {
    let password = password.map(|password| password.as_bytes().to_vec());
    let (channel_binding, allowed) = (ChannelBinding::Prefer, AllowedMethods::default());
    let credentials = Credentials { user: "me".into(), password, channel_binding, allowed };
    Login { credentials, application_name: None, options: None }
}

/// A client whose server says all this at once, and then closes the connection if `closes`.
pub(super) fn server(says: &[u8], closes: bool) -> DuplexStream {
    let (client, mut server) = tokio::io::duplex(says.len().max(1 << 16));
    let says = says.to_vec();
    tokio::spawn(async move {
        if server.write_all(&says).await.is_err() || closes {
            return;
        }
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.ok();
    });
    client
}

/// Logs in where the server says this.
pub(super) async fn enter(says: &[u8]) -> Result<ReplicationConnection<DuplexStream>> {
    let stream = server(says, true);
    ReplicationConnection::new(startup::log_in(stream, "fake", &login(Some("secret")), None, DEADLINE).await?)
}

/// A connection to a server of this version that says the rest afterwards, and then closes the connection if `closes`.
pub(super) async fn connection(version: &str, says: &[Vec<u8>], closes: bool) -> ReplicationConnection<DuplexStream> {
    let stream = server(&[welcome(version), says.concat()].concat(), closes);
    let connection = startup::log_in(stream, "fake", &login(None), None, DEADLINE).await.expect("let in");
    ReplicationConnection::new(connection).expect("a version")
}
