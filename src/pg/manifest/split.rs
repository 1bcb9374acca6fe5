//! Cuts the manifest's JSON into its keys, values and list elements, without holding more than one of them.

use super::ManifestError;

/// No path, hexadecimal or not, comes near this.
const TOKEN_BYTES_MAX: usize = 64 << 10;

/// A piece of JSON, complete in itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A key of the outermost object, with its quotes.
    Key(Vec<u8>),
    /// The value behind a key, if it is no list.
    Value(Vec<u8>),
    /// One object of the list behind a key.
    Element(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Start,
    /// Before a key; an object may also end where its first key could be.
    BeforeKey {
        first: bool,
    },
    Key,
    Colon,
    BeforeValue,
    Value,
    BeforeElement {
        first: bool,
    },
    Element,
    AfterElement,
    AfterValue,
    End,
}

#[derive(Debug, Default)]
pub(super) struct Splitter {
    state: State,
    offset: u64,
    token: Vec<u8>,
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl Splitter {
    /// How many bytes were taken.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether a key has begun and not ended.
    pub fn in_key(&self) -> bool {
        self.state == State::Key
    }

    /// Whether the outermost object has ended.
    pub fn is_complete(&self) -> bool {
        self.state == State::End
    }

    /// Takes at least one byte; returns how many, and the token that they completed.
    ///
    /// Bytes of a key are returned apart from those before and behind it.
    pub fn next(&mut self, bytes: &[u8]) -> Result<(usize, Option<Token>), ManifestError> {
        let Some(&first) = bytes.first() else { return Ok((0, None)) };
        let (used, token) = match self.state {
            State::Key => self.string(bytes)?,
            State::Element => self.element(bytes)?,
            State::Value => self.value(bytes)?,
            _ => {
                self.between(first)?;
                // The opening quote belongs to the key, and is taken when the key is.
                (usize::from(self.state != State::Key || !self.token.is_empty()), None)
            }
        };
        self.offset += used as u64;
        Ok((used, token))
    }

    fn error(&self, reason: &str) -> ManifestError {
        ManifestError::Syntax { offset: self.offset, reason: reason.to_owned() }
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.token.clear();
        self.depth = 0;
        self.in_string = false;
        self.escaped = false;
    }

    /// One byte between tokens.
    fn between(&mut self, byte: u8) -> Result<(), ManifestError> {
        if byte.is_ascii_whitespace() {
            return Ok(());
        }
        match (self.state, byte) {
            (State::Start, b'{') => self.state = State::BeforeKey { first: true },
            (State::BeforeKey { .. }, b'"') => self.begin(State::Key),
            (State::BeforeKey { first: true } | State::AfterValue, b'}') => self.state = State::End,
            (State::Colon, b':') => self.state = State::BeforeValue,
            (State::BeforeValue, b'[') => self.state = State::BeforeElement { first: true },
            (State::BeforeValue, b'"' | b'0'..=b'9' | b'-') => {
                self.begin(State::Value);
                self.token.push(byte);
                self.in_string = byte == b'"';
            }
            (State::BeforeElement { .. }, b'{') => {
                self.begin(State::Element);
                self.token.push(byte);
                self.depth = 1;
            }
            (State::BeforeElement { first: true } | State::AfterElement, b']') => self.state = State::AfterValue,
            (State::AfterElement, b',') => self.state = State::BeforeElement { first: false },
            (State::AfterValue, b',') => self.state = State::BeforeKey { first: false },
            _ => return Err(self.error(&format!("unexpected {:?}", char::from(byte)))),
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), ManifestError> {
        if self.token.len() + bytes.len() > TOKEN_BYTES_MAX {
            return Err(self.error("an entry longer than any that PostgreSQL writes"));
        }
        self.token.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether `byte` is inside a string, quotes included; keeps track of where strings are.
    fn is_text(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return true;
        }
        self.in_string = byte == b'"';
        self.in_string
    }

    fn string(&mut self, bytes: &[u8]) -> Result<(usize, Option<Token>), ManifestError> {
        let closing = bytes.iter().position(|byte| self.is_text(*byte) && !self.in_string);
        let used = closing.map_or(bytes.len(), |at| at + 1);
        self.keep(&bytes[..used])?;
        if closing.is_none() {
            return Ok((used, None));
        }
        self.state = State::Colon;
        Ok((used, Some(Token::Key(std::mem::take(&mut self.token)))))
    }

    fn element(&mut self, bytes: &[u8]) -> Result<(usize, Option<Token>), ManifestError> {
        let mut used = bytes.len();
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                byte if self.is_text(*byte) => {}
                b'{' => self.depth = self.depth.saturating_add(1),
                b'}' => self.depth -= 1,
                _ => {}
            }
            if self.depth == 0 {
                used = at + 1;
                break;
            }
        }
        self.keep(&bytes[..used])?;
        if self.depth > 0 {
            return Ok((used, None));
        }
        self.state = State::AfterElement;
        Ok((used, Some(Token::Element(std::mem::take(&mut self.token)))))
    }

    /// A string or a number, up to the comma or brace behind it.
    fn value(&mut self, bytes: &[u8]) -> Result<(usize, Option<Token>), ManifestError> {
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
        let end = bytes.iter().position(|byte| !self.is_text(*byte) && ends(byte));
        let used = end.unwrap_or(bytes.len());
        self.keep(&bytes[..used])?;
        if end.is_none() {
            return Ok((used, None));
        }
        self.state = State::AfterValue;
        if used > 0 {
            return Ok((used, Some(Token::Value(std::mem::take(&mut self.token)))));
        }
        // The value ended with the bytes before: at least one byte must be taken.
        self.between(bytes[0])?;
        Ok((1, Some(Token::Value(std::mem::take(&mut self.token)))))
    }
}
