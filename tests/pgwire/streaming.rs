//! Streaming WAL.

use std::time::Duration;

use holdfast::pg::{Lsn, TimelineId};
use holdfast::pgwire::{Failure, ReservedWal, SlotKind, SlotName, Status, WalEvent, WalStatus};
use pg_fixtures::postgres::{Cluster, Installation, StopMode};

use super::support::{DEADLINE, lsn, next_but_keepalives, on_every_version, read_until, replication, run, sql};

fn slot() -> SlotName {
    "holdfast".parse().expect("a valid name")
}

fn segment_start(position: Lsn) -> Lsn {
    Lsn(position.0 & !((16 << 20) - 1))
}

#[test]
fn the_stream_is_what_the_server_wrote() {
    on_every_version(|cluster| async move {
        let start = segment_start(lsn(&cluster.lsn()));
        let mut stream =
            replication(&cluster.conninfo()).await.start_replication(None, start, TimelineId::FIRST).await.expect("a stream");
        cluster.pgbench(&["-i", "-s", "2", "-q"]);
        let segment = cluster.switch_wal();
        let end = lsn(&cluster.lsn());
        let wal = read_until(&mut stream, end).await;
        let path = cluster.data_directory().join("pg_wal").join(&segment);
        let file = std::fs::read(path).expect("the last full segment");
        let whole = wal.chunks(16 << 20).filter(|chunk| chunk.len() == 16 << 20).collect::<Vec<_>>();
        assert!(whole.contains(&file.as_slice()), "no segment of the stream equals {segment}");

        stream.send_status(Status { written: end, flushed: Lsn::INVALID }, true).await.expect("sent");
        let answer = tokio::time::timeout(DEADLINE, stream.next()).await.expect("an answer in time").expect("an event");
        assert!(matches!(answer, WalEvent::Keepalive { .. }), "{answer:?}");
        let mut connection = stream.stop().await.expect("the connection back");
        connection.identify_system().await.expect("and it works");
    });
}

#[test]
fn the_slot_follows_the_flush_position() {
    on_every_version(|cluster| async move {
        let mut connection = replication(&cluster.conninfo()).await;
        connection.create_physical_slot(&slot(), SlotKind::Permanent, ReservedWal::FromLastCheckpoint).await.expect("a slot");
        let start = connection.read_slot(&slot()).await.expect("an answer").expect("a slot").restart_lsn.expect("a position");
        let start = segment_start(start);
        let mut stream = connection.start_replication(Some(&slot()), start, TimelineId::FIRST).await.expect("a stream");
        cluster.sql("CREATE TABLE t AS SELECT generate_series(1, 10000)");
        let end = lsn(&cluster.lsn());
        read_until(&mut stream, end).await;

        let second = replication(&cluster.conninfo()).await.start_replication(Some(&slot()), start, TimelineId::FIRST).await;
        let error = second.expect_err("the slot is in use");
        assert!(matches!(error.failure(), Failure::SlotInUse) && error.is_retryable(), "{error}");

        let flushed = stream.position();
        stream.send_status(Status { written: flushed, flushed }, true).await.expect("sent");
        stream.next().await.expect("the answer");
        let client = sql(&cluster.conninfo()).await;
        let state = client.replication_slot(&slot()).await.expect("an answer").expect("a slot");
        assert_eq!((state.restart_lsn, state.active), (Some(flushed), true));
        let holder = state.holder.expect("somebody holds it");
        let statement = format!("SELECT backend_type FROM pg_stat_activity WHERE pid = {}", holder.pid);
        assert_eq!(cluster.sql(&statement).trim(), "walsender", "{holder}");
        let statement = "SELECT replay_lsn::text AS replayed FROM pg_stat_replication WHERE flush_lsn IS NOT NULL";
        let row = client.query_one("looking", statement, &[]).await.expect("one receiver");
        assert_eq!(client.get::<Option<&str>>("looking", &row, "replayed").expect("a value"), None, "nothing is applied");
    });
}

#[test]
fn what_cannot_be_streamed_is_told_apart() {
    on_every_version(|cluster| async move {
        let start = segment_start(lsn(&cluster.lsn()));
        let begin = async |slot: Option<&SlotName>, start, timeline| {
            let stream = replication(&cluster.conninfo()).await.start_replication(slot, start, timeline).await;
            match stream {
                Ok(mut stream) => next_but_keepalives(&mut stream).await.expect_err("nothing to stream"),
                Err(error) => error,
            }
        };
        let error = begin(Some(&slot()), start, TimelineId::FIRST).await;
        assert!(matches!(error.failure(), Failure::SlotMissing), "{error}");
        let error = begin(None, Lsn(start.0 + (1 << 32)), TimelineId::FIRST).await;
        assert!(matches!(error.failure(), Failure::AheadOfServer), "{error}");
        let error = begin(None, start, TimelineId(9)).await;
        assert!(matches!(error.failure(), Failure::NotInHistory), "{error}");

        let ended = cluster.switch_wal();
        for _ in 0..2 {
            cluster.switch_wal();
            cluster.sql("CHECKPOINT");
        }
        assert!(!cluster.data_directory().join("pg_wal").join(ended).exists(), "the segment should be recycled");
        let error = begin(None, start, TimelineId::FIRST).await;
        assert!(matches!(error.failure(), Failure::WalRemoved) && !error.is_retryable(), "{error}");
    });
}

