//! Recipients come and go: new objects use the new ones, old objects keep theirs, and `check` and `key list` say so.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use pg_fixtures::postgres::{Cluster, Installation};
use serde_json::Value;

use crate::key::Key;
use crate::site::{DEADLINE, DIRECTORY, Site};
use crate::store::{content, is_encrypted, key_of, objects};

/// Segments of a server without an agent, pushed by hand.
struct Pushed {
    cluster: Cluster,
    site: Site,
}

impl Pushed {
    fn new() -> Self {
        let cluster = Cluster::builder(&Installation::newest()).wal_segment_size(1).setting("wal_keep_size", "64MB").start();
        let site = Site::new(DIRECTORY, &cluster.conninfo());
        Self { cluster, site }
    }

    fn with(&self, encryption: &str) {
        self.site.configure(&format!("{DIRECTORY}\n{encryption}"));
    }

    /// Ends a segment; its name.
    fn segment(&self) -> String {
        let name = self.cluster.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
        self.cluster.sql("SELECT pg_create_restore_point('x')");
        self.cluster.switch_wal();
        name
    }

    fn push(&self, segment: &str) {
        let path = self.cluster.data_directory().join("pg_wal").join(segment);
        self.site.holdfast.run(&["wal", "push", &path.display().to_string()]);
    }

    fn fetch(&self, segment: &str) -> Option<i32> {
        let to = self.site.holdfast.scratch().path().join("fetched").display().to_string();
        self.site.holdfast.try_run(&["wal", "fetch", segment, &to]).status.code()
    }

