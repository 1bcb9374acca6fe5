use super::*;
use proptest::prelude::*;

use crate::pgwire::fake::message;

/// What a message is, for comparing.
fn describe(frame: &Frame) -> String {
    match frame {
        Frame::CopyData(bytes) => format!("d {bytes:?}"),
        Frame::CopyBoth => "W".into(),
        Frame::NegotiateProtocolVersion => "v".into(),
        Frame::Message(Message::CommandComplete(body)) => format!("C {:?}", body.tag()),
        Frame::Message(Message::DataRow(body)) => format!("D {:?}", body.buffer()),
        Frame::Message(Message::ReadyForQuery(_)) => "Z".into(),
        Frame::Message(_) => "other".into(),
    }
}

/// Takes all whole messages out of the buffer.
fn drain(buffer: &mut BytesMut, frames: &mut Vec<String>) -> Result<(), FrameError> {
    while let Split::Frame(frame) = split(buffer, CAP)? {
        frames.push(describe(&frame));
    }
    Ok(())
}

fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let content = || proptest::collection::vec(any::<u8>(), 0..40);
    let one = prop_oneof![
        content().prop_map(|bytes| message(b'd', &bytes)),
        content().prop_map(|bytes| message(b'v', &bytes)),
        content().prop_map(|bytes| message(b'D', &[&[0, 0], bytes.as_slice()].concat())),
        "[A-Z ]{0,20}".prop_map(|tag| message(b'C', format!("{tag}\0").as_bytes())),
        Just(message(b'W', &[0, 0, 0])),
        Just(message(b'Z', b"I")),
    ];
    proptest::collection::vec(one, 0..20)
}

proptest! {
    #[test]
    fn however_the_bytes_arrive_the_messages_are_the_same(messages in messages(), cuts in proptest::collection::vec(1_usize..30, 1..50)) {
        let bytes = messages.concat();
        let mut whole = Vec::new();
        drain(&mut BytesMut::from(bytes.as_slice()), &mut whole).expect("good messages");
        prop_assert_eq!(whole.len(), messages.len());

        let (mut pieces, mut buffer, mut rest) = (Vec::new(), BytesMut::new(), bytes.as_slice());
        for cut in cuts.iter().cycle() {
            let (piece, later) = rest.split_at((*cut).min(rest.len()));
            buffer.extend_from_slice(piece);
            drain(&mut buffer, &mut pieces).expect("good messages");
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(pieces, whole);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut buffer = BytesMut::from(bytes.as_slice());
        drain(&mut buffer, &mut Vec::new()).ok();
    }
}

#[test]
fn a_length_beyond_the_cap_is_refused_before_its_bytes_arrive() {
    let cap = u32::try_from(CAP).expect("a small cap");
    for length in [0, 3, cap + 1, u32::MAX] {
        let mut buffer = BytesMut::from([&b"d"[..], &length.to_be_bytes()].concat().as_slice());
        assert!(matches!(split(&mut buffer, CAP), Err(FrameError::Length { .. })), "{length}");
    }
    let mut buffer = BytesMut::from([&b"d"[..], &cap.to_be_bytes()].concat().as_slice());
    assert!(matches!(split(&mut buffer, CAP), Ok(Split::Missing(missing)) if missing == CAP - 4));
}

/// What servers say: log-in, a row, an error, the beginning of a stream, a copy.
fn conversation() -> Vec<Vec<u8>> {
    let row = [&2_u16.to_be_bytes()[..], &3_u32.to_be_bytes(), b"abc", &(-1_i32).to_be_bytes()].concat();
    let columns = b"\0\x01name\0\0\0\0\0\0\0\0\0\0\x19\xFF\xFF\xFF\xFF\xFF\xFF\0\0";
    vec![
        [message(b'R', b"\0\0\0\x0ASCRAM-SHA-256\0\0"), message(b'S', b"a\0b\0")].concat(),
        [message(b'T', columns), message(b'D', &row), message(b'C', b"SELECT 1\0")].concat(),
        [message(b'E', b"SERROR\0C57P01\0Mterminating connection\0\0"), message(b'Z', b"I")].concat(),
        [message(b'W', &[0, 0, 0]), message(b'v', &[0, 3, 0, 0, 0, 0, 0, 0]), message(b'd', b"1234")].concat(),
    ]
}

#[test]
fn no_message_of_a_server_breaks_the_client() {
    pg_fixtures::fuzz::fuzz("messages of a server", &conversation(), |input| {
        let mut buffer = BytesMut::from(input);
        for taken in 0_u64.. {
            match split(&mut buffer, CAP) {
                Ok(Split::Frame(_)) => {}
                Ok(Split::Missing(missing)) => {
                    assert!(missing > 0 && missing <= CAP + HEADER_BYTES, "{missing} bytes are missing");
                    return taken > 0;
                }
                Err(_) => break,
            }
        }
        false
    });
}
