//! The RDB format, read as a stream: structure, checksum, and the bytes of each value. No I/O of its own.
//!
//! Written after the public description of the format, and judged by what Redis 6 to 8 and Valkey write. Invariants: memory does not grow with the file,
//! nor with a value; a file is accepted only if it ends where its structure ends, and its checksum, where it has one, is right. A type of value that is
//! not known ends the counting, not the checking.

mod assemble;
mod check;
mod error;
mod input;
mod lzf;
mod payload;
mod reader;
mod value;

pub use assemble::Assembler;
pub use check::{Checked, Counts, check};
pub use error::{Error, Result};
pub use payload::{DumpFooter, FOOTER_BYTES, crc};
pub use reader::{Header, Item, Key, Reader};
pub use value::{MODULE_2, module_name};
