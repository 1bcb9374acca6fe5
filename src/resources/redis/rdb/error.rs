//! What can be wrong with an RDB file.

/// The result of reading one.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a file cannot be read. Places are counted in bytes from its beginning.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What it is read from failed.
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It ends too early.
    #[error("it is cut short: it ends at byte {at}, within {within}")]
    Cut {
        /// Where.
        at: u64,
        /// In what.
        within: &'static str,
    },
    /// It is no RDB file, or damaged.
    #[error("at byte {at}: {detail}")]
    Malformed {
        /// Where.
        at: u64,
        /// What is wrong.
        detail: String,
    },
    /// A value is of a type that is not known: where the value ends cannot be told.
    #[error("at byte {at} stands a value of type {kind}, which this version of Holdfast does not know")]
    UnknownType {
        /// Where.
        at: u64,
        /// The type.
        kind: u8,
    },
    /// The checksum differs.
    #[error("its checksum is {stored:016x}, and its content has {computed:016x}: it was altered")]
    Checksum {
        /// What stands at its end.
        stored: u64,
        /// What was computed.
        computed: u64,
    },
    /// Whoever takes the content wants no more.
    #[error("nobody takes the content any more")]
    Unwanted,
}
