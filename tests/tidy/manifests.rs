//! What the packages may depend on.

use super::source::Finding;
use super::tree;

#[test]
fn the_shims_stand_on_std_alone() {
    tree::report(dependencies_beyond("archive-command/Cargo.toml", &[]));
    tree::report(dependencies_beyond("restore-command/Cargo.toml", &["holdfast-archive-command"]));
}

#[test]
fn the_program_does_not_ship_the_fixtures() {
    let manifest = tree::read("Cargo.toml").expect("the root package has a manifest");
    assert!(!dependencies(&manifest).iter().any(|(_, name)| name == "pg-fixtures"));
}

#[test]
fn every_dependency_has_a_reason() {
    let manifests = tree::files().into_iter().filter(|path| path.ends_with("Cargo.toml"));
    let decisions = tree::files().into_iter().filter(|path| path.starts_with("docs/decisions/"));
    let reasons: String = decisions.filter_map(|path| tree::read(&path)).collect();
    tree::report(manifests.flat_map(|path| without_reason(&path, &tree::read(&path).unwrap_or_default(), &reasons)));
}

fn without_reason(path: &str, manifest: &str, reasons: &str) -> Vec<Finding> {
    let why = "docs/decisions/ says for each dependency, named in `code`, why it is there";
    let unknown = dependencies(manifest).into_iter().filter(|(_, name)| !reasons.contains(&format!("`{name}`")));
    unknown.map(|(line, what)| Finding { file: path.to_owned(), line, what, why }).collect()
}

fn dependencies_beyond(path: &str, allowed: &[&str]) -> Vec<Finding> {
    let manifest = tree::read(path).unwrap_or_else(|| panic!("{path} is missing"));
    let why = "PostgreSQL deletes or replays WAL by a shim's exit code: it must be readable in one sitting, and start at once";
    let extra = dependencies(&manifest).into_iter().filter(|(_, name)| !allowed.contains(&name.as_str()));
    extra.map(|(line, what)| Finding { file: path.to_owned(), line, what, why }).collect()
}

/// The line and name of everything in `[dependencies]`, `[build-dependencies]` and the like, those of tests left out.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut section = "";
    let mut found = vec![];
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
            let name = section.split_once("dependencies.").map(|(_, name)| name.to_owned());
            found.extend(name.filter(|_| !section.starts_with("dev-")).map(|name| (index + 1, name)));
        } else if section.ends_with("dependencies") && !section.starts_with("dev-") && line.contains('=') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or(line);
            found.push((index + 1, name.to_owned()));
        }
    }
    found
}

mod tests {
    use super::*;

    #[test]
    fn a_dependency_is_found_in_every_form() {
        let manifest = "[dependencies]\na = \"1\"\nb.workspace = true\n[dev-dependencies]\nc = \"1\"\n\
                        [target.'cfg(unix)'.dependencies]\nd = { path = \"d\" }\n[build-dependencies.e]\nversion = \"1\"\n";
        let names: Vec<String> = dependencies(manifest).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["a", "b", "d", "e"]);
    }

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let manifest = "[dependencies]\na = \"1\"\nb = \"1\"\n[dev-dependencies]\nc = \"1\"\n";
        let found: Vec<String> =
            without_reason("Cargo.toml", manifest, "`a`: for this. b: not in code").into_iter().map(|f| f.what).collect();
        assert_eq!(found, ["b"]);
    }
}
