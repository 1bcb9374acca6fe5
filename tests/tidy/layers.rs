//! The layer rule: imports point down.

use super::source::{Finding, Source};
use super::tree;

/// The folders of `src/`, lowest layer first (docs/architecture.md explains them).
const LAYERS: [&[&str]; 6] = [
    &["pg", "codec", "storage", "sys"],
    &["config", "repository", "pgwire"],
    &["resources"],
    &["operations"],
    &["agent"],
    &["cli"],
];

/// Who may use a folder of the same layer, and why.
const SIBLINGS: [(&str, &str, &str); 4] = [
    ("codec", "sys", "large buffers are given back to the operating system when they are dropped"),
    ("storage", "sys", "a directory as a store needs durable files, and decorators need the clock"),
    ("config", "repository", "what a configuration declares is named as the repository names it: KIND/NAME"),
    ("pgwire", "config", "a connection takes passwords and PG* variables from the environment, which only config reads"),
];

const WHY: &str = "imports point down only, see docs/architecture.md; a deliberate exception between siblings goes into SIBLINGS";

#[test]
fn imports_point_down_only() {
    tree::report(tree::sources().iter().filter(|source| source.path.starts_with("src/")).flat_map(upward_imports));
}

#[test]
fn every_folder_has_a_layer() {
    let sources = tree::sources();
    let homes = sources.iter().filter(|source| source.path.starts_with("src/")).filter_map(|source| home(&source.path));
    let unknown: Vec<&str> = homes.filter(|folder| layer(folder).is_none()).collect();
    assert!(unknown.is_empty(), "no layer for {unknown:?}: say in LAYERS where they belong, and in docs/architecture.md");
}

#[test]
fn siblings_do_not_use_each_other_in_a_circle() {
    let circular = |(from, to, _): &&(&str, &str, &str)| SIBLINGS.iter().any(|(user, used, _)| (*user, *used) == (*to, *from));
    assert_eq!(SIBLINGS.iter().find(circular), None);
}

fn upward_imports(source: &Source) -> Vec<Finding> {
    let Some(from) = home(&source.path) else { return outside_the_layers(source) };
    let upward = |path: super::source::Path| {
        let target = below_crate(source, path.line, &path.segments)?;
        let to = target.first()?;
        let allowed = layer(to).is_none() || may_import(from, to) && !another_kind(&source.path, target);
        (!allowed).then(|| source.finding(path.line, format!("{from} imports {}", path.segments.join("::")), WHY))
    };
    source.paths().into_iter().filter_map(upward).collect()
}

/// `main.rs` starts the command line and knows nothing else; `lib.rs` declares the folders and uses none.
fn outside_the_layers(source: &Source) -> Vec<Finding> {
    let forbidden = |segments: &[String]| match segments {
        [root, folder, ..] => matches!(root.as_str(), "crate" | "holdfast") && layer(folder).is_some() && folder != "cli",
        _ => false,
    };
    let paths = source.paths().into_iter().filter(|path| forbidden(&path.segments));
    paths.map(|path| source.finding(path.line, format!("{} is used", path.segments.join("::")), WHY)).collect()
}

/// The folder of `src/` that a file belongs to: `pg` for `src/pg.rs` and `src/pg/lsn.rs`.
fn home(path: &str) -> Option<&str> {
    let path = path.strip_prefix("src/")?;
    let folder = path.split('/').next()?.trim_end_matches(".rs");
    (!matches!(folder, "lib" | "main")).then_some(folder)
}

fn layer(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&folder))
}

fn may_import(from: &str, to: &str) -> bool {
    from == to || layer(to) < layer(from) || SIBLINGS.iter().any(|(user, used, _)| (*user, *used) == (from, to))
}

/// Whether a file of one kind of resource names another kind.
fn another_kind(path: &str, target: &[String]) -> bool {
    let Some(own) = path.strip_prefix("src/resources/") else { return false };
    let own = own.split('/').next().unwrap_or(own).trim_end_matches(".rs");
    let kinds = ["postgres", "bucket", "redis", "files", "command", "dump"];
    let named = target.get(1).map(String::as_str);
    target[0] == "resources" && named.is_some_and(|named| named != own && kinds.contains(&named)) && kinds.contains(&own)
}

/// What a path names below the crate's root, if it is a path from there: by `crate::`, or by climbing with `super::`.
fn below_crate<'a>(source: &Source, line: usize, segments: &'a [String]) -> Option<&'a [String]> {
    if segments[0] == "crate" {
        return Some(&segments[1..]);
    }
    let climbed = segments.iter().take_while(|segment| *segment == "super").count();
    let depth = source.path.trim_start_matches("src/").split('/').count() + usize::from(source.is_test(line));
    (climbed >= depth).then(|| &segments[climbed..])
}

mod tests {
    use super::*;

    fn breaches(path: &str, text: &str) -> usize {
        upward_imports(&Source::new(path, text)).len()
    }

    #[test]
    fn an_upward_import_is_found() {
        assert_eq!(breaches("src/pg/lsn.rs", "use crate::storage::Store;"), 1);
        assert_eq!(breaches("src/storage.rs", "use crate::{config::Config, sys::clock};"), 1);
        assert_eq!(breaches("src/repository/key.rs", "fn f() -> crate::agent::Agent { }"), 1);
        assert_eq!(breaches("src/pg/lsn.rs", "use super::super::codec::Hash;"), 1);
        assert_eq!(breaches("src/main.rs", "use holdfast::agent::Agent;"), 1);
    }

    #[test]
    fn a_downward_import_is_allowed() {
        assert_eq!(breaches("src/agent/socket.rs", "use crate::{pg::Lsn, resources::postgres::archive, operations};"), 0);
        assert_eq!(breaches("src/pg/lsn.rs", "use crate::pg::TimelineId; use super::super::pg::Lsn; // crate::cli"), 0);
        assert_eq!(breaches("src/main.rs", "fn main() { holdfast::cli::run() }"), 0);
        assert_eq!(breaches("src/pg/lsn.rs", "#[cfg(test)]\nmod tests {\n use super::super::Lsn;\n}"), 0);
    }

    #[test]
    fn kinds_of_resources_do_not_know_one_another() {
        assert_eq!(breaches("src/resources/bucket/backup.rs", "use crate::resources::postgres::Postgres;"), 1);
        assert_eq!(breaches("src/resources/bucket/backup.rs", "use crate::resources::{bucket::Plan, Resource, redis};"), 1);
        assert_eq!(breaches("src/resources/bucket/backup.rs", "use crate::resources::{bucket::Plan, Resource};"), 0);
    }
}
