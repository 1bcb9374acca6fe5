//! The files of this repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::source::{Finding, Source};

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file that is, or is about to be, in the repository: relative paths, in order.
pub fn files() -> Vec<String> {
    let mut command = Command::new("git");
    command.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let listed = command.output().ok().filter(|output| output.status.success());
    let mut files: Vec<String> = match listed {
        Some(output) => String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect(),
        None => walk(&root(), ""), // not a clone: an unpacked archive of the source
    };
    files.retain(|path| root().join(path).is_file());
    files.sort();
    files
}

fn walk(directory: &Path, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("list a directory of the repository").flatten();
    let below = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        match entry.path().is_dir() {
            true if name == "target" || name == ".git" => vec![],
            true => walk(&entry.path(), &format!("{path}/")),
            false => vec![path],
        }
    };
    entries.flat_map(below).collect()
}

/// A file as text; `None` if it is not UTF-8.
pub fn read(path: &str) -> Option<String> {
    String::from_utf8(fs::read(root().join(path)).ok()?).ok()
}

/// Every Rust file.
pub fn sources() -> Vec<Source> {
    let paths = files().into_iter().filter(|path| path.ends_with(".rs"));
    let mut sources: Vec<Source> = paths.filter_map(|path| Some(Source::new(&path, &read(&path)?))).collect();
    let test_modules: Vec<String> = sources.iter().flat_map(modules_of_tests).collect();
    for source in &mut sources {
        if test_modules.iter().any(|folder| source.is_in(&[folder])) {
            source.make_test();
        }
    }
    assert!(sources.len() > 10, "the tidy test found only {} Rust files", sources.len());
    sources
}

/// Every Rust file that is shipped: of the program and the two shims.
pub fn shipped() -> Vec<Source> {
    let shipped = ["src/", "archive-command/src/", "restore-command/src/"];
    sources().into_iter().filter(|source| shipped.iter().any(|folder| source.path.starts_with(folder))).collect()
}

/// The folders (`src/a/scripted`) of modules that only tests compile.
fn modules_of_tests(source: &Source) -> Vec<String> {
    let folder = source.path.trim_end_matches(".rs");
    let folder = folder.strip_suffix("/lib").or_else(|| folder.strip_suffix("/main")).unwrap_or(folder);
    source.test_modules().into_iter().map(|name| format!("{folder}/{name}")).collect()
}

/// Fails with every finding, one a line.
pub fn report(findings: impl IntoIterator<Item = Finding>) {
    let line = |f: Finding| format!("{}:{}: {} ({})", f.file, f.line, f.what, f.why);
    let lines: Vec<String> = findings.into_iter().map(line).collect();
    assert!(lines.is_empty(), "the house rules are broken {} times:\n{}", lines.len(), lines.join("\n"));
}
