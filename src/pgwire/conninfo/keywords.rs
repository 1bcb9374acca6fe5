//! Connection strings of keywords and values: `host=db1 user='a b'` (fe-connect.c `conninfo_parse`).

use std::iter::Peekable;
use std::str::Chars;

use super::ConnInfoError;

/// Splits the string into its keywords and values. Within values a backslash takes the next character literally; quotes allow
/// spaces.
pub(super) fn split(text: &str) -> Result<Vec<(String, String)>, ConnInfoError> {
    let mut characters = text.chars().peekable();
    let mut pairs = Vec::new();
    while skip_space(&mut characters) {
        let keyword = take_keyword(&mut characters);
        skip_space(&mut characters);
        if characters.next() != Some('=') {
            // The word may be the second half of a password with a space: it is not shown.
            let place =
                pairs.last().map_or_else(String::new, |(last, _): &(String, String)| format!(" after the value of '{last}'"));
            return Err(ConnInfoError::Syntax(format!(
                "a word without '='{place}; a value with spaces stands in quotes, as in password='a b'"
            )));
        }
        skip_space(&mut characters);
        let value = take_value(&mut characters)
            .ok_or_else(|| ConnInfoError::Syntax(format!("the quote in the value of '{keyword}' is not closed")))?;
        pairs.push((keyword, value));
    }
    Ok(pairs)
}

/// Whether anything is left.
fn skip_space(characters: &mut Peekable<Chars<'_>>) -> bool {
    while characters.next_if(|c| c.is_whitespace()).is_some() {}
    characters.peek().is_some()
}

fn take_keyword(characters: &mut Peekable<Chars<'_>>) -> String {
    std::iter::from_fn(|| characters.next_if(|c| *c != '=' && !c.is_whitespace())).collect()
}

fn take_value(characters: &mut Peekable<Chars<'_>>) -> Option<String> {
    let quoted = characters.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    loop {
        match characters.peek() {
            None if quoted => return None,
            None => return Some(value),
            Some('\'') if quoted => {
                characters.next();
                return Some(value);
            }
            Some(c) if !quoted && c.is_whitespace() => return Some(value),
            Some('\\') => {
                characters.next();
                value.extend(characters.next());
            }
            Some(_) => value.extend(characters.next()),
        }
    }
}

/// Writes a value so that every reader of connection strings reads it back.
pub(super) fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}
