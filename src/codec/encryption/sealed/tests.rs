use std::process::{Command, Stdio};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::codec::encryption::{Decrypting, Identity, KeyFile, Revealed};
use crate::codec::{FORMAT, Hash};
use crate::sys::clock;

/// Someone with a key.
struct Person {
    file: tempfile::NamedTempFile,
    recipient: String,
}

impl Person {
    fn new() -> Self {
        let key = KeyFile::generate(clock::now());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), key.content()).unwrap();
        Self { file, recipient: key.recipient().to_owned() }
    }

    /// With a key of SSH's own, without or with a passphrase.
    fn with_ssh(kind: &str, passphrase: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        std::fs::remove_file(&path).unwrap();
        let made = Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", passphrase, "-C", "", "-f", &path]).status().unwrap();
        assert!(made.success());
        let public = format!("{path}.pub");
        let recipient = std::fs::read_to_string(&public).unwrap();
        std::fs::remove_file(public).unwrap();
        Self { file, recipient }
    }

    fn identities(&self) -> Identities {
        self.identities_with("")
    }

    fn identities_with(&self, passphrase: &'static str) -> Identities {
        let content = std::fs::read(self.file.path()).unwrap();
        Identities::later(move || Identity::read("key", &content, &|_| Ok(passphrase.to_owned())))
    }

    /// What the `age` program reads.
    fn age(&self, object: &[u8]) -> Vec<u8> {
        let input = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(input.path(), object).unwrap();
        let age =
            Command::new("age").arg("-d").arg("-i").arg(self.file.path()).arg(input.path()).stderr(Stdio::inherit()).output();
        let age = age.unwrap();
        assert!(age.status.success(), "age -d failed");
        age.stdout
    }
}

fn recipients(people: &[&Person]) -> Recipients {
    Recipients::parse(&people.iter().map(|person| person.recipient.clone()).collect::<Vec<_>>()).unwrap()
}

fn preface(recipients: &Recipients) -> Preface {
    let revealed = Some(Revealed { size: 7, blake3: Hash::of(b"x"), about: json!({"commits": 3}) });
    Preface {
        format: FORMAT,
        kind: "segment".into(),
        name: "000000010000000000000001".into(),
        recipients: recipients.names(),
        revealed,
    }
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from(at * at % 251).unwrap_or(0)).collect()
}

fn encrypted(plain: &[u8], people: &[&Person]) -> Vec<u8> {
    let recipients = recipients(people);
    encrypt(plain, &preface(&recipients), &recipients).unwrap()
}

const CHUNK: usize = 64 << 10;

#[test]
fn the_age_program_opens_what_any_recipient_may_read() {
    let people = [Person::new(), Person::with_ssh("ed25519", ""), Person::with_ssh("rsa", ""), Person::new()];
    for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 300_000] {
        let object = encrypted(&content(size), &people.each_ref());
        for person in &people {
            assert!(person.age(&object) == content(size), "{size} bytes to {}", person.recipient);
            let (shown, plain) = decrypt(&object, &person.identities()).unwrap();
            assert!(plain == content(size) && shown == preface(&recipients(&people.each_ref())));
        }
    }
}

#[test]
fn recipients_are_named_as_ssh_keygen_shows_them() {
    let person = Person::with_ssh("ed25519", "");
    let shown = Command::new("ssh-keygen").arg("-lf").arg(person.file.path()).output().unwrap().stdout;
    let fingerprint = String::from_utf8(shown).unwrap().split(' ').nth(1).unwrap().to_owned();
    assert_eq!(recipients(&[&person]).names(), [format!("ssh-ed25519 {fingerprint}")]);
    assert_eq!(person.identities().names().unwrap(), recipients(&[&person]).names());
}

#[test]
fn what_the_age_program_encrypted_opens_where_it_is_asked_for() {
    let person = Person::new();
    let input = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(input.path(), content(200_000)).unwrap();
    let age = Command::new("age").args(["-r", &person.recipient]).arg(input.path()).output().unwrap();
    assert!(age.status.success());
    // It carries no preface, so it is not an object; the chunks behind its header are the same.
    assert!(matches!(decrypt(&age.stdout, &person.identities()), Err(Error::NotAnEnvelope { .. })));
    let decryptor = age::Decryptor::new_buffered(&age.stdout[..]).unwrap();
    let identities = person.identities().all().unwrap();
    let capture = Capture { identities: &identities, key: RefCell::default() };
    let mut plain = Vec::new();
    decryptor.decrypt(std::iter::once(&capture as &dyn age::Identity)).unwrap().read_to_end(&mut plain).unwrap();
    assert!(plain == content(200_000));
}

