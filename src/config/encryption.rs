//! `[encryption]`: who can read what is stored.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::Secret;
use crate::codec::{Identities, Identity, KeyError, Recipients};
use crate::repository::Encryption;

/// `[encryption]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncryptionSection {
    /// Whom new objects are encrypted to; none: they are stored in the clear.
    #[serde(default, deserialize_with = "recipients")]
    pub recipients: Recipients,
    /// The files with the identities that open encrypted objects.
    #[serde(default, deserialize_with = "one_or_several", rename = "identity_file")]
    pub identity_files: Vec<PathBuf>,
    /// The passphrase of the identity files that have one.
    pub identity_passphrase: Option<Secret>,
}

/// Asks somebody for the passphrase of a file; `None` where nobody can be asked.
pub type AskPassphrase = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

impl EncryptionSection {
    /// Whether both say the same.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let same_identities =
            self.identity_files == other.identity_files && self.identity_passphrase == other.identity_passphrase;
        same_identities && self.recipients.names() == other.recipients.names()
    }

    /// Recipients and identities. The files are read when something has to be opened, and not before: the agent does without them.
    #[must_use]
    pub fn encryption(&self, ask: AskPassphrase) -> Encryption {
        let recipients = self.recipients.clone();
        if self.identity_files.is_empty() {
            return Encryption { recipients, identities: Identities::default() };
        }
        let (files, passphrase) = (self.identity_files.clone(), self.identity_passphrase.clone());
        let identities = Identities::later(move || {
            let read = files.iter().map(|file| read(file, passphrase.as_ref(), &ask));
            Ok(read.collect::<Result<Vec<_>, KeyError>>()?.into_iter().flatten().collect())
        });
        Encryption { recipients, identities }
    }
}

fn read(file: &Path, passphrase: Option<&Secret>, ask: &AskPassphrase) -> Result<Vec<Identity>, KeyError> {
    let shown = file.display().to_string();
    let content = std::fs::read(file).map_err(|error| KeyError::File { file: shown.clone(), reason: error.to_string() })?;
    if is_open_to_all(file) {
        tracing::warn!(
            "every user of this host may read the identity file {shown}, and with it all that is stored: chmod 600 {shown}"
        );
    }
    Identity::read(&shown, &content, &|file| match passphrase {
        Some(passphrase) => passphrase.reveal().map_err(|error| error.to_string()),
        None => ask(file).ok_or_else(|| "none is configured, and there is no terminal to ask on".to_owned()),
    })
}

/// Whether everybody may read a file. Its group may be meant to: `check` speaks of that.
fn is_open_to_all(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|found| found.permissions().mode() & 0o004 != 0)
}

fn recipients<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Recipients, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let refused = |error: KeyError| serde::de::Error::custom(format!("{error}; {}", error.hint()));
    Recipients::parse(&texts).map_err(refused)
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Files {
        One(PathBuf),
        Several(Vec<PathBuf>),
    }
    Ok(match Files::deserialize(deserializer)? {
        Files::One(file) => vec![file],
        Files::Several(files) => files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_file_that_everybody_may_read_is_noticed() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (mode, expected) in [(0o600, false), (0o640, false), (0o644, true)] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("set its mode");
            assert_eq!(is_open_to_all(file.path()), expected, "{mode:o}");
        }
    }
}
