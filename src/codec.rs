//! How bytes are stored: compression, checksums, and the envelope around each small object.
//!
//! An envelope is a zstd (or lz4) file that begins with a *skippable frame*, which both formats define and both programs ignore:
//! the four bytes 0x184D2A5E (little-endian), a 32-bit length, and that many bytes of JSON, the `Header`. `zstd -dc` or `lz4 -dc`
//! therefore give the plain content, and the first few hundred bytes of an object say what it is without reading the rest.
//!
//! Invariants: what is written is checked when it is read, and no byte of an envelope can change unnoticed. No length that was
//! read is trusted with memory beyond what the caller allows. Compressed frames always state their plain size and carry a
//! checksum of it, so that the public programs check them too.

mod change;
mod compression;
mod encryption;
mod envelope;
mod error;
mod frames;
mod hash;
mod outline;

pub use change::{ChangeDigest, ParseChangeDigestError};
pub use compression::{Compression, ParseCompressionError};
pub use encryption::{
    Decrypting, Encrypting, Identities, Identity, KeyError, KeyFile, PREFACE_BYTES, Preface, RECIPIENTS_MAX, Recipients,
    Revealed, Unlocked, is_encrypted,
};
pub use envelope::{FORMAT, HEADER_BYTES, Header, OBJECT_BYTES_MIN, Stored, open, read_header, seal};
pub use error::{Error, Part};
pub use frames::{Frame, FrameIndex, FrameWriter, compress_frame, decompress_frame};
pub use hash::{Hash, Hasher};
pub use outline::{OUTLINE_BYTES, Outline, Reveal, encrypt_envelope, open_any, outline};
