//! One Rust file, as the rules see it: code without comments and strings, its paths, its functions, which lines are tests.

use std::ops::Range;

/// A Rust file.
pub struct Source {
    /// Relative to the root of the tree, with slashes.
    pub path: String,
    /// As it is.
    pub text: String,
    /// Of the same length, with comments and the insides of strings and characters blanked.
    pub code: String,
    /// For every line whether it belongs to tests.
    test_lines: Vec<bool>,
}

/// A path as written, such as `std::fs::read`, with the groups of `use` spelled out.
#[derive(PartialEq, Eq, Debug)]
pub struct Path {
    pub line: usize,
    pub segments: Vec<String>,
}

/// A function with a body.
pub struct Function {
    pub name: String,
    /// Its first line, and the line after its last.
    pub lines: Range<usize>,
}

/// A breach of a rule, shown as `file:line: what (why)`.
#[derive(PartialEq, Eq, Debug)]
pub struct Finding {
    pub file: String,
    pub line: usize,
    pub what: String,
    pub why: &'static str,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let whole_file = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
        let mut test_lines = vec![whole_file; text.lines().count() + 1];
        for lines in test_items(&code) {
            test_lines[lines].fill(true);
        }
        Self { path: path.to_owned(), text: text.to_owned(), code, test_lines }
    }

    /// Declares the whole file a test: it is a module that only tests compile.
    pub fn make_test(&mut self) {
        self.test_lines.fill(true);
    }

    /// Whether a line (from 1) belongs to tests.
    pub fn is_test(&self, line: usize) -> bool {
        self.test_lines.get(line - 1).copied().unwrap_or(false)
    }

    /// Whether the file is in one of these folders, or is one's head file: `src/pg` takes in `src/pg.rs` and `src/pg/lsn.rs`.
    pub fn is_in(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path == format!("{folder}.rs") || self.path.starts_with(&format!("{folder}/")))
    }

    pub fn finding(&self, line: usize, what: impl Into<String>, why: &'static str) -> Finding {
        Finding { file: self.path.clone(), line, what: what.into(), why }
    }

    /// Every path of two or more segments, in code.
    pub fn paths(&self) -> Vec<Path> {
        let tokens = tokens(&self.code);
        let mut paths = vec![];
        let mut at = 0;
        while at < tokens.len() {
            let next = path(&tokens, at, &[], &mut paths);
            at = next.max(at + 1);
        }
        paths.retain(|path| path.segments.len() > 1);
        paths
    }

    /// The lines (from 1) of code that contain `needle`, tests left out.
    pub fn lines_with<'a>(&'a self, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
        let lines = self.code.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(move |(number, line)| contains_word(line, needle) && !self.is_test(*number)).map(|(number, _)| number)
    }

    /// Every function with a body, nested ones too.
    pub fn functions(&self) -> Vec<Function> {
        let tokens = tokens(&self.code);
        let function = |at: usize| {
            let (keyword, name) = (tokens.get(at)?, tokens.get(at + 1)?);
            let is_function = keyword.text == "fn" && name.is_word();
            let body = (at + 2..tokens.len()).find(|&at| matches!(tokens[at].text, "{" | ";")).filter(|_| is_function)?;
            let end = block_end(&tokens, body)?;
            Some(Function { name: name.text.to_owned(), lines: keyword.line..tokens[end].line + 1 })
        };
        (0..tokens.len()).filter_map(function).collect()
    }

    /// The modules that only tests compile, declared in this file without a body: `#[cfg(test)] mod name;`.
    pub fn test_modules(&self) -> Vec<String> {
        let tokens: Vec<&str> = tokens(&self.code).iter().map(|token| token.text).collect();
        let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
        let named = |window: &[&str]| {
            let rest = window.strip_prefix(&attribute)?;
            let rest = rest.strip_prefix(&["pub"]).unwrap_or(rest);
            matches!(rest, ["mod", _, ";", ..]).then(|| rest[1].to_owned())
        };
        (0..tokens.len()).filter_map(|at| named(&tokens[at..])).collect()
    }
}

struct Token<'a> {
    text: &'a str,
    line: usize,
}

impl Token<'_> {
    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// Words, `::`, and single characters.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = vec![];
    let (mut rest, mut line) = (code, 1);
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let length = if word > 0 {
            word
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (text, after) = rest.split_at(length);
        if !first.is_whitespace() {
            tokens.push(Token { text, line });
        }
        line += usize::from(first == '\n');
        rest = after;
    }
    tokens
}

/// Reads one path at `at`, or a group of them after `prefix`; returns where it ends.
fn path(tokens: &[Token<'_>], mut at: usize, prefix: &[String], paths: &mut Vec<Path>) -> usize {
    let mut segments = prefix.to_vec();
    let Some(first) = tokens.get(at) else { return at };
    let line = first.line;
    while let Some(token) = tokens.get(at) {
        if token.is_word() {
            segments.push(token.text.to_owned());
            at += 1;
        } else if token.text == "{" && !segments.is_empty() {
            return group(tokens, at + 1, &segments, paths);
        } else {
            break;
        }
        if tokens.get(at).is_none_or(|token| token.text != "::") {
            break;
        }
        at += 1;
        if tokens.get(at).is_some_and(|token| !token.is_word() && token.text != "{") {
            break; // a turbofish or a glob ends what concerns us
        }
    }
    paths.push(Path { line, segments });
    at
}

fn group(tokens: &[Token<'_>], mut at: usize, prefix: &[String], paths: &mut Vec<Path>) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text {
            "}" => return at + 1,
            "as" => at += 2,
            _ if token.is_word() => at = path(tokens, at, prefix, paths),
            _ => at += 1,
        }
    }
    at
}

