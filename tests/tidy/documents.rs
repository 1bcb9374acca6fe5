//! Links between documents.

use std::path::{Component, Path, PathBuf};

use super::source::Finding;
use super::tree;

#[test]
fn every_link_to_a_file_leads_somewhere() {
    let documents = tree::files().into_iter().filter(|path| path.ends_with(".md"));
    tree::report(documents.flat_map(|path| broken_links(&path, &tree::read(&path).unwrap_or_default(), tree::read)));
}

/// What a newcomer, a packager and someone without the program look for.
#[test]
fn the_main_documents_are_there() {
    let files = tree::files();
    let missing = |name: &&&str| !files.iter().any(|path| path == **name);
    let names = [
        "LICENSE",
        "README.md",
        "docs/architecture.md",
        "docs/configuration.md",
        "docs/format.md",
        "docs/hand-recovery.md",
        "docs/operations.md",
        "docs/reliability.md",
    ];
    assert_eq!(names.iter().filter(missing).collect::<Vec<_>>(), Vec::<&&str>::new());
}

/// The links of a document that name a file or a heading that is not there. `read` gives a file's text.
fn broken_links(path: &str, text: &str, read: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let broken = |(line, link): (usize, String)| {
        let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
        let target = if file.is_empty() { path.to_owned() } else { relative(path, file) };
        let found = tree::root().join(&target).is_dir() || read(&target).is_some();
        let content = if file.is_empty() { Some(text.to_owned()) } else { read(&target) };
        let headed = heading.is_empty() || content.is_some_and(|text| headings(&text).iter().any(|h| h == heading));
        let why = if found || file.is_empty() { "there is no such heading" } else { "there is no such file" };
        (!(found || file.is_empty()) || !headed).then(|| Finding { file: path.to_owned(), line, what: link.clone(), why })
    };
    links(text).into_iter().filter_map(broken).collect()
}

/// The line and target of every `[text](target)` that stays in the repository, code blocks left out.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut in_code = false;
    let mut found = vec![];
    for (index, line) in text.lines().enumerate() {
        in_code ^= line.trim_start().starts_with("```");
        let targets = line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split([')', ' ']).next());
        let local = targets.filter(|target| !in_code && !target.contains("://") && !target.starts_with("mailto:"));
        found.extend(local.map(|target| (index + 1, target.to_owned())));
    }
    found
}

/// The target of a link in `document`, relative to the root.
fn relative(document: &str, target: &str) -> String {
    let joined = Path::new(document).parent().unwrap_or(Path::new("")).join(target);
    let mut plain = PathBuf::new();
    for component in joined.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    plain.to_string_lossy().into_owned()
}

/// The anchors of a document's headings, as code hosts make them.
fn headings(text: &str) -> Vec<String> {
    let heading = |line: &str| {
        let title = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?;
        let kept = title.trim().to_lowercase().replace(' ', "-");
        Some(kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect())
    };
    text.lines().filter_map(heading).collect()
}

mod tests {
    use super::*;

    fn broken(text: &str) -> Vec<String> {
        let read = |path: &str| (path == "docs/b.md").then(|| "# One `two`, three\n".to_owned());
        broken_links("docs/a.md", text, read).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_broken_link_is_found() {
        assert_eq!(broken("[x](c.md) [y](b.md) [z](../docs/b.md) [w](https://example.org)"), ["c.md"]);
        assert_eq!(broken("```\n[x](c.md)\n```\n"), Vec::<String>::new());
    }

    #[test]
    fn a_broken_anchor_is_found() {
        assert_eq!(broken("# Here\n[a](b.md#one-two-three) [b](b.md#four) [c](#here) [d](#there)"), ["b.md#four", "#there"]);
    }
}
