//! What `docs/reliability.md` says is tested is tested.

use std::collections::BTreeSet;

use super::source::{Finding, Source};
use super::tree;

const PAGE: &str = "docs/reliability.md";
const WHY: &str = "a test that the page names must exist: name the one that took its place, or say why there is none";

#[test]
fn every_test_that_is_named_exists() {
    let known: BTreeSet<String> = tree::sources().iter().flat_map(tests).collect();
    tree::report(unknown(&tree::read(PAGE).expect("the page"), &known));
}

#[test]
fn every_way_to_lose_data_has_its_line() {
    let text = tree::read(PAGE).expect("the page");
    let lines: Vec<u32> = rows(&text).map(|(_, number, _)| number).collect();
    let expected: Vec<u32> = (1..=19).chain([21]).chain(36..=47).collect();
    assert_eq!(lines, expected, "{PAGE} leaves out, repeats or disorders some");
}

/// The lines of the table: line number in the page, number, and what tries it.
fn rows(text: &str) -> impl Iterator<Item = (usize, u32, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let number = cells.next()?.parse().ok()?;
        Some((index + 1, number, cells.nth(1)?))
    })
}

/// The names in a table's last column that no test has. A line without any has to say why.
fn unknown(text: &str, known: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = vec![];
    for (line, _, cell) in rows(text) {
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).filter(|name| is_test_name(name)).collect();
        let missing = names.iter().filter(|name| !known.contains(**name));
        findings.extend(missing.map(|name| Finding { file: PAGE.to_owned(), line, what: (*name).to_owned(), why: WHY }));
        if names.is_empty() && cell.len() < 20 {
            findings.push(Finding { file: PAGE.to_owned(), line, what: cell.to_owned(), why: WHY });
        }
    }
    findings
}

/// Tests are named as sentences; what else stands in code here (`init`, `remote_apply`) is short.
fn is_test_name(name: &str) -> bool {
    name.matches('_').count() >= 3
}

fn tests(source: &Source) -> Vec<String> {
    source.functions().into_iter().map(|function| function.name).collect()
}

mod tests {
    use super::*;

    #[test]
    fn a_test_that_does_not_exist_is_found() {
        let known = BTreeSet::from(["nothing_is_ever_lost".to_owned()]);
        let page = "| 1 | how | `nothing_is_ever_lost`, `nothing_is_ever_found` |\n| 2 | how | none |\n| x | y | z |\n";
        let found: Vec<String> = unknown(page, &known).into_iter().map(|finding| finding.what).collect();
        assert_eq!(found, ["nothing_is_ever_found", "none |"]);
    }
}