#[test]
fn a_passphrase_protects_an_identity() {
    let key = KeyFile::generate(clock::now());
    let recipient = key.recipient().to_owned();
    let secret = key.content().lines().last().unwrap().to_owned();
    let protected = key.protect("correct horse".to_owned()).unwrap();
    assert!(!protected.content().contains(&secret) && protected.content().starts_with("-----BEGIN AGE ENCRYPTED FILE-----"));
    let read =
        |passphrase: Result<String, String>| Identity::read("key", protected.content().as_bytes(), &|_| passphrase.clone());
    let names: Vec<String> =
        read(Ok("correct horse".into())).unwrap().iter().map(|identity| identity.name().to_owned()).collect();
    assert_eq!(names, [recipient]);
    let wrong = read(Ok("battery staple".into())).unwrap_err().to_string();
    assert!(wrong.contains("wrong") && !wrong.contains("staple"), "{wrong}");
    assert!(read(Err("none is configured".into())).unwrap_err().to_string().contains("none is configured"));
}

#[test]
fn an_ssh_key_with_a_passphrase_opens_too() {
    let person = Person::with_ssh("ed25519", "s3same");
    let object = encrypted(b"plain", &[&person]);
    assert_eq!(decrypt(&object, &person.identities_with("s3same")).unwrap().1, b"plain");
    assert!(matches!(decrypt(&object, &person.identities_with("other")), Err(Error::Identity { .. })));
}

