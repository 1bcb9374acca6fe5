//! What only one place may do.

use super::source::{Finding, Source};
use super::tree;

#[test]
fn pg_is_pure() {
    tree::report(tree::shipped().iter().filter(|source| source.is_in(&["src/pg"])).flat_map(impure));
}

#[test]
fn only_the_repository_builds_object_keys() {
    tree::report(tree::shipped().iter().flat_map(keys_built));
}

#[test]
fn only_config_reads_the_environment() {
    tree::report(tree::shipped().iter().filter(|source| source.path.starts_with("src/")).flat_map(environment_read));
}

#[test]
fn only_the_output_of_the_command_line_prints() {
    tree::report(tree::shipped().iter().filter(|source| source.path.starts_with("src/")).flat_map(printed));
}

#[test]
fn only_the_clock_reads_the_time() {
    tree::report(tree::shipped().iter().filter(|source| source.path.starts_with("src/")).flat_map(time_read));
}

#[test]
fn only_the_command_line_has_untyped_errors() {
    tree::report(tree::shipped().iter().flat_map(untyped_errors));
}

/// The paths in code that is not a test of which `matches` is true.
fn used(source: &Source, why: &'static str, matches: impl Fn(&[&str]) -> bool) -> Vec<Finding> {
    let bad = |path: super::source::Path| {
        let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
        let found = matches(&segments) && !source.is_test(path.line);
        found.then(|| source.finding(path.line, path.segments.join("::"), why))
    };
    source.paths().into_iter().filter_map(bad).collect()
}

fn impure(source: &Source) -> Vec<Finding> {
    let why = "pg/ is pure: the caller reads and writes, so that every format can be tested and fuzzed on bytes alone";
    used(source, why, |path| match path {
        ["std", module, ..] => ["fs", "net", "process", "env", "thread"].contains(module),
        [first, ..] => ["tokio", "nix", "tempfile", "fs", "net"].contains(first),
        [] => false,
    })
}

fn keys_built(source: &Source) -> Vec<Finding> {
    if source.is_in(&["src/repository", "src/storage"]) {
        return vec![];
    }
    let why = "only repository/ knows the names of stored objects: add a function there";
    used(source, why, |path| path.ends_with(&["ObjectKey", "new"]))
}

fn environment_read(source: &Source) -> Vec<Finding> {
    if source.is_in(&["src/config"]) {
        return vec![];
    }
    let why = "only config/ reads the environment: take the value as an argument";
    let reads = ["var", "var_os", "vars", "vars_os", "set_var", "remove_var"];
    used(source, why, |path| matches!(path, [.., "env", name] if reads.contains(name)))
}

fn printed(source: &Source) -> Vec<Finding> {
    if source.is_in(&["src/cli/output", "src/main"]) {
        return vec![];
    }
    let why = "only cli/output prints: return the value, or log with tracing";
    let macros = ["println!", "eprintln!", "print!", "eprint!", "dbg!"];
    let lines = macros.into_iter().flat_map(|name| source.lines_with(name).map(move |line| (line, name)));
    let mut findings: Vec<Finding> = lines.map(|(line, name)| source.finding(line, name, why)).collect();
    findings.extend(used(source, why, |path| matches!(path, [.., "io", "stdout" | "stderr"])));
    findings
}

fn time_read(source: &Source) -> Vec<Finding> {
    if source.is_in(&["src/sys/clock"]) {
        return vec![];
    }
    let why = "only sys::clock reads the time: use sys::clock::now() or sys::clock::instant()";
    used(source, why, |path| {
        matches!(path, [.., "Timestamp" | "SystemTime" | "Instant" | "Zoned", "now"] | [.., "UNIX_EPOCH", "elapsed"])
    })
}

fn untyped_errors(source: &Source) -> Vec<Finding> {
    if source.is_in(&["src/cli", "src/main"]) {
        return vec![];
    }
    let why = "below cli/ errors are typed, so that callers can branch on them";
    used(source, why, |path| path[0] == "anyhow")
}

mod tests {
    use super::*;

    fn count(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> usize {
        rule(&Source::new(path, text)).len()
    }

    #[test]
    fn input_and_output_in_pg_is_found() {
        assert_eq!(count(impure, "src/pg/lsn.rs", "use std::{fmt, fs};\nuse tokio::io;"), 2);
        assert_eq!(count(impure, "src/pg/lsn.rs", "use std::{fmt, io};\n#[cfg(test)]\nmod tests { use std::fs; }"), 0);
    }

    #[test]
    fn a_key_built_elsewhere_is_found() {
        let text = "let key = storage::ObjectKey::new(name);";
        assert_eq!(count(keys_built, "src/agent/socket.rs", text), 1);
        assert_eq!(count(keys_built, "src/repository/keys.rs", text), 0);
    }

    #[test]
    fn a_variable_read_elsewhere_is_found() {
        let text = "let a = std::env::var(\"A\"); let b = env::var_os(\"B\"); let c = std::env::temp_dir();";
        assert_eq!(count(environment_read, "src/agent/socket.rs", text), 2);
        assert_eq!(count(environment_read, "src/config/secret.rs", text), 0);
    }

    #[test]
    fn printing_elsewhere_is_found() {
        let text = "println!(\"a\"); writeln!(std::io::stdout(), \"b\"); // println!";
        assert_eq!(count(printed, "src/cli/status.rs", text), 2);
        assert_eq!(count(printed, "src/cli/output/table.rs", text), 0);
        assert_eq!(count(printed, "src/agent.rs", "/// println!(\"a\")\nlet a = \"println!\"; my_println!()"), 0);
    }

    #[test]
    fn a_clock_read_elsewhere_is_found() {
        let text = "let a = jiff::Timestamp::now();\nlet b = std::time::Instant::now();";
        assert_eq!(count(time_read, "src/agent.rs", text), 2);
        assert_eq!(count(time_read, "src/sys/clock.rs", text), 0);
    }

    #[test]
    fn an_untyped_error_is_found() {
        assert_eq!(count(untyped_errors, "src/storage/fs.rs", "fn f() -> anyhow::Result<()> { }"), 1);
        assert_eq!(count(untyped_errors, "src/cli/init.rs", "fn f() -> anyhow::Result<()> { }"), 0);
    }
}
