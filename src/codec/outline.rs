//! Objects whether they are encrypted or not: what they say of themselves without a key, and their content.

use bytes::Bytes;
use serde_json::Value;

use super::encryption::{decrypt, encrypt, is_encrypted};
use super::{
    Error, FORMAT, HEADER_BYTES, Hash, Header, Identities, PREFACE_BYTES, Part, Preface, Recipients, Revealed, open, read_header,
};

/// So many bytes from the beginning of an object, or all of it, are enough for `outline`.
pub const OUTLINE_BYTES: usize = if HEADER_BYTES > PREFACE_BYTES { HEADER_BYTES } else { PREFACE_BYTES };

/// What is known of an object without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// What kind of object it is.
    pub kind: String,
    /// The last part of its key.
    pub name: String,
    /// The size and the hash of its content; unknown where they are kept secret.
    pub content: Option<(u64, Hash)>,
    /// What else; its shape depends on the kind. Null where it is kept secret.
    pub about: Value,
    /// Whom it is encrypted to; nobody: then it lies in the clear.
    pub recipients: Vec<String>,
}

impl From<Header> for Outline {
    fn from(header: Header) -> Self {
        let Header { kind, name, size, blake3, about, .. } = header;
        Self { kind, name, content: Some((size, blake3)), about, recipients: Vec::new() }
    }
}

impl From<Preface> for Outline {
    fn from(preface: Preface) -> Self {
        let Preface { kind, name, recipients, revealed, .. } = preface;
        let (content, about) = match revealed {
            Some(Revealed { size, blake3, about }) => (Some((size, blake3)), about),
            None => (None, Value::Null),
        };
        Self { kind, name, content, about, recipients }
    }
}

/// Reads what an object says of itself from its first bytes; `OUTLINE_BYTES` of them, or the whole object, are always enough.
///
/// # Errors
/// As `read_header` and `Preface::read`.
pub fn outline(bytes: &[u8]) -> Result<Outline, Error> {
    if is_encrypted(bytes) { Preface::read(bytes).map(Outline::from) } else { read_header(bytes).map(Outline::from) }
}

/// What an encrypted object says of its content in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reveal {
    /// Nothing but its kind and name: for content that could be guessed, or whose names are secret.
    Nothing,
    /// Its size, its hash, and this: for content that nobody can guess.
    About(Value),
}

/// Encrypts what `seal` has made. CPU-heavy.
///
/// # Errors
/// `TooLarge` if what is revealed is too long; `Encrypt`; as `read_header`.
pub fn encrypt_envelope(object: &[u8], reveal: Reveal, recipients: &Recipients) -> Result<Bytes, Error> {
    let Header { kind, name, size, blake3, .. } = read_header(object)?;
    let revealed = match reveal {
        Reveal::Nothing => None,
        Reveal::About(about) => Some(Revealed { size, blake3, about }),
    };
    let preface = Preface { format: FORMAT, kind, name, recipients: recipients.names(), revealed };
    encrypt(object, &preface, recipients).map(Bytes::from)
}

/// Opens an object, encrypted or not, and checks everything: as `open`. CPU-heavy.
///
/// # Errors
/// As `open`; `Locked`, `Identity`, and `Malformed` where the encrypted bytes were altered.
pub fn open_any(bytes: &[u8], size_max: u64, identities: &Identities) -> Result<(Header, Vec<u8>), Error> {
    if !is_encrypted(bytes) {
        return open(bytes, size_max);
    }
    let (preface, envelope) = decrypt(bytes, identities)?;
    let (header, plain) = open(&envelope, size_max)?;
    let same_content = preface.revealed.is_none_or(|shown| (shown.size, shown.blake3) == (header.size, header.blake3));
    if (&preface.kind, &preface.name) == (&header.kind, &header.name) && same_content {
        return Ok((header, plain));
    }
    Err(Error::Malformed { part: Part::Header, reason: "what it says in the clear is not true of its content".to_owned() })
}

#[cfg(test)]
mod tests;
