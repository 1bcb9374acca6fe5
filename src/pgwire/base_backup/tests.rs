use super::*;
use crate::pgwire::Failure;
use crate::pgwire::fake::{complete, connection, description, error, message, ready, row};

fn start() -> Vec<Vec<u8>> {
    let tablespace = row(&[Some("16384"), Some("/a b"), Some("12")]);
    let base = row(&[None, None, Some("34")]);
    let position = row(&[Some("0/2000028"), Some("1")]);
    vec![description(), position, complete("SELECT"), description(), tablespace, base, complete("SELECT")]
}

fn end() -> Vec<Vec<u8>> {
    let position = row(&[Some("0/2000100"), Some("1")]);
    vec![description(), position, complete("SELECT"), complete("BASE_BACKUP"), ready()]
}

fn copy(content: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut messages = vec![message(b'H', &[0, 0, 0])];
    messages.extend(content.iter().map(|content| message(b'd', content)));
    messages.push(message(b'c', b""));
    messages
}

const WHOLE: [&[u8]; 6] = [b"n16384.tar\0/a b\0", b"done", b"nbase.tar\0\0", b"dtwo", b"m", b"d{}"];

/// What the server sends comes out as these events, in one line each; an error is the last.
async fn events(version: &str, says: &[Vec<Vec<u8>>]) -> Vec<String> {
    let says = says.concat();
    let mut stream = connection(version, &says, true).await.base_backup(BackupOptions::default()).await.expect("a stream");
    let mut lines = Vec::new();
    loop {
        lines.push(match stream.next().await {
            Ok(BackupEvent::Done) => break lines,
            Ok(BackupEvent::Data(bytes)) => format!("data {}", String::from_utf8_lossy(&bytes)),
            Ok(BackupEvent::ManifestData(bytes)) => format!("manifest {}", String::from_utf8_lossy(&bytes)),
            Ok(BackupEvent::Archive { name, .. }) => name,
            Ok(BackupEvent::Start { base_size_kb, tablespaces, .. }) => format!("start {base_size_kb:?} {}", tablespaces.len()),
            Ok(event) => format!("{event:?}"),
            Err(error) => {
                lines.push(format!("{:?}", error.failure()));
                break lines;
            }
        });
    }
}

#[tokio::test]
async fn both_generations_of_servers_give_the_same_events() {
    let expected =
        ["start Some(34) 1", "16384.tar", "data one", "base.tar", "data two", "data three", "ManifestBegin", "manifest {}"];
    let typed = copy(&[b"n16384.tar\0/a b\0", b"done", b"d", b"nbase.tar\0\0", b"dtwo", b"dthree", b"m", b"d{}"]);
    let new = events("18.0", &[start(), typed, end()]).await;
    let untyped = [copy(&[b"one", b""]), copy(&[b"two", b"three"]), copy(&[b"{}"])].concat();
    let old = events("14.9", &[start(), untyped, end()]).await;
    assert_eq!(new, old);
    assert_eq!(new[..expected.len()], expected);
    assert_eq!(new.len(), expected.len() + 1, "{new:?}");
}

#[tokio::test]
async fn an_error_at_the_very_end_fails_the_backup() {
    let mut says = end();
    says.insert(3, error("XX001"));
    let lines = events("18.0", &[start(), copy(&WHOLE), says]).await;
    assert_eq!(lines.last().map(String::as_str), Some("Server"));
}

#[tokio::test]
async fn what_is_no_base_backup_is_refused() {
    for bad in [
        copy(&[b"dtoo early"]),
        copy(&[b"n../../etc/passwd\0\0"]),
        copy(&[b"nbase.tar.zst\0\0"]),
        copy(&[b"zunknown"]),
        copy(&[b"p short"]),
        vec![ready()],
        vec![complete("BASE_BACKUP")],
        vec![description(), row(&[Some("nowhere"), Some("1")])],
        vec![message(b'd', b"d")],
    ] {
        let lines = events("18.0", &[start(), bad]).await;
        assert!(lines.last().is_some_and(|line| line.starts_with("Protocol")), "{lines:?}");
    }
    for without in 0..WHOLE.len() / 2 {
        let kept = WHOLE.iter().enumerate().filter(|(index, _)| index / 2 != without).map(|(_, content)| *content);
        let lines = events("18.0", &[start(), copy(&kept.collect::<Vec<_>>()), end()]).await;
        assert!(lines.last().is_some_and(|line| line.starts_with("Protocol")), "{lines:?}");
        let twice = [&WHOLE[..], &WHOLE[2 * without..=2 * without]].concat();
        let lines = events("18.0", &[start(), copy(&twice), end()]).await;
        assert!(lines.last().is_some_and(|line| line.starts_with("Protocol")), "{lines:?}");
    }
    let too_many = [copy(&[b"1"]), copy(&[b"2"]), copy(&[b"3"]), copy(&[b"4"]), end()].concat();
    let lines = events("14.9", &[start(), too_many]).await;
    assert!(lines.last().is_some_and(|line| line.starts_with("Protocol")), "{lines:?}");
}

#[tokio::test]
async fn a_connection_that_is_cut_anywhere_is_no_backup() {
    let says = [start(), copy(&WHOLE), end()].concat();
    for length in 0..says.len() {
        let connection = connection("18.0", &says[..length], true).await;
        let mut stream = connection.base_backup(BackupOptions::default()).await.expect("a stream");
        let error = loop {
            match stream.next().await {
                Ok(BackupEvent::Done) => panic!("done after {length} messages"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(error.failure(), Failure::ConnectionLost(_)), "{error}");
    }
}

#[test]
fn no_message_in_a_base_backup_breaks_the_client() {
    let seeds = [&b"nbase.tar\0\0\nd1234"[..], b"n16384.tar\0/space\0", b"p\0\0\0\0\0\0\x10\0", b"m"].map(<[u8]>::to_vec);
    pg_fixtures::fuzz::fuzz("messages in a base backup", &seeds, |input| {
        let mut content = super::content::Content::typed();
        // Each line is one copy message.
        input.split(|byte| *byte == b'\n').all(|message| content.take(bytes::Bytes::copy_from_slice(message)).is_ok())
    });
}
