//! What can be wrong with stored bytes.

use std::fmt;

use super::KeyError;

/// Which part of an object a checksum covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The header of an envelope.
    Header,
    /// The compressed bytes as they are stored.
    Stored,
    /// The content after decompression.
    Content,
    /// An age file.
    Encrypted,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Stored => "compressed bytes",
            Self::Content => "content",
            Self::Encrypted => "encrypted bytes",
        })
    }
}

/// Why bytes could not be sealed or opened. Which object they belong to is for the caller to say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The object does not begin with the header that every envelope begins with.
    #[error("the object is not one that Holdfast wrote: {reason}")]
    NotAnEnvelope {
        /// What is missing.
        reason: &'static str,
    },
    /// Fewer bytes than the header, or the format, says.
    #[error("the object is truncated: {found} bytes instead of {expected}")]
    Truncated {
        /// Bytes that there should be, at least.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// A checksum differs.
    #[error("the object's {part} was altered after it was stored: checksum {found} instead of {expected}")]
    Altered {
        /// What the checksum covers.
        part: Part,
        /// The checksum that was recorded.
        expected: String,
        /// The checksum of what is there.
        found: String,
    },
    /// Bytes that no encoder of ours has written.
    #[error("the object's {part} cannot be decoded: {reason}")]
    Malformed {
        /// What could not be decoded.
        part: Part,
        /// The decoder's words.
        reason: String,
    },
    /// Written by a later version.
    #[error("the object has format {found}; this version of Holdfast reads formats up to {known}")]
    NewerFormat {
        /// The object's format.
        found: u32,
        /// The newest format that this program knows.
        known: u32,
    },
    /// More content than the caller is ready to hold in memory, or a header longer than `HEADER_BYTES`.
    #[error("the object's {part} has {size} bytes, more than the {size_max} allowed here")]
    TooLarge {
        /// What is too large.
        part: Part,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        size_max: u64,
    },
    /// None of the identities at hand opens the object.
    #[error("the object is encrypted to {}; {}", needed.join(", "), at_hand(available))]
    Locked {
        /// The recipients that it was encrypted to: the identity of any one of them opens it.
        needed: Vec<String>,
        /// The recipients whose identities were tried.
        available: Vec<String>,
    },
    /// The identities that are configured cannot be read.
    #[error("the object is encrypted: {source}")]
    Identity {
        /// Why.
        source: KeyError,
    },
    /// The encoder refused: out of memory, for one.
    #[error("cannot compress: {reason}")]
    Compress {
        /// The encoder's words.
        reason: String,
    },
    /// age refused.
    #[error("cannot encrypt: {reason}")]
    Encrypt {
        /// Its words.
        reason: String,
    },
}

fn at_hand(available: &[String]) -> String {
    match available {
        [] => "no identity is configured here".to_owned(),
        _ => format!("the identities here are of {}", available.join(", ")),
    }
}

impl Error {
    /// Whether only the right key is missing.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::Identity { .. })
    }

    /// What a person can do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NewerFormat { .. } => Some("use the version of Holdfast that wrote the object, or a later one"),
            Self::Truncated { .. } | Self::Altered { .. } | Self::Malformed { .. } => {
                Some("the stored copy is damaged: fetch the object from another copy of the repository, or use another backup")
            }
            Self::NotAnEnvelope { .. } => {
                Some("something else wrote this object: see that nothing else uses the repository's URL")
            }
            Self::Locked { .. } => Some(
                "name the file with one of these identities as identity_file in [encryption]; 'holdfast key list' shows what is at hand",
            ),
            Self::Identity { source } => Some(source.hint()),
            Self::TooLarge { .. } | Self::Compress { .. } | Self::Encrypt { .. } => None,
        }
    }
}
