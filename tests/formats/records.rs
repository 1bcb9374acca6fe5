//! The scanner of WAL records, against `pg_waldump`.

use std::fs;
use std::path::PathBuf;

use holdfast::pg::records::{Activity, ProblemKind, Scanner};
use holdfast::pg::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId, page};
use pg_fixtures::postgres::{Cluster, Installation, StopMode};

const SEGMENT: u64 = 1 << 20;

/// One line of `pg_waldump`.
#[derive(Debug)]
struct Dumped {
    xid: u32,
    lsn: Lsn,
    what: String,
}

/// The cluster's WAL files in order, and the segments they are.
fn segments(cluster: &Cluster) -> Vec<(SegmentName, PathBuf)> {
    let entries = fs::read_dir(cluster.data_directory().join("pg_wal")).expect("read pg_wal");
    let named = |path: PathBuf| Some((path.file_name()?.to_str()?.parse().ok()?, path));
    let mut found: Vec<_> = entries.filter_map(|entry| named(entry.expect("an entry").path())).collect();
    found.sort();
    found
}

fn waldump(cluster: &Cluster, start: Lsn) -> Vec<Dumped> {
    let mut command = cluster.command(cluster.program("pg_waldump"));
    command.env("TZ", "UTC").arg("-p").arg(cluster.data_directory().join("pg_wal")).args(["-s", &start.to_string()]);
    let output = command.output().expect("run pg_waldump");
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(dumped).collect()
}

fn dumped(line: &str) -> Dumped {
    let after = |mark: &str| line.split_once(mark).map_or("", |(_, rest)| rest);
    let field = |mark: &str| after(mark).trim_start().split(',').next().unwrap_or_default();
    let xid = field(" tx:").parse().expect("a transaction id");
    Dumped { xid, lsn: field(" lsn:").parse().expect("an LSN"), what: after(" desc: ").to_owned() }
}

/// Commits, aborts and restore points, one a line: position, transaction, time. Times as `pg_waldump` prints them.
fn expected(records: &[Dumped]) -> Vec<String> {
    let line = |record: &Dumped| {
        let mut words = record.what.split([' ', ';']);
        let kind = words.next()?;
        let time =
            |words: &mut dyn Iterator<Item = &str>| words.next().zip(words.next()).map(|(day, time)| format!("{day} {time}"));
        match kind {
            "COMMIT" => Some(format!("commit {} {} {}", record.lsn, record.xid, time(&mut words)?)),
            "COMMIT_PREPARED" => {
                let xid = words.next()?.trim_end_matches(':').to_owned();
                Some(format!("commit {} {xid} {}", record.lsn, time(&mut words)?))
            }
            "ABORT" => Some(format!("abort {} {}", record.xid, time(&mut words)?)),
            "ABORT_PREPARED" => {
                let xid = words.next()?.trim_end_matches(':').to_owned();
                Some(format!("abort {xid} {}", time(&mut words)?))
            }
            "RESTORE_POINT" => Some(format!("point {} {}", record.lsn, words.next()?)),
            "SWITCH" => Some("switch".to_owned()),
            _ => None,
        }
    };
    records.iter().filter_map(line).collect()
}

/// The same of what a scanner found in a stretch so short that at most one record ends in it.
fn found(activity: &Activity) -> Option<String> {
    let time = |time: jiff::Timestamp| time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string();
    if let Some(commit) = activity.first_commit {
        return Some(format!("commit {} {} {}", commit.lsn, commit.xid, time(commit.time)));
    }
    if let Some(point) = activity.restore_points.first() {
        return Some(format!("point {} {}", point.lsn, point.name));
    }
    if activity.switched {
        return Some("switch".to_owned());
    }
    activity.first_rollback.zip(activity.earliest).map(|(xid, aborted)| format!("abort {xid} {}", time(aborted)))
}

/// Every kind of end of a transaction that there is.
fn workload(cluster: &Cluster) {
    cluster.pgbench(&["-i", "-s", "3", "-q"]);
    cluster.pgbench(&["-c", "4", "-t", "300", "-n"]);
    cluster.sql("SELECT pg_create_restore_point('first')");
    cluster.sql("BEGIN; CREATE TABLE a (id int); DROP TABLE a; COMMIT; BEGIN; CREATE TABLE b (id int); ROLLBACK");
    cluster.sql("CREATE TABLE c AS SELECT generate_series(1, 50000) AS id; DROP TABLE c");
    cluster.sql("BEGIN; INSERT INTO pgbench_tellers VALUES (900); PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'");
    let drop_in_savepoints = "CREATE TABLE d (id int); BEGIN; SAVEPOINT s; INSERT INTO d VALUES (1); SAVEPOINT s; DROP TABLE d;
        CREATE TABLE e (id int PRIMARY KEY); PREPARE TRANSACTION 'q'; COMMIT PREPARED 'q'";
    cluster.sql(drop_in_savepoints);
    cluster.sql("BEGIN; INSERT INTO e VALUES (1); PREPARE TRANSACTION 'r'; ROLLBACK PREPARED 'r'");
    cluster.sql(
        "SELECT pg_replication_origin_create('o'); SELECT pg_replication_origin_session_setup('o'); INSERT INTO e VALUES (2)",
    );
    cluster.switch_wal();
    cluster.sql("SELECT pg_create_restore_point('second')");
    let many = "DO $$ BEGIN FOR i IN 1..2000 LOOP BEGIN INSERT INTO e VALUES (i + 10); EXCEPTION WHEN division_by_zero THEN END;
        END LOOP; END $$";
    cluster.sql(many);
    cluster.pgbench(&["-c", "4", "-t", "100", "-n"]);
}

