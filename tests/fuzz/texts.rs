//! Texts: of people, and of PostgreSQL.

use std::path::Path;

use holdfast::config::{self, Environment};
use holdfast::pg::history::TimelineHistory;
use holdfast::pg::label::{BackupHistory, BackupLabel, parse_tablespace_map};
use holdfast::pg::{Lsn, TimelineId, WalFileName};
use holdfast::pgwire::ConnInfo;
use pg_fixtures::fuzz::fuzz;

const LABEL: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\n\
                     BACKUP METHOD: streamed\nBACKUP FROM: primary\nSTART TIME: 2026-01-01 00:00:00 UTC\nLABEL: holdfast\n\
                     START TIMELINE: 1\n";

fn seeds(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// For parsers of text: what is no UTF-8 never reaches them.
fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

#[test]
fn no_history_file_breaks_its_parser() {
    let good = "1\t0/5000060\tno recovery target specified\n\n2\t0/7000000\tat restore point \"x\"\n";
    fuzz("history file", &seeds(&[good, "# comment\n\n1\t1/0\tx"]), |input| {
        let Ok(history) = TimelineHistory::parse(TimelineId(3), input) else { return false };
        history.spans().iter().all(|span| history.includes(history.timeline_at(span.end.unwrap_or(Lsn(u64::MAX)))))
    });
}

#[test]
fn no_backup_label_breaks_its_parser() {
    let ended = LABEL.replace("CHECKPOINT", "STOP WAL LOCATION: 0/2000100 (file 000000010000000000000002)\nCHECKPOINT");
    let ended = format!("{ended}STOP TIME: 2026-01-01 00:00:01 UTC\nSTOP TIMELINE: 1\n");
    fuzz("backup_label", &seeds(&[LABEL, &ended]), |input| {
        let (label, history) = (BackupLabel::parse(input).is_ok(), BackupHistory::parse(input).is_ok());
        label || history
    });
}

#[test]
fn no_tablespace_map_breaks_its_parser() {
    fuzz("tablespace_map", &seeds(&["16384 /a b\n16385 /c\\\nd\n"]), |input| parse_tablespace_map(input).is_ok());
}

#[test]
fn no_name_of_a_wal_file_breaks_its_parser() {
    let names = [
        "000000010000000000000002",
        "000000010000000000000002.00000028.backup",
        "000000010000000000000002.partial",
        "0000000A.history",
        "0/2000028",
    ];
    fuzz("names of WAL files and positions", &seeds(&names), |input| {
        text(input).is_some_and(|text| text.parse::<WalFileName>().is_ok() || text.parse::<Lsn>().is_ok())
    });
}

#[test]
fn no_connection_string_breaks_its_parser() {
    let good = [
        "host=db1,db2 port=5432,5433 user='a b' password=x\\'y target_session_attrs=read-write connect_timeout=5",
        "postgresql://user:p%40ss@[::1]:5432,host2/db?sslmode=verify-full&application_name=a%20b",
        "hostaddr=127.0.0.1 dbname=replication sslmode=prefer channel_binding=require",
    ];
    let environment = Environment::default();
    fuzz("connection string", &seeds(&good), |input| text(input).is_some_and(|text| ConnInfo::parse(text, &environment).is_ok()));
}

#[test]
fn no_configuration_breaks_its_parser() {
    let good = "[repository]\nurl = \"s3://bucket/prefix\"\nendpoint = \"http://127.0.0.1:1\"\n[agent]\nlisten = \"127.0.0.1:0\"\n\
                [postgres.main]\nconninfo = \"host=db\"\nmax_delay = \"1s\"\nsynchronous = true\n[postgres.\"b\"]\n\
                conninfo = { env = \"X\" }\n";
    fuzz("configuration", &seeds(&[good, "[repository]\nurl = \"file:///b\"\n"]), |input| {
        text(input).is_some_and(|text| config::parse(text, Path::new("/c")).is_ok())
    });
}
