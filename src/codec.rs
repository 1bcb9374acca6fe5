//! How bytes are stored: compression, checksums, and the envelope around each small object.
//!
//! An envelope is a zstd (or lz4) file that begins with a *skippable frame*, which both formats define and both programs ignore:
//! the four bytes 0x184D2A5E (little-endian), a 32-bit length, and that many bytes of JSON, the `Header`. `zstd -dc` or `lz4 -dc`
//! therefore give the plain content, and the first few hundred bytes of an object say what it is without reading the rest.

mod hash;

pub use hash::Hash;
