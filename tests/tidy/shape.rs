//! How long files and functions are, and what they are called.

use super::source::{Finding, Function, Source};
use super::tree;

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
/// Nine functions in ten are shorter.
const MOST_FUNCTIONS_LINES: usize = 36;

#[test]
fn files_are_short() {
    tree::report(tree::sources().iter().filter_map(long_file));
}

#[test]
fn functions_are_short() {
    tree::report(tree::sources().iter().flat_map(long_functions));
}

#[test]
fn most_functions_are_very_short() {
    let sources = tree::shipped();
    let lengths = sources.iter().flat_map(|source| source.functions().into_iter().map(|function| length(&function)));
    let longest = ninth_of_ten(lengths.collect());
    assert!(longest < MOST_FUNCTIONS_LINES, "one function in ten has {longest} lines or more, and should have fewer than 36");
}

#[test]
fn a_folder_has_its_head_file_beside_it() {
    let heads = tree::files().into_iter().filter(|path| path.ends_with("/mod.rs"));
    tree::report(heads.map(|file| Finding { file, line: 1, what: "mod.rs".to_owned(), why: "foo.rs beside foo/" }));
}

#[test]
fn every_file_says_first_what_it_is_for() {
    tree::report(tree::sources().iter().filter_map(silent_file));
}

#[test]
fn names_say_what_a_thing_is() {
    tree::report(tree::sources().iter().flat_map(vague_names));
}

fn long_file(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count();
    let why = "a file of more than 500 lines is a folder that has not been opened yet";
    (lines > FILE_LINES).then(|| source.finding(lines, format!("{lines} lines"), why))
}

fn long_functions(source: &Source) -> Vec<Finding> {
    let why = "a function of more than 70 lines does more than one thing";
    let functions = source.functions();
    let long = functions.iter().filter(|function| length(function) > FUNCTION_LINES);
    long.map(|f| source.finding(f.lines.start, format!("fn {} has {} lines", f.name, length(f)), why)).collect()
}

fn length(function: &Function) -> usize {
    function.lines.len()
}

/// The length that nine in ten do not reach or just reach.
fn ninth_of_ten(mut lengths: Vec<usize>) -> usize {
    lengths.sort_unstable();
    lengths.get(lengths.len() * 9 / 10).copied().unwrap_or(0)
}

fn silent_file(source: &Source) -> Option<Finding> {
    let why = "the first line of a file says in a sentence what it is for";
    let says = source.text.starts_with("//! ") || source.path.ends_with("/tests.rs") || source.text.lines().count() < 5;
    (!says).then(|| source.finding(1, "no //! line", why))
}

fn vague_names(source: &Source) -> Vec<Finding> {
    let why = "name what it is or does";
    let keywords = ["struct", "enum", "trait", "mod", "type"];
    let vague = |line: &str| {
        let words: Vec<&str> = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect();
        let name = words.windows(2).find(|pair| keywords.contains(&pair[0])).map(|pair| pair[1].to_lowercase())?;
        let endings = ["manager", "helper", "helpers", "util", "utils"];
        endings.iter().any(|ending| name.ends_with(ending)).then_some(name)
    };
    let lines = source.code.lines().enumerate();
    lines.filter_map(|(index, line)| Some(source.finding(index + 1, vague(line)?, why))).collect()
}

mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found() {
        assert!(long_file(&Source::new("src/a.rs", &"\n".repeat(501))).is_some());
        assert!(long_file(&Source::new("src/a.rs", &"\n".repeat(500))).is_none());
    }

    #[test]
    fn a_long_function_is_found() {
        let function = |lines: usize| format!("fn a() {{\n{}}}\n", "b();\n".repeat(lines - 2));
        assert_eq!(long_functions(&Source::new("src/a.rs", &function(71))).len(), 1);
        assert_eq!(long_functions(&Source::new("src/a.rs", &function(70))).len(), 0);
    }

    #[test]
    fn a_tenth_of_long_functions_is_found() {
        assert_eq!(ninth_of_ten((1..=100).collect()), 91);
        assert_eq!(ninth_of_ten(vec![]), 0);
    }

    #[test]
    fn a_file_without_a_purpose_is_found() {
        assert!(silent_file(&Source::new("src/a.rs", &"use std::fs;\n".repeat(5))).is_some());
        assert!(silent_file(&Source::new("src/a.rs", "//! What it is for.\n")).is_none());
    }

    #[test]
    fn a_vague_name_is_found() {
        assert_eq!(vague_names(&Source::new("src/a.rs", "pub(crate) struct SlotManager {}\nmod utils;")).len(), 2);
        assert_eq!(vague_names(&Source::new("src/a.rs", "struct Slot; // a Manager\nenum Command {}")).len(), 0);
    }
}
