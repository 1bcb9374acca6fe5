//! What must not be written anywhere.

use super::source::{Finding, Source};
use super::tree;

/// Put together here, so that this file does not contain it.
const WORKPLACE: &str = concat!("/", "work", "/");

#[test]
fn no_test_is_switched_off() {
    tree::report(tree::sources().iter().flat_map(switched_off));
}

#[test]
fn nothing_is_left_to_be_done() {
    tree::report(tree::sources().iter().flat_map(unfinished));
}

#[test]
fn nothing_shipped_unwraps() {
    tree::report(tree::shipped().iter().flat_map(unwraps));
}

#[test]
fn no_file_names_a_place_outside_the_repository() {
    tree::report(tree::files().iter().flat_map(|path| workplace(path, &tree::read(path).unwrap_or_default())));
}

fn switched_off(source: &Source) -> Vec<Finding> {
    let why = "a test that does not run proves nothing: make it run, or remove it";
    let lines = source.code.lines().enumerate();
    let bad = lines.filter(|(_, line)| line.contains("#[ignore") || line.contains(", ignore"));
    bad.map(|(index, _)| source.finding(index + 1, "#[ignore]", why)).collect()
}

fn unfinished(source: &Source) -> Vec<Finding> {
    let why = "nothing on the main branch pretends to work";
    let macros = ["todo!", "unimplemented!"];
    let lines = macros.into_iter().flat_map(|name| source.lines_with(name).map(move |line| (line, name)));
    lines.map(|(line, name)| source.finding(line, name, why)).collect()
}

fn unwraps(source: &Source) -> Vec<Finding> {
    let why = "return an error; where failing is impossible, expect() with the reason";
    source.lines_with(".unwrap()").map(|line| source.finding(line, ".unwrap()", why)).collect()
}

fn workplace(path: &str, text: &str) -> Vec<Finding> {
    let why = "the project speaks only of itself";
    let absolute = |line: &str| {
        let before = |at: usize| line[..at].chars().next_back();
        line.match_indices(WORKPLACE).any(|(at, _)| !before(at).is_some_and(|c| c.is_alphanumeric() || "._-}".contains(c)))
    };
    let lines = text.lines().enumerate().filter(|(_, line)| absolute(line));
    lines.map(|(index, _)| Finding { file: path.to_owned(), line: index + 1, what: WORKPLACE.to_owned(), why }).collect()
}

mod tests {
    use super::*;

    #[test]
    fn a_test_switched_off_is_found() {
        assert_eq!(switched_off(&Source::new("tests/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}")).len(), 1);
        assert_eq!(switched_off(&Source::new("tests/a.rs", "#[test]\n// #[ignore]\nfn a() {}")).len(), 0);
    }

    #[test]
    fn unfinished_work_is_found() {
        assert_eq!(unfinished(&Source::new("src/a.rs", "fn a() { todo!() }\nfn b() { unimplemented!() }")).len(), 2);
        assert_eq!(unfinished(&Source::new("src/a.rs", "// todo!\nfn a() {}")).len(), 0);
    }

    #[test]
    fn an_unwrap_is_found() {
        assert_eq!(unwraps(&Source::new("src/a.rs", "let a = b.unwrap();\nlet c = d.unwrap_or(1);")).len(), 1);
        assert_eq!(unwraps(&Source::new("src/a.rs", "#[cfg(test)]\nmod tests { fn a() { b.unwrap(); } }")).len(), 0);
    }

    #[test]
    fn a_path_of_the_workplace_is_found() {
        assert_eq!(workplace("a.md", &format!("see `{WORKPLACE}main`")).len(), 1);
        assert_eq!(workplace("a.md", &format!("see net{WORKPLACE}a")).len(), 0);
    }
}
