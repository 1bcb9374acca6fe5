//! The parser: from pieces of a stream to members and their content.

use bytes::Bytes;

use super::{BLOCK_BYTES, Member, TarError, header, padding};

/// What comes next in a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A member begins. With its header as it stands in the stream, so that it can be passed on as it is.
    Member {
        /// What the header says.
        member: Member,
        /// The header's 512 bytes.
        header: Bytes,
    },
    /// Some of the content of the member.
    Content(Bytes),
    /// The content of the member is complete, its padding is behind it.
    MemberEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Content {
        remaining: u64,
        padding: usize,
    },
    Padding {
        remaining: usize,
    },
    /// Behind a block of zeros there are only zeros.
    End,
}

/// Reads a tar that arrives in pieces. Content is handed on in slices of these pieces.
#[derive(Debug)]
pub struct TarParser {
    state: State,
    input: Bytes,
    /// A header of which only some has arrived.
    partial: Vec<u8>,
    offset: u64,
}

impl Default for TarParser {
    fn default() -> Self {
        Self::new()
    }
}

impl TarParser {
    /// Begins a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Header, input: Bytes::new(), partial: Vec::new(), offset: 0 }
    }

    /// Gives the next piece. Call `next_event` until it returns `None` before giving another.
    ///
    /// # Panics
    /// If the piece before is not used up.
    pub fn push(&mut self, piece: Bytes) {
        assert!(self.input.is_empty(), "the piece before must be used up");
        self.input = piece;
    }

    /// What comes next; `None` if another piece is needed.
    ///
    /// # Errors
    /// `Header`, `Name`. The parser cannot go on after an error.
    pub fn next_event(&mut self) -> Result<Option<Event>, TarError> {
        loop {
            match self.state {
                State::Content { remaining: 0, padding } => self.state = State::Padding { remaining: padding },
                State::Padding { remaining: 0 } => {
                    self.state = State::Header;
                    return Ok(Some(Event::MemberEnd));
                }
                _ if self.input.is_empty() => return Ok(None),
                State::Header => {
                    if let Some(event) = self.header()? {
                        return Ok(Some(event));
                    }
                }
                State::Content { remaining, padding } => return Ok(Some(Event::Content(self.content(remaining, padding)))),
                State::Padding { remaining } => {
                    let skipped = self.take(remaining).len();
                    self.state = State::Padding { remaining: remaining - skipped };
                }
                State::End => self.end()?,
            }
        }
    }

    /// Ends the stream. The blocks of zeros at its end may be missing, as servers before 15 leave them out.
    ///
    /// # Errors
    /// `Truncated` if it ends inside a member.
    pub fn finish(self) -> Result<(), TarError> {
        let complete = matches!(self.state, State::Header | State::End) && self.partial.is_empty() && self.input.is_empty();
        if complete { Ok(()) } else { Err(TarError::Truncated { length: self.offset }) }
    }

    /// Up to `length` bytes of the piece.
    fn take(&mut self, length: usize) -> Bytes {
        let taken = self.input.split_to(length.min(self.input.len()));
        self.offset += taken.len() as u64;
        taken
    }

    fn content(&mut self, remaining: u64, padding: usize) -> Bytes {
        let content = self.take(usize::try_from(remaining).unwrap_or(usize::MAX));
        self.state = State::Content { remaining: remaining - content.len() as u64, padding };
        content
    }

    /// A whole header, if it has arrived.
    fn block(&mut self) -> Option<Bytes> {
        if self.partial.is_empty() && self.input.len() >= BLOCK_BYTES {
            return Some(self.take(BLOCK_BYTES));
        }
        let more = self.take(BLOCK_BYTES - self.partial.len());
        self.partial.extend_from_slice(&more);
        (self.partial.len() == BLOCK_BYTES).then(|| std::mem::take(&mut self.partial).into())
    }

    fn header(&mut self) -> Result<Option<Event>, TarError> {
        let Some(header) = self.block() else { return Ok(None) };
        let Some(block) = header.first_chunk::<BLOCK_BYTES>() else { return Ok(None) };
        if block.iter().all(|byte| *byte == 0) {
            self.state = State::End;
            return Ok(None);
        }
        let member = header::read(block, self.offset - BLOCK_BYTES as u64)?;
        self.state = State::Content { remaining: member.size, padding: padding(member.size) };
        Ok(Some(Event::Member { member, header }))
    }

    fn end(&mut self) -> Result<(), TarError> {
        let offset = self.offset;
        let rest = self.take(usize::MAX);
        let zeros = rest.iter().all(|byte| *byte == 0);
        if zeros { Ok(()) } else { Err(TarError::Header { offset, reason: "something follows its end" }) }
    }
}
