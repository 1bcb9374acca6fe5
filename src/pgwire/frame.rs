//! Splitting what a server sends into messages.
//!
//! `postgres-protocol` parses all messages but two, `W` (CopyBothResponse) and `v` (NegotiateProtocolVersion), and it knows no limit of
//! their length. So the length is checked here first, those two are taken out, and CopyData, which carries nearly all bytes, is
//! handed on without a copy.

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::backend::{COPY_DATA_TAG, Message};

/// The longest message accepted before the log-in is done: the server is not known yet. libpq takes at most 30 kB there.
pub(super) const CAP_BEFORE_LOGIN: usize = 64 << 10;
/// The longest message accepted later. A walsender sends at most 128 kB of WAL at once, a base backup 32 kB; the
/// longest other message is a row with a timeline's history.
pub(super) const CAP: usize = 16 << 20;

/// The tag and the length field.
const HEADER_BYTES: usize = 5;

const COPY_BOTH_RESPONSE_TAG: u8 = b'W';
const NEGOTIATE_PROTOCOL_VERSION_TAG: u8 = b'v';

/// One message of a server.
pub(super) enum Frame {
    /// `d`
    CopyData(Bytes),
    /// `W`
    CopyBoth,
    /// `v`
    NegotiateProtocolVersion,
    /// All others.
    Message(Message),
}

/// What is no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a message '{}' of {length} bytes, where at most {cap} are accepted", char::from(*.tag).escape_default())]
    Length { tag: u8, length: u64, cap: usize },
    #[error("a message that cannot be read: {0}")]
    Malformed(#[from] std::io::Error),
}

/// What the beginning of the buffer holds.
pub(super) enum Split {
    /// A whole message, now removed from the buffer.
    Frame(Frame),
    /// Not yet a whole message; so many bytes are missing at least.
    Missing(usize),
}

/// Takes the first message out of `buffer`, if it is there completely and no longer than `cap`.
pub(super) fn split(buffer: &mut BytesMut, cap: usize) -> Result<Split, FrameError> {
    let Some((tag, total)) = header(buffer, cap)? else {
        return Ok(Split::Missing(HEADER_BYTES - buffer.len()));
    };
    if buffer.len() < total {
        return Ok(Split::Missing(total - buffer.len()));
    }
    let frame = match tag {
        COPY_DATA_TAG => {
            let mut bytes = buffer.split_to(total).freeze();
            bytes.advance(HEADER_BYTES);
            Frame::CopyData(bytes)
        }
        COPY_BOTH_RESPONSE_TAG => {
            buffer.advance(total);
            Frame::CopyBoth
        }
        NEGOTIATE_PROTOCOL_VERSION_TAG => {
            buffer.advance(total);
            Frame::NegotiateProtocolVersion
        }
        _ => match Message::parse(buffer)? {
            Some(message) => Frame::Message(message),
            None => return Ok(Split::Missing(1)),
        },
    };
    Ok(Split::Frame(frame))
}

/// The tag and the whole length of the first message.
fn header(buffer: &BytesMut, cap: usize) -> Result<Option<(u8, usize)>, FrameError> {
    let Some((&tag, mut rest)) = buffer.get(..HEADER_BYTES).and_then(<[u8]>::split_first) else {
        return Ok(None);
    };
    let length = rest.get_u32();
    match usize::try_from(length) {
        Ok(length) if (4..=cap).contains(&length) => Ok(Some((tag, length + 1))),
        _ => Err(FrameError::Length { tag, length: length.into(), cap }),
    }
}

#[cfg(test)]
mod tests;