/// Where the block that begins at `open` ends; `None` if there is no block.
fn block_end(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    if tokens[open].text != "{" {
        return None;
    }
    let mut depth = 0;
    (open..tokens.len()).find(|&at| {
        match tokens[at].text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// The lines (from 0) of items that only tests compile.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let tokens = tokens(code);
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    let item = |at: usize| {
        let found = attribute.iter().enumerate().all(|(index, text)| tokens.get(at + index).is_some_and(|t| t.text == *text));
        let open = (at + attribute.len()..tokens.len()).find(|&at| matches!(tokens[at].text, "{" | ";")).filter(|_| found)?;
        let end = block_end(&tokens, open).unwrap_or(open);
        Some(tokens[at].line - 1..tokens[end].line)
    };
    (0..tokens.len()).filter_map(item).collect()
}

/// Whether `needle` is in `line`, and not as a part of a longer word.
fn contains_word(line: &str, needle: &str) -> bool {
    let part_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let begins_with_word = part_of_word(needle.chars().next());
    line.match_indices(needle).any(|(at, _)| !begins_with_word || !part_of_word(line[..at].chars().next_back()))
}

/// Replaces comments, and the insides of strings and characters, by spaces; keeps line ends.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let after_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let (kept, blanked) = opaque(rest, after_word);
        let (visible, hidden) = rest[..kept + blanked].split_at(kept);
        code.push_str(visible);
        code.extend(hidden.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[kept + blanked..];
    }
    code
}

/// How many bytes at the start of `rest` to keep, and then how many to blank.
fn opaque(rest: &str, after_word: bool) -> (usize, usize) {
    let first = rest.chars().next().map_or(1, char::len_utf8);
    if rest.starts_with("//") {
        return (0, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (0, block_comment(rest));
    }
    if !after_word && let Some(length) = raw_string(rest) {
        return (0, length);
    }
    if rest.starts_with('"') {
        return (0, quoted(rest, '"'));
    }
    if rest.starts_with('\'') && is_character(rest) {
        return (0, quoted(rest, '\''));
    }
    (first, 0)
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let pair = rest.as_bytes().get(at..at + 2);
        match pair {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The length of a raw string (`r"..."`, `br#"..."#`) at the start of `rest`.
fn raw_string(rest: &str) -> Option<usize> {
    let marker = rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr")).or_else(|| rest.strip_prefix('r'))?;
    let hashes = marker.len() - marker.trim_start_matches('#').len();
    marker[hashes..].strip_prefix('"')?;
    let start = rest.len() - marker.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len()))
}

/// The length of a string or character, quotes included.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}

/// Whether a quote begins a character and not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    let (first, second) = (chars.next(), chars.next());
    first == Some('\\') || second == Some('\'')
}

mod tests {
    use super::*;

    fn segments(text: &str) -> Vec<String> {
        Source::new("src/a.rs", text).paths().iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn groups_of_use_are_spelled_out() {
        let found =
            segments("use std::{fs, io::{self, Read}, net as n};\nuse crate::{pg::Lsn, storage};\nlet x = a::b::<C>::d();");
        let expected = ["std::fs", "std::io::self", "std::io::Read", "std::net", "crate::pg::Lsn", "crate::storage", "a::b"];
        assert_eq!(found, expected);
    }

    #[test]
    fn comments_and_strings_are_not_code() {
        let text = "// a::b\n/* c::d /* e::f */ g::h */ x::y \"i::j \\\" k::l\" r#\"m::\"n\"# '\"' 'a' z::z b\"o::p\"";
        assert_eq!(segments(text), ["x::y", "z::z"]);
        assert_eq!(Source::new("src/a.rs", text).code.len(), text.len());
    }

    #[test]
    fn a_blanked_file_keeps_its_lines() {
        let text = "let a = \"one\ntwo\";\n/* three\nfour */\nb::c";
        assert_eq!(Source::new("src/a.rs", text).paths()[0].line, 5);
    }

    #[test]
    fn test_modules_are_told_from_the_rest() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod scripted;\n";
        let source = Source::new("src/a.rs", text);
        let lines: Vec<bool> = (1..=8).map(|line| source.is_test(line)).collect();
        assert_eq!(lines, [false, true, true, true, true, false, true, true]);
        assert_eq!(source.test_modules(), ["scripted"]);
        assert!(Source::new("src/a/tests.rs", "fn a() {}").is_test(1));
    }

    #[test]
    fn functions_are_measured_to_their_closing_brace() {
        let source = Source::new(
            "src/a.rs",
            "trait T {\n    fn a(&self);\n    fn b(f: fn(u8) -> u8) {\n        if x {\n        }\n    }\n}\n",
        );
        let found: Vec<_> = source.functions().into_iter().map(|function| (function.name, function.lines)).collect();
        assert_eq!(found, [("b".to_owned(), 3..7)]);
    }
}
