//! Public keys: whom new objects are encrypted to.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use super::KeyError;

/// No object has more recipients: their names have to fit into its preface.
pub const RECIPIENTS_MAX: usize = 16;

/// What every age identity begins with.
const SECRET_KEY: &str = "AGE-SECRET-KEY-";

/// Whom objects are encrypted to: any one of them can open them.
#[derive(Clone, Default)]
pub struct Recipients(Arc<[Recipient]>);

struct Recipient {
    name: String,
    key: Box<dyn age::Recipient + Send + Sync>,
}

impl Recipients {
    /// Reads recipients as age and SSH write them: `age1...`, `ssh-ed25519 AAAA...`, `ssh-rsa AAAA...`.
    ///
    /// # Errors
    /// `Recipient`, `SecretAsRecipient`, `TooMany`.
    pub fn parse(texts: &[String]) -> Result<Self, KeyError> {
        if texts.len() > RECIPIENTS_MAX {
            return Err(KeyError::TooMany { found: texts.len() });
        }
        texts.iter().map(|text| Recipient::parse(text.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// What the recipients are called in objects, errors and listings: `age1...`, or type and fingerprint as `ssh-keygen -l` shows it.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|recipient| recipient.name.clone()).collect()
    }

    /// Whether there is none: then nothing is encrypted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &dyn age::Recipient> {
        self.0.iter().map(|recipient| &*recipient.key as &dyn age::Recipient)
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Recipient {
    fn parse(text: &str) -> Result<Self, KeyError> {
        if text.contains("PRIVATE KEY")
            || text.get(..SECRET_KEY.len()).is_some_and(|start| start.eq_ignore_ascii_case(SECRET_KEY))
        {
            return Err(KeyError::SecretAsRecipient);
        }
        let refused = |reason: &str| KeyError::Recipient { text: text.to_owned(), reason: reason.to_owned() };
        if text.starts_with("age1") {
            let key: age::x25519::Recipient =
                text.parse().map_err(|_| refused("it is mistyped, or of a kind that needs a plugin"))?;
            return Ok(Self { name: key.to_string(), key: Box::new(key) });
        }
        if text.starts_with("ssh-") {
            let key: age::ssh::Recipient = text.parse().map_err(|error| refused(ssh_problem(&error)))?;
            return Ok(Self { name: ssh_name(&key), key: Box::new(key) });
        }
        Err(refused("it begins neither with age1 nor with ssh-"))
    }
}

const fn ssh_problem(error: &age::ssh::ParseRecipientKeyError) -> &'static str {
    use age::ssh::ParseRecipientKeyError as Problem;
    match error {
        Problem::RsaModulusTooLarge => "its modulus is too large",
        Problem::RsaModulusTooSmall => "its modulus has less than 2048 bits",
        Problem::Unsupported(_) => "only ssh-ed25519 and ssh-rsa keys can be encrypted to",
        _ => "it is not a complete SSH public key",
    }
}

/// Type and fingerprint, as `ssh-keygen -l` shows it: a whole RSA key would take half of an object's preface.
pub(super) fn ssh_name(key: &age::ssh::Recipient) -> String {
    let text = key.to_string();
    let (kind, encoded) = text.split_once(' ').unwrap_or((&text, ""));
    let bytes = BASE64_STANDARD.decode(encoded).unwrap_or_default();
    format!("{kind} SHA256:{}", BASE64_STANDARD_NO_PAD.encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

    fn refusal(text: &str) -> KeyError {
        Recipients::parse(&[text.to_owned()]).expect_err(text)
    }

    #[test]
    fn a_recipient_is_named_as_it_is_written() {
        let recipients = Recipients::parse(&[format!(" {AGE}\n")]).unwrap();
        assert_eq!(recipients.names(), [AGE]);
        assert!(!recipients.is_empty() && Recipients::default().is_empty());
    }

    #[test]
    fn what_is_no_recipient_is_refused_with_the_reason() {
        for text in [
            "",
            "alice",
            "age1abc",
            "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t",
            "ssh-dss AAAA",
            "ssh-rsa AAAA",
        ] {
            let error = refusal(text);
            assert!(matches!(&error, KeyError::Recipient { text: shown, .. } if shown == text), "{text}: {error}");
        }
        let too_many = vec![AGE.to_owned(); RECIPIENTS_MAX + 1];
        assert_eq!(Recipients::parse(&too_many).unwrap_err(), KeyError::TooMany { found: RECIPIENTS_MAX + 1 });
    }

    #[test]
    fn a_secret_key_given_as_a_recipient_is_not_repeated() {
        let key = age::x25519::Identity::generate();
        let secret = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
        for text in [secret.to_lowercase(), secret, "-----BEGIN OPENSSH PRIVATE KEY-----".to_owned()] {
            let error = refusal(&text);
            assert_eq!(error, KeyError::SecretAsRecipient);
            assert!(!error.to_string().contains(&text) && !error.hint().contains(&text));
        }
    }
}