fn start(installation: &Installation) -> Cluster {
    Cluster::builder(installation)
        .wal_segment_size(1)
        .setting("max_prepared_transactions", "10")
        .setting("wal_level", "logical")
        .setting("wal_keep_size", "1GB")
        .setting("wal_recycle", "off")
        .start()
}

#[test]
fn the_scanner_finds_what_pg_waldump_finds() {
    let size = SegmentSize::try_from(SEGMENT).expect("a segment size");
    for installation in Installation::all() {
        let cluster = start(&installation);
        workload(&cluster);
        cluster.stop(StopMode::Fast);
        let segments = segments(&cluster);
        assert!(segments.len() > 40, "the test must span many segments");
        let first = segments[0].0.number(size).expect("a number").start(size);
        let records = waldump(&cluster, first);
        let mut scanner = Scanner::new(first, size).checking_records();
        let mut all = Vec::new();
        let mut end = Lsn::INVALID;
        for (_, path) in &segments {
            for bytes in fs::read(path).expect("read a segment").chunks(8) {
                scanner.feed(bytes);
                let activity = scanner.take_activity();
                all.extend(found(&activity));
                end = activity.end.unwrap_or(end);
            }
        }
        let expected = expected(&records);
        for (found, expected) in all.iter().zip(&expected) {
            assert_eq!(found, expected, "PostgreSQL {}", installation.version());
        }
        assert_eq!(all.len(), expected.len());
        assert!(all.len() > 1600, "only {} ends of transactions", all.len());
        let problem = scanner.problem().expect("the WAL ends somewhere");
        assert_eq!((problem.kind, problem.lsn), (ProblemKind::End, end));
        assert!(records.last().is_some_and(|last| last.lsn < end), "the last record lies before the end");
    }
}

#[test]
fn a_segment_scanned_alone_reports_what_ends_in_it() {
    let size = SegmentSize::try_from(SEGMENT).expect("a segment size");
    let cluster = start(&Installation::newest());
    cluster.pgbench(&["-i", "-s", "3", "-q"]);
    cluster.pgbench(&["-c", "4", "-t", "300", "-n"]);
    cluster.stop(StopMode::Fast);
    let segments = segments(&cluster);
    let mut through = Scanner::new(segments[0].0.number(size).expect("a number").start(size), size);
    let (mut spanning, mut joined, mut last) = (0, 0, None);
    for (name, path) in &segments {
        let bytes = fs::read(path).expect("read a segment");
        let mut alone = Scanner::new(name.number(size).expect("a number").start(size), size);
        alone.feed(&bytes);
        through.feed(&bytes);
        let (alone, through) = (alone.take_activity(), through.take_activity());
        assert_eq!((alone.end, alone.last_commit.is_some()), (through.end, through.last_commit.is_some()));
        spanning += through.commits - alone.commits;
        assert_eq!((alone.first_record, alone.last_record), (through.first_record, through.last_record), "{name}");
        if let Some((last, first)) = last.zip(alone.first_record) {
            assert_eq!(first.previous, Some(last), "{name} joins the segment before it");
            joined += 1;
        }
        last = alone.last_record;
    }
    assert!(joined > 20, "only {joined} segments joined");
    assert!(spanning <= segments.len() as u64 / 4, "{spanning} commits lie across two segments");
}

#[test]
fn every_real_segment_passes_its_check_and_no_other_name_does() {
    let size = SegmentSize::try_from(SEGMENT).expect("a segment size");
    for installation in Installation::all() {
        let cluster = start(&installation);
        cluster.pgbench(&["-i", "-q"]);
        let system = cluster.system_identifier().parse().expect("a system identifier");
        let switched = cluster.switch_wal();
        cluster.stop(StopMode::Fast);
        for (name, path) in segments(&cluster) {
            let bytes = fs::read(path).expect("read a segment");
            if bytes.iter().take(16).all(|byte| *byte == 0) {
                continue; // made in advance, not yet used
            }
            let facts = page::check_segment(&bytes, name, size, Some(system)).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((facts.major_version, facts.system_id), (installation.version(), system));
            assert!(name.to_string() != switched || facts.pages < SEGMENT / 8192, "a switch leaves pages unwritten");
            let next = SegmentName::new(TimelineId(1), SegmentNumber(name.number(size).expect("a number").0 + 1), size);
            assert!(page::check_segment(&bytes, next, size, Some(system)).is_err());
        }
    }
}

#[test]
fn the_record_of_wal_level_minimal_is_found_on_every_version() {
    let size = SegmentSize::try_from(SEGMENT).expect("a segment size");
    for installation in Installation::all() {
        let cluster = start(&installation);
        for (wal_level, senders) in [("minimal", 0), ("replica", 10)] {
            cluster.sql(&format!("ALTER SYSTEM SET wal_level = {wal_level}"));
            cluster.sql(&format!("ALTER SYSTEM SET max_wal_senders = {senders}"));
            cluster.restart();
        }
        cluster.stop(StopMode::Fast);
        let segments = segments(&cluster);
        let first = segments[0].0.number(size).expect("a number").start(size);
        let records = waldump(&cluster, first);
        let minimal = |record: &&Dumped| record.what.starts_with("PARAMETER_CHANGE") && record.what.contains("wal_level=minimal");
        let expected: Vec<Lsn> = records.iter().filter(minimal).map(|record| record.lsn).collect();
        let mut scanner = Scanner::new(first, size).checking_records();
        segments.iter().for_each(|(_, path)| scanner.feed(&fs::read(path).expect("read a segment")));
        let found = scanner.take_activity().minimal.expect("the record is found");
        assert_eq!(expected, [found.start], "PostgreSQL {}", installation.version());
        assert!(found.end > found.start && found.end.bytes_since(found.start) < 128, "one record: {found:?}");
    }
}
