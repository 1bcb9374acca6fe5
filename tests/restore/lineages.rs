//! The record of a cluster that somebody removed: what it told of is found all the same, and it comes back only from that cluster.

use std::fs;

use pg_fixtures::FreePort;
use pg_fixtures::postgres::{Cluster, Installation};
use serde_json::Value;

use super::damage::json;
use super::support::{Story, until};

/// What `status` and `check` find missing.
fn missing(story: &Story) -> (Vec<Value>, Value, Option<i32>) {
    let (status, _) = json(story, &["status"]);
    let cluster = &status["clusters"][0];
    let named = cluster["damaged"].as_array().into_iter().flatten().filter(|it| it["missing"] == true);
    let (check, code) = json(story, &["check"]);
    assert_eq!(cluster["windows"].as_array().map(Vec::len), Some(1), "{status:#}");
    (named.map(|it| it["object"].clone()).collect(), check, code)
}

/// The configuration with `cluster`, streamed.
fn configure(story: &Story, cluster: &Cluster, port: &FreePort) {
    story.holdfast.configure(&format!(
        "[repository]\nurl = \"file://{{scratch}}/repository\"\n[agent]\nlisten = \"127.0.0.1:{}\"\nsocket = \"{{scratch}}/agent.sock\"\n\
         [postgres.main]\nconninfo = \"{}\"\n",
        port.number(),
        cluster.conninfo()
    ));
}

#[test]
fn a_removed_lineage_record_hides_nothing_and_comes_back_from_its_cluster_alone() {
    let story = Story::new(&Installation::newest());
    story.cluster.sql("CREATE TABLE t AS SELECT generate_series(1, 100) i");
    let backup = story.backup();
    story.cluster.sql("INSERT INTO t VALUES (0)");
    story.store_wal();
    let name = format!("postgres/main/lineages/{}.json", backup.postgres().system_id);
    let record = story.repository().join(&name);
    fs::remove_file(&record).expect("remove a record");

    let (named, check, code) = missing(&story);
    assert_eq!((named, code), (vec![Value::from(name.as_str())], Some(2)), "{check:#}");
    let is_critical = |it: &Value| it["level"] == "critical" && it["found"].as_str().is_some_and(|found| found.contains(&name));
    assert!(check["findings"].as_array().into_iter().flatten().any(is_critical), "{check:#}");
    assert_eq!(json(&story, &["backups"]).0["backups"][0]["id"], backup.id.to_string());
    assert!(json(&story, &["verify"]).0["sound"].is_boolean());
    let expected = pg_fixtures::checksum::Checksums::of(&story.cluster);
    assert_eq!(story.restored_content("without-record", &[]), expected);

    let (other, port) = (Cluster::builder(story.cluster.installation()).start(), FreePort::take());
    configure(&story, &other, &port);
    let refused = String::from_utf8_lossy(&story.holdfast.try_run(&["init"]).stderr).into_owned();
    assert!(refused.contains("belongs to the cluster with system identifier") && !record.exists(), "{refused}");

    configure(&story, &story.cluster, &port);
    story.holdfast.run(&["init"]);
    let (named, ..) = missing(&story);
    assert!(named.is_empty() && record.exists(), "{named:?}");
    fs::remove_file(&record).expect("remove a record");
    story.holdfast.start_agent();
    until("the agent writes the record anew", || record.exists());
    assert!(missing(&story).0.is_empty());
    story.holdfast.kill9();
}
