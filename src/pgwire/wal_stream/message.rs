//! The messages inside CopyData while WAL is streamed (protocol documentation, "Streaming Replication Protocol").

use bytes::{Buf, BufMut, Bytes};
use jiff::Timestamp;

use super::Status;
use crate::pg::Lsn;

/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL's times begin.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// A standby status update: tag, three positions, a time, a flag.
const STATUS_BYTES: usize = 34;

/// What a server sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StreamMessage {
    XLogData { start: Lsn, server_end: Lsn, sent: Timestamp, bytes: Bytes },
    Keepalive { server_end: Lsn, sent: Timestamp, reply_requested: bool },
}

/// Reads the content of one CopyData.
pub(super) fn read(mut bytes: Bytes) -> Result<StreamMessage, String> {
    let tag = bytes.try_get_u8().map_err(|_| "empty copy data")?;
    match tag {
        b'w' => read_xlog_data(bytes).ok_or_else(|| "a WAL message that cannot be read".into()),
        b'k' => read_keepalive(bytes).ok_or_else(|| "a keepalive that cannot be read".into()),
        other => Err(format!("an unknown message '{}' in a stream of WAL", char::from(other).escape_default())),
    }
}

fn read_xlog_data(mut bytes: Bytes) -> Option<StreamMessage> {
    let start = Lsn(bytes.try_get_u64().ok()?);
    let server_end = Lsn(bytes.try_get_u64().ok()?);
    let sent = timestamp(bytes.try_get_i64().ok()?)?;
    Some(StreamMessage::XLogData { start, server_end, sent, bytes })
}

fn read_keepalive(mut bytes: Bytes) -> Option<StreamMessage> {
    let server_end = Lsn(bytes.try_get_u64().ok()?);
    let sent = timestamp(bytes.try_get_i64().ok()?)?;
    let reply_requested = bytes.try_get_u8().ok()? != 0;
    bytes.is_empty().then_some(StreamMessage::Keepalive { server_end, sent, reply_requested })
}

fn timestamp(postgres_us: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(postgres_us.checked_add(POSTGRES_EPOCH_US)?).ok()
}

/// A standby status update. The apply position is always invalid: a receiver applies nothing, and a commit under
/// `synchronous_commit = remote_apply` must not return because of it.
pub(super) fn status(status: Status, now: Timestamp, reply_requested: bool) -> Vec<u8> {
    let mut message = Vec::with_capacity(STATUS_BYTES);
    message.put_u8(b'r');
    message.put_u64(status.written.0);
    message.put_u64(status.flushed.0);
    message.put_u64(Lsn::INVALID.0);
    message.put_i64(now.as_microsecond().saturating_sub(POSTGRES_EPOCH_US));
    message.put_u8(u8::from(reply_requested));
    message
}
