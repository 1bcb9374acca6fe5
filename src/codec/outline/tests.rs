use serde_json::json;

use super::*;
use crate::codec::{Compression, Identity, KeyFile, seal};
use crate::sys::clock;

fn someone() -> (Recipients, Identities) {
    let key = KeyFile::generate(clock::now());
    let recipients = Recipients::parse(&[key.recipient().to_owned()]).unwrap();
    let content = key.content().to_owned();
    (recipients, Identities::later(move || Identity::read("key", content.as_bytes(), &|_| Err("none".into()))))
}

fn sealed(name: &str, plain: &[u8]) -> Bytes {
    seal("segment", name, &json!({"secret": 1}), plain, Compression::default()).unwrap().0
}

#[test]
fn an_object_opens_the_same_whether_it_is_encrypted_or_not() {
    let (recipients, identities) = someone();
    let clear = sealed("name", b"content");
    let encrypted = encrypt_envelope(&clear, Reveal::About(json!({"shown": 2})), &recipients).unwrap();
    assert_eq!(open_any(&encrypted, 100, &identities), open_any(&clear, 100, &Identities::default()));
    let (of_clear, of_encrypted) = (outline(&clear).unwrap(), outline(&encrypted).unwrap());
    assert_eq!(of_encrypted.content, Some((7, Hash::of(b"content"))));
    assert_eq!((of_clear.recipients, of_encrypted.recipients), (vec![], recipients.names()));
    assert_eq!((of_clear.about, of_encrypted.about), (json!({"secret": 1}), json!({"shown": 2})));
}

#[test]
fn content_that_could_be_guessed_shows_neither_hash_nor_size() {
    let (recipients, identities) = someone();
    let encrypted = encrypt_envelope(&sealed("name", b"yes"), Reveal::Nothing, &recipients).unwrap();
    let shown = outline(&encrypted).unwrap();
    assert_eq!((shown.name.as_str(), shown.content, shown.about), ("name", None, Value::Null));
    assert_eq!(open_any(&encrypted, 100, &identities).unwrap().1, b"yes");
}

/// Whoever can write to the store knows the recipients, and could put another object together; its two headers still have to agree.
#[test]
fn a_preface_in_front_of_other_content_is_refused() {
    let (recipients, identities) = someone();
    let preface = |name: &str, content: &[u8]| Preface {
        format: FORMAT,
        kind: "segment".into(),
        name: name.into(),
        recipients: recipients.names(),
        revealed: Some(Revealed { size: content.len() as u64, blake3: Hash::of(content), about: Value::Null }),
    };
    let object = |preface: &Preface| encrypt(&sealed("name", b"content"), preface, &recipients).unwrap();
    assert!(open_any(&object(&preface("name", b"content")), 100, &identities).is_ok());
    for other in [preface("other", b"content"), preface("name", b"CONTENT"), preface("name", b"more content")] {
        assert!(matches!(open_any(&object(&other), 100, &identities), Err(Error::Malformed { part: Part::Header, .. })));
    }
}
