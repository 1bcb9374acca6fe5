//! Secret keys: what opens encrypted objects. Read from the content of identity files, as late as possible.

use std::cell::RefCell;
use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use age::secrecy::{ExposeSecret, SecretString};
use age_core::format::{FileKey, Stanza};

use super::recipient::ssh_name;
use super::{KeyError, words};

/// Stretching a passphrase takes 1 KiB of memory times two to the power of this; a file that asks for more is refused.
const WORK_FACTOR_MAX: u8 = 20;
/// No identity file is larger, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A secret key.
pub struct Identity {
    name: String,
    key: Box<dyn age::Identity + Send + Sync>,
}

/// Only its public half.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Asks for the passphrase of the identity file that it is given the name of; the error says why there is none.
pub type AskPassphrase<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

impl Identity {
    /// The recipient that it belongs to, as objects name it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the content of an identity file: age identities, one a line; an SSH private key; or age identities in an age file that is
    /// encrypted with a passphrase. `file` is its name, for messages. CPU-heavy where there is a passphrase.
    ///
    /// # Errors
    /// `File`, `Passphrase`.
    pub fn read(file: &str, content: &[u8], passphrase: &AskPassphrase<'_>) -> Result<Vec<Self>, KeyError> {
        let reader = KeyReader { file, passphrase };
        let start = content.trim_ascii_start();
        if start.starts_with(b"age-encryption.org/") || start.starts_with(b"-----BEGIN AGE ENCRYPTED FILE") {
            return reader.lines(reader.decrypted(content)?.expose_secret());
        }
        let text = std::str::from_utf8(content).map_err(|_| reader.refused("it is neither text nor an age file"))?;
        if start.starts_with(b"-----BEGIN") {
            return reader.ssh(text).map(|identity| vec![identity]);
        }
        reader.lines(text)
    }
}

struct KeyReader<'a> {
    file: &'a str,
    passphrase: &'a AskPassphrase<'a>,
}

impl KeyReader<'_> {
    fn refused(&self, reason: impl Into<String>) -> KeyError {
        KeyError::File { file: self.file.to_owned(), reason: reason.into() }
    }

    fn ask(&self) -> Result<SecretString, KeyError> {
        let missing = |reason| KeyError::Passphrase { file: self.file.to_owned(), reason };
        (self.passphrase)(self.file).map(SecretString::from).map_err(missing)
    }

    fn wrong(&self) -> KeyError {
        KeyError::Passphrase { file: self.file.to_owned(), reason: "the one that was given is wrong".to_owned() }
    }

    fn lines(&self, text: &str) -> Result<Vec<Identity>, KeyError> {
        let lines = (1..).zip(text.lines()).map(|(number, line)| (number, line.trim()));
        let keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let identity = |(number, line): (usize, &str)| {
            let key: age::x25519::Identity =
                line.parse().map_err(|_| self.refused(format!("line {number} is not an age identity (AGE-SECRET-KEY-1...)")))?;
            Ok(Identity { name: key.to_public().to_string(), key: Box::new(key) })
        };
        let identities = keys.map(identity).collect::<Result<Vec<_>, KeyError>>()?;
        if identities.is_empty() { Err(self.refused("it holds no identity")) } else { Ok(identities) }
    }

    fn ssh(&self, text: &str) -> Result<Identity, KeyError> {
        use age::ssh::Identity as Ssh;
        let key = Ssh::from_buffer(text.as_bytes(), None).map_err(|_| self.refused("it is not a complete SSH private key"))?;
        let recipient = age::ssh::Recipient::try_from(key.clone());
        let recipient = recipient.map_err(|_| self.refused("only ssh-ed25519 and ssh-rsa keys can decrypt"))?;
        let key = match key {
            Ssh::Unencrypted(key) => key,
            Ssh::Encrypted(key) => key.decrypt(self.ask()?).map_err(|_| self.wrong())?,
            Ssh::Unsupported(_) => return Err(self.refused("this kind of SSH private key cannot decrypt")),
        };
        Ok(Identity { name: ssh_name(&recipient), key: Box::new(Ssh::from(key)) })
    }

    /// The content of an age file that is encrypted with a passphrase.
    fn decrypted(&self, content: &[u8]) -> Result<SecretString, KeyError> {
        let armored = age::armor::ArmoredReader::new(content);
        let decryptor = age::Decryptor::new_buffered(armored).map_err(|error| self.refused(words(&error)))?;
        if !decryptor.is_scrypt() {
            return Err(self.refused("it is encrypted, and not with a passphrase"));
        }
        let mut key = age::scrypt::Identity::new(self.ask()?);
        key.set_max_work_factor(WORK_FACTOR_MAX);
        let plain = decryptor.decrypt(std::iter::once(&key as &dyn age::Identity)).map_err(|error| match error {
            age::DecryptError::ExcessiveWork { required, .. } => {
                self.refused(format!("its work factor is {required}, more than the {WORK_FACTOR_MAX} allowed"))
            }
            _ => self.wrong(),
        })?;
        let mut text = String::new();
        let read = plain.take(FILE_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|_| self.refused("its content is damaged")).map(|_| SecretString::from(text))
    }
}

type Load = dyn Fn() -> Result<Vec<Identity>, KeyError> + Send + Sync;

/// The identities at hand, which are read when the first object has to be opened.
#[derive(Clone, Default)]
pub struct Identities {
    load: Option<Arc<Load>>,
    loaded: Arc<Mutex<Option<Arc<[Identity]>>>>,
}

impl Identities {
    /// Those that `load` reads when they are needed. A failure is not remembered: the next object asks again.
    #[must_use]
    pub fn later(load: impl Fn() -> Result<Vec<Identity>, KeyError> + Send + Sync + 'static) -> Self {
        Self { load: Some(Arc::new(load)), loaded: Arc::default() }
    }

    /// Whether any are configured; whether they can be read shows when they are needed.
    #[must_use]
    pub fn are_configured(&self) -> bool {
        self.load.is_some()
    }

    /// The recipients that they belong to. Reads them, which may take a second where there is a passphrase.
    ///
    /// # Errors
    /// When a file cannot be read, or its passphrase is missing or wrong.
    pub fn names(&self) -> Result<Vec<String>, KeyError> {
        Ok(self.all()?.iter().map(|identity| identity.name.clone()).collect())
    }

    pub(super) fn all(&self) -> Result<Arc<[Identity]>, KeyError> {
        let Some(load) = &self.load else { return Ok(Arc::default()) };
        // The lock is held meanwhile, so that several objects at once ask for one passphrase.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        match &*loaded {
            Some(identities) => Ok(Arc::clone(identities)),
            None => Ok(Arc::clone(loaded.insert(load()?.into()))),
        }
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.are_configured() { "configured" } else { "none" })
    }
}

/// Unwraps a file key with whichever identity can, and keeps it.
pub(super) struct Capture<'a> {
    pub(super) identities: &'a [Identity],
    pub(super) key: RefCell<Option<FileKey>>,
}

impl age::Identity for Capture<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, age::DecryptError>> {
        let found = self.identities.iter().find_map(|identity| identity.key.unwrap_stanzas(stanzas))?;
        if let Ok(key) = &found {
            self.key.replace(Some(copy(key)));
        }
        Some(found)
    }
}

pub(super) fn copy(key: &FileKey) -> FileKey {
    FileKey::init_with_mut(|copy| copy.copy_from_slice(key.expose_secret()))
}