#[test]
fn a_slot_that_lost_its_wal_is_told_apart() {
    for installation in Installation::all() {
        let builder = Cluster::builder(&installation).wal_segment_size(1).setting("max_slot_wal_keep_size", "1MB");
        let cluster = builder.setting("min_wal_size", "2MB").setting("max_wal_size", "2MB").start();
        run(async {
            let mut connection = replication(&cluster.conninfo()).await;
            connection.create_physical_slot(&slot(), SlotKind::Permanent, ReservedWal::FromLastCheckpoint).await.expect("a slot");
            let position = connection.read_slot(&slot()).await.expect("an answer").expect("a slot");
            let start = position.restart_lsn.map(|lsn| Lsn(lsn.0 & !((1 << 20) - 1))).expect("a position");
            for _ in 0..6 {
                cluster.switch_wal();
                cluster.sql("CHECKPOINT");
            }
            let state = sql(&cluster.conninfo()).await.replication_slot(&slot()).await.expect("an answer").expect("a slot");
            assert_eq!(state.wal_status, Some(WalStatus::Lost));
            assert_eq!(state.invalidation_reason.is_some(), installation.version() >= 17, "{state:?}");
            let error = match connection.start_replication(Some(&slot()), start, TimelineId::FIRST).await {
                Ok(mut stream) => next_but_keepalives(&mut stream).await.expect_err("its WAL is gone"),
                Err(error) => error,
            };
            assert!(matches!(error.failure(), Failure::SlotLost | Failure::WalRemoved) && !error.is_retryable(), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("max_slot_wal_keep_size")), "{error}");
        });
    }
}

#[test]
fn a_server_that_shuts_down_sends_everything_first() {
    on_every_version(|cluster| async move {
        let start = segment_start(lsn(&cluster.lsn()));
        let mut stream =
            replication(&cluster.conninfo()).await.start_replication(None, start, TimelineId::FIRST).await.expect("a stream");
        cluster.sql("CREATE TABLE t AS SELECT generate_series(1, 100000)");
        cluster.ask_to_stop(StopMode::Fast);
        loop {
            match tokio::time::timeout(DEADLINE, stream.next()).await.expect("an event in time").expect("an event") {
                WalEvent::Closed => break,
                WalEvent::Keepalive { reply_requested: true, .. } => {
                    let status = Status { written: stream.position(), flushed: stream.position() };
                    stream.send_status(status, false).await.expect("sent");
                }
                _ => {}
            }
        }
        assert!(cluster.has_stopped_within(DEADLINE));
        let control = cluster.run("pg_controldata", &[cluster.data_directory()]);
        let checkpoint = control.lines().find_map(|line| line.strip_prefix("Latest checkpoint location:"));
        assert!(stream.position() > lsn(checkpoint.expect("a checkpoint").trim()), "the shutdown checkpoint is missing");
        assert!(stream.into_connection().is_err());
    });
}

#[test]
fn the_end_of_a_timeline_names_the_next() {
    for installation in Installation::all() {
        let primary = Cluster::builder(&installation).start();
        let standby = primary.standby();
        run(async {
            let start = segment_start(lsn(&primary.lsn()));
            let mut stream =
                replication(&standby.conninfo()).await.start_replication(None, start, TimelineId::FIRST).await.expect("a stream");
            primary.sql("CREATE TABLE t AS SELECT generate_series(1, 100000)");
            standby.wait_for_replay_of(&primary, DEADLINE);
            standby.promote();
            let event = loop {
                match next_but_keepalives(&mut stream).await.expect("an event") {
                    WalEvent::XLogData { .. } => {}
                    event => break event,
                }
            };
            let WalEvent::TimelineEnd { next_timeline, start: switch } = event else { panic!("{event:?}") };
            assert_eq!(next_timeline, TimelineId(2));
            assert_eq!(stream.position(), switch, "everything up to the switch was sent");

            let mut connection = stream.into_connection().expect("the connection");
            let history = connection.timeline_history(next_timeline).await.expect("a history file");
            assert_eq!(history.name, "00000002.history");
            assert!(String::from_utf8_lossy(&history.content).contains(&switch.to_string()));

            // Asked for exactly the end of the old timeline, the server names the next one at once.
            let mut stream = connection.start_replication(None, switch, TimelineId::FIRST).await.expect("a stream");
            assert_eq!(stream.next().await.expect("an event"), WalEvent::TimelineEnd { next_timeline, start: switch });
            let connection = stream.into_connection().expect("the connection");
            let start = segment_start(switch);
            let mut stream = connection.start_replication(None, start, next_timeline).await.expect("a stream");
            standby.sql("CREATE TABLE u AS SELECT generate_series(1, 1000)");
            read_until(&mut stream, lsn(&standby.lsn())).await;
        });
    }
}

#[test]
fn an_idle_server_stays_connected() {
    let cluster = Cluster::builder(&Installation::newest()).setting("wal_sender_timeout", "1s").start();
    run(async {
        let start = segment_start(lsn(&cluster.lsn()));
        let connection = replication(&cluster.conninfo()).await;
        let mut stream = connection.start_replication(None, start, TimelineId::FIRST).await.expect("a stream");
        read_until(&mut stream, lsn(&cluster.lsn())).await;
        let mut answered = 0;
        while answered < 4 {
            let event = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("a keepalive in time");
            if let WalEvent::Keepalive { reply_requested: true, .. } = event.expect("an event") {
                stream.send_status(Status { written: stream.position(), flushed: Lsn::INVALID }, false).await.expect("sent");
                answered += 1;
            }
        }
    });
}