#[test]
fn a_file_that_holds_no_identity_is_refused_by_name_and_not_repeated() {
    for content in
        ["", "# only a comment\n", "AGE-SECRET-KEY-1MISTYPED", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA", "\u{fffd}\u{0}"]
    {
        let error = Identity::read("/etc/key", content.as_bytes(), &|_| Err("none".into())).unwrap_err().to_string();
        assert!(error.contains("/etc/key") && !error.contains("MISTYPED"), "{error}");
    }
}

#[test]
fn a_missing_or_wrong_identity_is_told_which_one_is_needed() {
    let (owner, other) = (Person::new(), Person::new());
    let object = encrypted(b"plain", &[&owner]);
    let locked = |available| Error::Locked { needed: recipients(&[&owner]).names(), available };
    assert_eq!(decrypt(&object, &Identities::default()).unwrap_err(), locked(vec![]));
    let wrong = decrypt(&object, &other.identities()).unwrap_err();
    assert_eq!(wrong, locked(recipients(&[&other]).names()));
    assert!(wrong.to_string().contains(&owner.recipient) && wrong.hint().is_some());
}

#[test]
fn identities_are_read_once_and_only_when_something_has_to_be_opened() {
    let owner = Person::new();
    let reads = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (counted, content) = (Arc::clone(&reads), std::fs::read(owner.file.path()).unwrap());
    let identities = Identities::later(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Identity::read("key", &content, &|_| Err("none".into()))
    });
    let object = encrypted(b"plain", &[&owner]);
    assert!(Preface::read(&object).is_ok() && identities.are_configured());
    assert_eq!(reads.load(std::sync::atomic::Ordering::Relaxed), 0);
    for _ in 0..3 {
        decrypt(&object, &identities.clone()).unwrap();
    }
    assert_eq!(reads.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn every_single_changed_bit_is_detected() {
    let owner = Person::new();
    let (object, identities) = (encrypted(&content(100), &[&owner]), owner.identities());
    for bit in 0..object.len() * 8 {
        let mut changed = object.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let error = decrypt(&changed, &identities).expect_err("a changed bit");
        assert!(!matches!(error, Error::Locked { .. }), "bit {bit} looks like a wrong key: {error}");
    }
}

#[test]
fn every_truncation_and_any_appended_byte_is_detected() {
    let owner = Person::new();
    let identities = owner.identities();
    for size in [0, 100, CHUNK] {
        let object = encrypted(&content(size), &[&owner]);
        for length in (0..object.len()).filter(|length| *length < 1000 || object.len() - length < 1000 || length % 4096 < 2) {
            assert!(decrypt(&object[..length], &identities).is_err(), "{size} bytes, cut to {length}");
        }
        assert!(decrypt(&[&object[..], b"\0"].concat(), &identities).is_err());
    }
}

#[test]
fn a_preface_fits_for_as_many_recipients_as_there_may_be() {
    let people: Vec<Person> = (0..super::super::RECIPIENTS_MAX).map(|_| Person::new()).collect();
    let recipients = recipients(&people.iter().collect::<Vec<_>>());
    let about = json!({"text": "x".repeat(2048)});
    let full = Preface { revealed: Some(Revealed { size: u64::MAX, blake3: Hash::of(b""), about }), ..preface(&recipients) };
    let object = encrypt(b"plain", &full, &recipients).unwrap();
    assert_eq!(Preface::read(&object[..super::super::PREFACE_BYTES.min(object.len())]), Ok(full));
    assert_eq!(decrypt(&object, &people[15].identities()).unwrap().1, b"plain");
}

#[test]
fn nothing_of_the_content_is_in_the_object() {
    let owner = Person::new();
    let marker = b"a marker that nobody else writes";
    let object = encrypted(&marker.repeat(5000), &[&owner]);
    assert!(!object.windows(12).any(|bytes| bytes == &marker[..12]));
}

/// The content in a range as a store would give it: only the chunks that were asked for, cut at the object's end.
fn read(object: &[u8], unlocked: &Unlocked, plain: Range<u64>) -> Result<Vec<u8>, Error> {
    let stored = unlocked.stored_range(&plain);
    let at = |offset: u64| usize::try_from(offset).unwrap().min(object.len());
    unlocked.read(&plain, &object[at(stored.start)..at(stored.end)])
}

#[test]
fn ranges_around_the_borders_of_chunks_are_read_with_their_chunks_alone() {
    let owner = Person::new();
    for size in [3 * CHUNK, 3 * CHUNK - 1, 3 * CHUNK + 1] {
        let (plain, object) = (content(size), encrypted(&content(size), &[&owner]));
        let (_, unlocked) = Unlocked::new(&object[..object.len().min(40_000)], &owner.identities()).unwrap();
        let borders = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 3 * CHUNK - 1, size];
        for start in borders {
            for end in borders.into_iter().filter(|end| *end >= start && *end <= size) {
                let found = read(&object, &unlocked, start as u64..end as u64);
                assert!(found.as_deref() == Ok(&plain[start..end]), "{start}..{end} of {size}: {:?}", found.err());
            }
        }
        let stored = unlocked.stored_range(&(CHUNK as u64 + 1..CHUNK as u64 + 2));
        assert_eq!(stored.end - stored.start, STORED_CHUNK_BYTES);
        assert!(matches!(read(&object, &unlocked, 0..size as u64 + 1), Err(Error::Truncated { .. })));
    }
}

#[test]
fn a_changed_bit_is_detected_by_a_range_that_touches_its_chunk() {
    let owner = Person::new();
    let object = encrypted(&content(3 * CHUNK), &[&owner]);
    let (_, unlocked) = Unlocked::new(&object, &owner.identities()).unwrap();
    let begin = unlocked.header.len();
    for offset in [0, 1, CHUNK, CHUNK + 15] {
        let mut changed = object.clone();
        changed[begin + CHUNK + 16 + offset] ^= 1;
        assert!(read(&changed, &unlocked, CHUNK as u64 + 10..CHUNK as u64 + 11).is_err(), "offset {offset}");
        assert!(
            read(&changed, &unlocked, 0..10).is_ok() && read(&changed, &unlocked, 2 * CHUNK as u64 + 1..3 * CHUNK as u64).is_ok()
        );
    }
    // Chunks in another order, or of another object, do not pass for those that belong there.
    let swapped =
        [&object[..begin], &object[begin + CHUNK + 16..begin + 2 * (CHUNK + 16)], &object[begin + CHUNK + 16..]].concat();
    assert!(read(&swapped, &unlocked, 0..10).is_err());
    let other = encrypted(&content(3 * CHUNK), &[&owner]);
    assert!(read(&[&object[..begin], &other[begin..]].concat(), &unlocked, 0..10).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_range_can_be_read_whatever_the_pieces(
        pieces in prop::collection::vec(0_usize..90_000, 0..6),
        ends in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        piece_bytes in 1_000_usize..400_000,
    ) {
        let owner = Person::new();
        let recipients = recipients(&[&owner]);
        let (mut plain, mut object) = (Vec::new(), Vec::new());
        let mut writer = Encrypting::begin(&preface(&recipients), &recipients).unwrap();
        for (number, size) in pieces.into_iter().enumerate() {
            let piece = vec![u8::try_from(number).unwrap(); size];
            object.extend(writer.write(&piece).unwrap());
            plain.extend(piece);
        }
        object.extend(writer.finish().unwrap());
        prop_assert!(decrypt(&object, &owner.identities()).unwrap().1 == plain);
        let mut reader = Decrypting::begin(&object[..object.len().min(40_000)], &owner.identities()).unwrap();
        let mut opened = Vec::new();
        for piece in object.chunks(piece_bytes) {
            opened.extend(reader.push(piece).unwrap());
        }
        opened.extend(reader.finish().unwrap());
        prop_assert!(opened == plain);
        let (_, unlocked) = Unlocked::new(&object[..object.len().min(40_000)], &owner.identities()).unwrap();
        let (a, b) = (ends.0.index(plain.len() + 1), ends.1.index(plain.len() + 1));
        let found = read(&object, &unlocked, a.min(b) as u64..a.max(b) as u64);
        prop_assert!(found.as_deref() == Ok(&plain[a.min(b)..a.max(b)]));
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
        let identities = Identities::default();
        prop_assert!(decrypt(&bytes, &identities).is_err());
        prop_assert!(Preface::read(&[b"age-encryption.org/v1\n-> holdfast\n", &bytes[..]].concat()).is_err());
    }
}
