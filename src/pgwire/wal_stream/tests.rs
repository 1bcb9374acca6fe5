use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf};
use tokio::time::timeout;

use super::*;
use crate::pgwire::fake::{DEADLINE, complete, connection, copy_both, description, error, login, message, ready, row, welcome};
use crate::pgwire::{Error, startup};

const START: Lsn = Lsn(0x100_0000);

fn copy_data(tag: u8, fields: &[u64], rest: &[u8]) -> Vec<u8> {
    let mut content = vec![tag];
    fields.iter().for_each(|field| content.put_u64(*field));
    content.extend_from_slice(rest);
    message(b'd', &content)
}

fn wal(start: u64, bytes: &[u8]) -> Vec<u8> {
    copy_data(b'w', &[start, start.saturating_add(100), 0], bytes)
}

async fn begin(says: &[Vec<u8>]) -> Result<WalStream<DuplexStream>> {
    connection("18.0", says, true).await.start_replication(None, START, TimelineId::FIRST).await
}

/// The first error that the stream reports, now or later.
async fn fail(says: &[Vec<u8>]) -> Error {
    let mut stream = match begin(says).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    loop {
        match stream.next().await {
            Ok(WalEvent::Closed | WalEvent::TimelineEnd { .. }) => panic!("the stream ended well"),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

#[tokio::test]
async fn wal_and_keepalives_are_read() {
    let mut stream = begin(&[copy_both(), wal(START.0, b"abc"), copy_data(b'k', &[7, 0], &[1])]).await.expect("a stream");
    let sent = "2000-01-01T00:00:00Z".parse().expect("a time");
    let bytes = Bytes::from_static(b"abc");
    let event = stream.next().await.expect("an event");
    assert_eq!(event, WalEvent::XLogData { start: START, server_end: Lsn(START.0 + 100), sent, bytes });
    assert_eq!(stream.position(), Lsn(START.0 + 3));
    let event = stream.next().await.expect("an event");
    assert_eq!(event, WalEvent::Keepalive { server_end: Lsn(7), sent, reply_requested: true });
}

#[tokio::test]
async fn wal_that_does_not_follow_is_refused() {
    for start in [START.0 + 2, START.0 + 4, START.0, 0, u64::MAX] {
        let error = fail(&[copy_both(), wal(START.0, b"abc"), wal(start, b"def")]).await;
        assert!(matches!(error.failure(), Failure::Protocol(_)), "{error}");
    }
    let error = fail(&[copy_both(), wal(START.0 + 1, b"abc")]).await;
    assert!(matches!(error.failure(), Failure::Protocol(_)), "the first byte is the one asked for: {error}");
}

#[tokio::test]
async fn what_is_no_message_of_a_stream_is_refused() {
    for bad in [
        message(b'd', b""),
        message(b'd', b"x"),
        message(b'd', b"w short"),
        copy_data(b'k', &[1, 2], &[0, 0]),
        copy_data(b'k', &[1, u64::MAX / 2], &[0]),
        message(b'D', &[0, 0]),
        ready(),
        copy_both(),
        message(b'd', &vec![b'w'; 17 << 20]),
    ] {
        let error = fail(&[copy_both(), bad]).await;
        assert!(matches!(error.failure(), Failure::Protocol(_)), "{error}");
    }
}

#[tokio::test]
async fn when_an_error_comes_tells_what_it_means() {
    let failed = async |says: &[Vec<u8>]| format!("{:?}", fail(says).await.failure());
    assert_eq!(failed(&[error("XX000")]).await, "NotInHistory");
    assert_eq!(failed(&[copy_both(), error("XX000")]).await, "AheadOfServer");
    assert_eq!(failed(&[copy_both(), wal(START.0, b"abc"), error("XX000")]).await, "Server");
    assert_eq!(failed(&[copy_both(), wal(START.0, b"abc"), error("58P01")]).await, "WalRemoved");
    assert_eq!(failed(&[error("55000")]).await, "SlotLost");
    assert!(failed(&[copy_both(), wal(START.0, b"abc")]).await.starts_with("ConnectionLost"));
}

#[tokio::test]
async fn a_shutdown_is_no_end_of_a_timeline() {
    let mut stream = begin(&[copy_both(), complete("COPY 0")]).await.expect("a stream");
    assert_eq!(stream.next().await.expect("an event"), WalEvent::Closed);
    assert_eq!(stream.next().await.expect("an event"), WalEvent::Closed);
    let error = stream.into_connection().expect_err("it is gone");
    assert!(matches!(error.failure(), Failure::ConnectionLost(_)), "{error}");
}

#[tokio::test]
async fn the_end_of_a_timeline_is_reported_when_the_server_is_ready_again() {
    let end = [description(), row(&[Some("2"), Some("0/1000003")]), complete("START_STREAMING"), ready()];
    let says = [vec![copy_both(), wal(START.0, b"abc"), message(b'c', b"")], end.to_vec()].concat();
    let mut stream = begin(&says).await.expect("a stream");
    stream.next().await.expect("WAL");
    let event = WalEvent::TimelineEnd { next_timeline: TimelineId(2), start: Lsn(0x100_0003) };
    assert_eq!(stream.next().await.expect("an event"), event);
    stream.into_connection().expect("the connection");

    let mut stream = begin(&end).await.expect("a stream that ends at once");
    assert_eq!(stream.next().await.expect("an event"), event);
}

/// A stream from a server that says all this and takes in only so many bytes, and what it hears.
async fn begin_within(room: usize, says: &[u8]) -> (WalStream<DuplexStream>, ReadHalf<DuplexStream>) {
    let (client, server) = tokio::io::duplex(room);
    let (hears, mut speaks) = tokio::io::split(server);
    let says = [welcome("18.0").as_slice(), says].concat();
    tokio::spawn(async move { speaks.write_all(&says).await });
    let connection = startup::log_in(client, "fake", &login(None), None, DEADLINE).await.expect("let in");
    let connection = ReplicationConnection::new(connection).expect("a version");
    (connection.start_replication(None, START, TimelineId::FIRST).await.expect("a stream"), hears)
}

#[tokio::test]
async fn the_answer_to_the_end_of_a_timeline_is_not_lost_with_a_wait_that_is_cancelled() {
    let end = [description(), row(&[Some("2"), Some("0/1000003")]), complete("START_STREAMING"), ready()].concat();
    let says = [copy_both(), message(b'c', b""), end].concat();
    let mut heard = vec![0; 1 << 16];
    let (_stream, mut hears) = begin_within(heard.len(), &says).await;
    // What the client says before; then there is no room for the answer.
    let room = hears.read(&mut heard).await.expect("what was said");
    let (mut stream, mut hears) = begin_within(room, &says).await;
    let cancelled = timeout(Duration::from_millis(100), stream.next()).await;
    assert!(cancelled.is_err(), "the answer waits: {cancelled:?}");
    hears.read_exact(&mut heard[..room]).await.expect("what was said before");
    let event = WalEvent::TimelineEnd { next_timeline: TimelineId(2), start: Lsn(0x100_0003) };
    assert_eq!(stream.next().await.expect("an event"), event);
    let mut answer = [0; 5];
    timeout(DEADLINE, hears.read_exact(&mut answer)).await.expect("an answer").expect("a connection");
    assert_eq!(answer, *b"c\0\0\0\x04");
}

#[tokio::test]
async fn a_row_that_names_no_timeline_is_refused() {
    for bad in [row(&[]), row(&[Some("x"), Some("0/0")]), row(&[None, None]), row(&[Some("2"), Some("here")])] {
        let error = fail(&[copy_both(), message(b'c', b""), description(), bad]).await;
        assert!(matches!(error.failure(), Failure::Protocol(_)), "{error}");
    }
}

#[tokio::test]
async fn stopping_drops_what_is_on_its_way() {
    let says = [copy_both(), wal(START.0, b"abc"), message(b'c', b""), complete("COPY 0"), ready()];
    let stream = begin(&says).await.expect("a stream");
    stream.stop().await.expect("the connection back");
}

#[test]
fn no_message_in_a_stream_of_wal_breaks_the_client() {
    // The content of copy messages: behind a tag and a length.
    let seeds =
        [wal(0x100_0000, &[0xD1; 300]), copy_data(b'k', &[7, 800_000_000_000_000], &[1])].map(|framed| framed[5..].to_vec());
    pg_fixtures::fuzz::fuzz("messages in a stream of WAL", &seeds, |input| {
        super::message::read(bytes::Bytes::copy_from_slice(input)).is_ok()
    });
}

/// A commit under `synchronous_commit = remote_apply` must not return because of a receiver, which applies nothing.
#[test]
fn a_receiver_never_says_that_anything_is_applied() {
    let status = Status { written: Lsn(3), flushed: Lsn(2) };
    let message = super::message::status(status, jiff::Timestamp::UNIX_EPOCH, false);
    let position = |at: usize| u64::from_be_bytes(message[at..at + 8].try_into().expect("eight bytes"));
    assert_eq!((message[0], position(1), position(9), position(17)), (b'r', 3, 2, Lsn::INVALID.0));
}
