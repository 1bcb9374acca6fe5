//! Making a new identity, in the form in which `age-keygen` writes it.

use std::fmt;
use std::io::Write;

use age::secrecy::{ExposeSecret, SecretString};
use jiff::Timestamp;

use super::KeyError;

/// Stretching a passphrase takes 1 KiB of memory times two to the power of this: 128 MiB, and a good third of a second.
const WORK_FACTOR: u8 = 17;

/// A new identity, not written yet.
pub struct KeyFile {
    recipient: String,
    content: SecretString,
}

impl KeyFile {
    /// Generates an identity. `now` stands in the file, for people.
    #[must_use]
    pub fn generate(now: Timestamp) -> Self {
        let identity = age::x25519::Identity::generate();
        let recipient = identity.to_public().to_string();
        let secret = identity.to_string();
        let text = format!("# created: {now:.0}\n# public key: {recipient}\n{}\n", secret.expose_secret());
        Self { recipient, content: SecretString::from(text) }
    }

    /// Encrypts the file with a passphrase, as an armored age file: the `age` program opens it, and it survives being printed. CPU-heavy.
    ///
    /// # Errors
    /// When the system has no memory or no randomness for it.
    pub fn protect(self, passphrase: String) -> Result<Self, KeyError> {
        let failed = |error: &dyn fmt::Display| KeyError::Passphrase { file: "new".to_owned(), reason: error.to_string() };
        let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase));
        recipient.set_work_factor(WORK_FACTOR);
        let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient));
        let encryptor = encryptor.map_err(|_| failed(&"age refuses it"))?;
        let write = || -> std::io::Result<Vec<u8>> {
            let armor = age::armor::ArmoredWriter::wrap_output(Vec::new(), age::armor::Format::AsciiArmor)?;
            let mut writer = encryptor.wrap_output(armor)?;
            writer.write_all(self.content.expose_secret().as_bytes())?;
            writer.finish()?.finish()
        };
        let armored = write().map_err(|error| failed(&error))?;
        let content = String::from_utf8(armored).map_err(|error| failed(&error))?;
        Ok(Self { recipient: self.recipient, content: SecretString::from(content) })
    }

    /// The public key, which goes into the configuration.
    #[must_use]
    pub fn recipient(&self) -> &str {
        &self.recipient
    }

    /// What the file is to hold. Secret.
    #[must_use]
    pub fn content(&self) -> &str {
        self.content.expose_secret()
    }
}

/// Only its public half.
impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("recipient", &self.recipient).finish_non_exhaustive()
    }
}