    fn json(&self, verb: &[&str]) -> Value {
        let output = self.site.holdfast.try_run(&[verb, &["--output", "json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{verb:?}: {error}: {output:?}"))
    }

    /// What `check` finds of encryption, as LEVEL: TEXT.
    fn findings(&self) -> Vec<String> {
        let report = self.json(&["check"]);
        let findings =
            report["findings"].as_array().expect("findings").iter().filter(|finding| finding["object"] == "encryption");
        findings
            .map(|finding| format!("{}: {}", finding["level"].as_str().unwrap_or("?"), finding["found"].as_str().unwrap_or("?")))
            .collect()
    }
}

fn has(findings: &[String], level: &str, text: &str) -> bool {
    findings.iter().any(|finding| finding.starts_with(level) && finding.contains(text))
}

#[test]
fn a_removed_recipient_keeps_the_old_and_does_not_get_the_new() {
    let (one, other) = (Key::new(), Key::new());
    let both = format!("[encryption]\nrecipients = [\"{}\", \"{}\"]", one.recipient, other.recipient);
    let pushed = Pushed::new();
    let segments = [(); 4].map(|()| pushed.segment());
    for (segment, encryption) in segments.iter().zip(["", &one.writer(), &both, &other.writer()]) {
        pushed.with(encryption);
        pushed.push(segment);
        // Again, by a writer that cannot read what is there: the same content is success.
        pushed.push(segment);
    }
    pushed.with(&one.reader());
    assert_eq!(segments.each_ref().map(|segment| pushed.fetch(segment)), [Some(0), Some(0), Some(0), Some(203)]);
    pushed.with(&other.reader());
    assert_eq!(segments.each_ref().map(|segment| pushed.fetch(segment)), [Some(0), Some(203), Some(0), Some(0)]);
    let object =
        |segment: &str| objects(&pushed.site).into_iter().find(|object| key_of(object).ends_with(segment)).expect("an object");
    assert_eq!(segments.each_ref().map(|segment| is_encrypted(&object(segment))), [false, true, true, true]);
    assert!(content(&object(&segments[2]), &one) == content(&object(&segments[2]), &other));

    // The first segment lies in the clear, the last is encrypted to the other: both ends of the WAL are looked at.
    let list = pushed.json(&["key", "list"]);
    assert_eq!(
        (&list["recipients"][0], &list["identities"][0]),
        (&Value::from(other.recipient.as_str()), &list["recipients"][0])
    );
    let stored = list["stored"].as_array().expect("what is stored");
    let needs: Vec<_> =
        stored.iter().map(|needed| (needed["recipients"].as_array().map_or(0, Vec::len), needed["opens"] == true)).collect();
    assert_eq!(needs, [(0, true), (1, true)], "{list}");
    assert!(has(&pushed.findings(), "warning", "in the clear"), "{:?}", pushed.findings());
    let text = pushed.site.holdfast.run(&["key", "list"]);
    assert!(text.contains(&other.recipient) && text.contains("its identity is at hand"), "{text}");
}

#[test]
fn check_says_what_cannot_be_opened_and_who_else_can_read_the_identity() {
    let (key, stranger) = (Key::new(), Key::new());
    let pushed = Pushed::new();
    pushed.with(&key.writer());
    pushed.push(&pushed.segment());
    let findings = pushed.findings();
    assert!(has(&findings, "ok", &key.recipient) && has(&findings, "ok", "no identity is configured here"), "{findings:?}");
    pushed.with(&key.reader());
    let findings = pushed.findings();
    assert!(findings.iter().all(|finding| finding.starts_with("ok")) && findings.len() == 2, "{findings:?}");
    fs::set_permissions(&key.file, fs::Permissions::from_mode(0o644)).expect("open the identity to everybody");
    assert!(has(&pushed.findings(), "warning", "mode 0644"));
    pushed.with(&format!("{}\nidentity_file = [\"{}\"]", key.writer(), stranger.file.display()));
    let findings = pushed.findings();
    assert!(has(&findings, "warning", "opens what is stored from now on"), "{findings:?}");
    assert!(has(&findings, "warning", "need an identity that is not here"), "{findings:?}");
    pushed.with(&format!("{}\nidentity_file = \"/nonexistent\"", key.writer()));
    assert!(has(&pushed.findings(), "warning", "/nonexistent"));
    pushed.with("");
    assert!(has(&pushed.findings(), "warning", "no recipients are configured"));
}

#[test]
fn an_agent_that_reads_its_configuration_anew_encrypts_from_then_on() {
    let (one, other) = (Key::new(), Key::new());
    let pushed = Pushed::new();
    let agent = &pushed.site.holdfast;
    agent.start_agent();
    let stored = || {
        let segment = pushed.segment();
        let object = || objects(&pushed.site).into_iter().find(|object| key_of(object).ends_with(&segment));
        agent.wait_until(DEADLINE, "the segment is stored whole", || object().is_some());
        object().expect("an object")
    };
    let reload = |encryption: &str, word: &str| {
        pushed.with(encryption);
        let before = agent.log().matches(word).count();
        agent.hang_up();
        agent.wait_until(DEADLINE, word, || agent.log().matches(word).count() > before);
    };
    assert!(!is_encrypted(&stored()));
    reload(&one.writer(), "the agent begins anew");
    let first = stored();
    assert!(is_encrypted(&first) && !content(&first, &one).is_empty());
    reload(&other.writer(), "the agent begins anew");
    let second = stored();
    assert_eq!(content(&second, &other).len(), 1 << 20, "it is encrypted to the new recipient");

    // A store that is not there: the agent goes on where it was.
    let text = fs::read_to_string(agent.configuration()).expect("a configuration");
    agent.configure(&text.replace("/store\"", "/nowhere\""));
    agent.hang_up();
    agent.wait_until(DEADLINE, "the configuration is refused", || agent.log().contains("the configuration stays as it was"));
    agent.configure(&text);
    assert_eq!(content(&stored(), &other).len(), 1 << 20);
}

#[test]
fn a_recipient_that_is_none_is_refused_with_its_line() {
    let pushed = Pushed::new();
    pushed.with("[encryption]\nrecipients = [\"age1mistyped\"]");
    let refused = pushed.site.holdfast.try_run(&["status"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("holdfast.toml:4:") && said.contains("'age1mistyped'"), "{said}");
}
