//! The program, refusing.

use pg_fixtures::agent::Holdfast;

/// A configuration with a repository in a directory.
pub fn configuration(conninfo: &str) -> String {
    format!("[repository]\nurl = \"file://{{scratch}}/store\"\n\n[postgres.main]\nconninfo = \"{conninfo}\"\n")
}

/// What the program says when it fails with this exit code.
pub fn refusal(holdfast: &Holdfast, arguments: &[&str], code: i32) -> String {
    let output = holdfast.try_run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
    assert!(!said.contains("panicked"), "{said}");
    println!("{said}");
    said
}

/// All of these words are in it.
pub fn names(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "it does not say '{word}': {said}");
    }
}
