//! Encryption with age: who can read what is stored, and the age files that hold it.
//!
//! An encrypted object is an ordinary age file: `age -d -i IDENTITY OBJECT` gives what would be stored without encryption. Its header
//! begins with a stanza of ours, the `Preface`, which age programs pass over as they do every stanza that they do not know: it says
//! in the clear, covered by age's own MAC, what the object is and who can open it. So whoever only writes (the agent) can still compare,
//! list and plan, and an error can name the key that is missing.
//!
//! Invariants: this folder alone uses the crates of age. Secret keys and passphrases are in no error and in no `Debug` output, and are read
//! when something has to be opened, not before. No byte of an encrypted object can change unnoticed by who opens it.

mod identity;
mod key_file;
mod opening;
mod preface;
mod recipient;
mod sealed;

pub use identity::{Identities, Identity};
pub use key_file::KeyFile;
pub use opening::Decrypting;
pub use preface::{PREFACE_BYTES, Preface, Revealed, is_encrypted};
pub use recipient::{RECIPIENTS_MAX, Recipients};
pub use sealed::{Encrypting, Unlocked, decrypt, encrypt};

/// A key, or a file with keys, that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Text that is no recipient.
    #[error("'{text}' is not a recipient that objects can be encrypted to: {reason}")]
    Recipient {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A secret key where a public one belongs. It is not repeated.
    #[error("a secret key stands where a recipient, which is public, belongs")]
    SecretAsRecipient,
    /// More recipients than an object's header has room for.
    #[error("{found} recipients; an object has room for {RECIPIENTS_MAX}")]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// A file with identities that cannot be read or understood.
    #[error("the identity file {file} cannot be used: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it; nothing of its content.
        reason: String,
    },
    /// The passphrase of an identity file is missing or wrong.
    #[error("the identity file {file} is protected by a passphrase: {reason}")]
    Passphrase {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
}

impl KeyError {
    /// What to do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Recipient { .. } => {
                "write recipients as 'holdfast key new' or age-keygen prints them (age1...), or as they stand in an SSH .pub file (ssh-ed25519 or ssh-rsa)"
            }
            Self::SecretAsRecipient => {
                "put the public key (age1..., or the content of the .pub file) there, and consider the secret key as seen by others"
            }
            Self::TooMany { .. } => "let several people share one identity, kept in a safe place",
            Self::File { .. } => {
                "an identity file is what 'holdfast key new' or age-keygen writes, or an SSH private key; see that the user who runs this can read it"
            }
            Self::Passphrase { .. } => "give it in identity_passphrase, or run this on a terminal, where it is asked for",
        }
    }
}

/// What age says, in our words: its own come from files of translations, and where these are not to be found it panics.
fn words(error: &age::DecryptError) -> String {
    use age::DecryptError as Why;
    let text = match error {
        Why::DecryptionFailed => "it does not decrypt",
        Why::ExcessiveWork { .. } => "its passphrase asks for too much work",
        Why::InvalidHeader => "its header makes no sense",
        Why::InvalidMac => "its header was altered",
        Why::Io(error) => return error.to_string(),
        Why::KeyDecryptionFailed => "the passphrase is wrong",
        Why::NoMatchingKeys => "none of the keys opens it",
        _ => "it is of a kind that is not known here",
    };
    text.to_owned()
}
