//! `holdfast key new`: what it makes is what the `age` programs make and take.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use pg_fixtures::agent::Holdfast;
use serde_json::Value;

const PASSPHRASE: &str = "correct horse battery";

fn holdfast(encryption: &str) -> Holdfast {
    Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), &format!("[repository]\nurl = \"file://{{scratch}}/store\"\n{encryption}\n"))
}

/// Makes an identity; its recipient.
fn made(holdfast: &Holdfast, out: &Path, more: &[&str]) -> String {
    let path = out.display().to_string();
    let said = holdfast.run(&[&["key", "new", "--out", &path, "--output", "json"], more].concat());
    let report: Value = serde_json::from_str(&said).expect("a report in JSON");
    report["recipient"].as_str().expect("a recipient").to_owned()
}

fn age(arguments: &[&str], input: &[u8]) -> Output {
    let mut age = Command::new("age").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("age");
    age.stdin.take().expect("its input").write_all(input).expect("write to age");
    age.wait_with_output().expect("age ends")
}

#[test]
fn a_new_identity_is_one_of_age_and_readable_for_its_owner_only() {
    let holdfast = holdfast("");
    let file = holdfast.scratch().path().join("identity");
    let recipient = made(&holdfast, &file, &[]);
    assert_eq!(fs::metadata(&file).expect("the file is there").permissions().mode() & 0o777, 0o600);
    let public = Command::new("age-keygen").arg("-y").arg(&file).output().expect("age-keygen");
    assert_eq!(String::from_utf8_lossy(&public.stdout).trim(), recipient);
    let encrypted = age(&["-r", &recipient], b"plain").stdout;
    assert_eq!(age(&["-d", "-i", &file.display().to_string()], &encrypted).stdout, b"plain");

    let before = fs::read(&file).expect("read the identity");
    let again = holdfast.try_run(&["key", "new", "--out", &file.display().to_string()]);
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(!again.status.success() && said.contains("not overwritten"), "{said}");
    assert_eq!(fs::read(&file).expect("read the identity"), before);

    let other = holdfast.scratch().path().join("other").display().to_string();
    let text = holdfast.run(&["key", "new", "--out", &other]);
    let secret = fs::read_to_string(&other).expect("read the other identity");
    let secret = secret.lines().last().expect("a secret key");
    assert!(text.contains("recipients = [\"age1") && text.contains("is lost") && !text.contains(secret), "{text}");
}

#[test]
fn an_identity_with_a_passphrase_opens_with_age_and_with_the_configured_secret() {
    let holdfast = holdfast("[encryption]\nidentity_passphrase = { env = \"PASSPHRASE\" }").environment("PASSPHRASE", PASSPHRASE);
    let file = holdfast.scratch().path().join("identity");
    let recipient = made(&holdfast, &file, &["--passphrase"]);
    let content = fs::read_to_string(&file).expect("read the identity");
    assert!(content.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") && !content.contains("AGE-SECRET-KEY"));

    // age asks on the terminal, so it gets one.
    let object = holdfast.scratch().path().join("object");
    fs::write(&object, age(&["-r", &recipient], b"plain").stdout).expect("write an object");
    let opened = holdfast.scratch().path().join("opened");
    let command = format!("age -d -i {} -o {} {}", file.display(), opened.display(), object.display());
    on_a_terminal(&command, PASSPHRASE);
    assert_eq!(fs::read(&opened).expect("age has opened it"), b"plain");
}

#[test]
fn a_passphrase_is_asked_for_on_the_terminal() {
    let holdfast = holdfast("");
    let file = holdfast.scratch().path().join("identity");
    let without = holdfast.try_run(&["key", "new", "--passphrase", "--out", &file.display().to_string()]);
    assert!(!without.status.success() && !file.exists());
    let program = env!("CARGO_BIN_EXE_holdfast");
    let typed = format!("{PASSPHRASE}\n{PASSPHRASE}");
    let shown = on_a_terminal(&format!("{program} --config /nonexistent key new --passphrase --out {}", file.display()), &typed);
    assert!(fs::read_to_string(&file).is_ok_and(|content| content.contains("ENCRYPTED")), "{shown}");
    assert!(!shown.contains(PASSPHRASE), "the passphrase is shown: {shown}");
}

/// Runs a command on a terminal of its own, types, and returns what the terminal shows.
fn on_a_terminal(command: &str, typed: &str) -> String {
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--echo", "never", "--command", command, "/dev/null"]);
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script");
    let mut terminal = script.stdin.take().expect("its input");
    let mut screen = script.stdout.take().expect("its output");
    let mut shown = Vec::new();
    for line in typed.lines() {
        // What is typed before it is asked for can be lost.
        let asked_before = shown.len();
        while !shown[asked_before..].ends_with(b": ") {
            let mut byte = [0];
            let read = screen.read(&mut byte).expect("read the terminal");
            assert!(read > 0, "{command} asks for nothing: {}", String::from_utf8_lossy(&shown));
            shown.extend_from_slice(&byte);
        }
        writeln!(terminal, "{line}").expect("type");
    }
    screen.read_to_end(&mut shown).expect("read the terminal");
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(script.wait().expect("script ends").success(), "{command}: {shown}");
    shown
}
