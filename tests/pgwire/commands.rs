//! The commands besides streaming, and plain SQL.

use holdfast::pg::{SegmentSize, TimelineId};
use holdfast::pgwire::{Failure, ReservedWal, SlotKind, SlotName, WalStatus};
use pg_fixtures::postgres::{Cluster, Installation};

use super::support::{lsn, on_every_version, refused, replication, run, sql};

fn slot(name: &str) -> SlotName {
    name.parse().expect("a valid name")
}

#[test]
fn the_cluster_is_identified() {
    on_every_version(|cluster| async move {
        let mut connection = replication(&cluster.conninfo()).await;
        let identity = connection.identify_system().await.expect("an identity");
        assert_eq!(identity.system_id.to_string(), cluster.system_identifier());
        assert_eq!(identity.timeline, TimelineId::FIRST);
        assert!(identity.flushed <= lsn(&cluster.lsn()));
        assert_eq!(connection.server_version().major(), cluster.installation().version());
        assert_eq!(connection.wal_segment_size().await.expect("a size"), SegmentSize::DEFAULT);
        assert_eq!(connection.show("wal_level").await.expect("a value"), "replica");
        assert!(matches!(connection.show("no_such").await.expect_err("an error").failure(), Failure::Server));
        let error = connection.timeline_history(TimelineId(7)).await.expect_err("there is none");
        assert!(matches!(error.failure(), Failure::NoHistoryFile), "{error}");
        connection.identify_system().await.expect("the connection is usable after errors");
        connection.close().await;
    });
}

#[test]
fn other_segment_sizes_are_understood() {
    for megabytes in [1, 64] {
        let cluster = Cluster::builder(&Installation::newest()).wal_segment_size(megabytes).start();
        let size = run(async { replication(&cluster.tcp_conninfo()).await.wal_segment_size().await });
        assert_eq!(size.expect("a size").bytes(), u64::from(megabytes) << 20);
    }
}

#[test]
fn a_slot_holds_wal_from_its_creation_on() {
    on_every_version(|cluster| async move {
        let mut connection = replication(&cluster.conninfo()).await;
        let name = slot("holdfast");
        assert_eq!(connection.read_slot(&name).await.expect("an answer"), None);
        connection.create_physical_slot(&name, SlotKind::Permanent, ReservedWal::FromLastCheckpoint).await.expect("a slot");
        let position = connection.read_slot(&name).await.expect("an answer").expect("a slot");
        assert_eq!(position.restart_timeline, Some(TimelineId::FIRST));
        let restart_lsn = position.restart_lsn.expect("a position");

        let client = sql(&cluster.conninfo()).await;
        let state = client.replication_slot(&name).await.expect("an answer").expect("a slot");
        assert_eq!((state.physical, state.active, state.restart_lsn), (true, false, Some(restart_lsn)));
        assert_eq!(state.holder, None);
        assert_eq!(state.wal_status, Some(WalStatus::Reserved));
        assert_eq!(client.replication_slot(&slot("other")).await.expect("an answer"), None);

        let again = connection.create_physical_slot(&name, SlotKind::Permanent, ReservedWal::Nothing).await;
        assert!(matches!(again.expect_err("it exists").failure(), Failure::SlotExists));
        connection.drop_slot(&name).await.expect("dropped");
        let gone = connection.drop_slot(&name).await.expect_err("it is gone");
        assert!(matches!(gone.failure(), Failure::SlotMissing), "{gone}");

        let temporary = slot("temporary");
        connection.create_physical_slot(&temporary, SlotKind::Temporary, ReservedWal::Nothing).await.expect("a slot");
        let position = connection.read_slot(&temporary).await.expect("an answer").expect("a slot");
        assert_eq!(position.restart_lsn, None);
    });
}

#[test]
fn no_free_slot_and_no_free_walsender_are_told_apart() {
    let builder = Cluster::builder(&Installation::newest()).setting("max_replication_slots", "1");
    let cluster = builder.setting("max_wal_senders", "1").start();
    run(async {
        let mut connection = replication(&cluster.conninfo()).await;
        connection.create_physical_slot(&slot("one"), SlotKind::Permanent, ReservedWal::Nothing).await.expect("a slot");
        let error = connection.create_physical_slot(&slot("two"), SlotKind::Permanent, ReservedWal::Nothing).await;
        let error = error.expect_err("there is only one");
        assert!(matches!(error.failure(), Failure::NoFreeSlot), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("max_replication_slots")));

        let error = refused(&cluster.conninfo()).await;
        assert!(matches!(error.failure(), Failure::TooManyWalSenders), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("max_wal_senders")) && error.is_retryable());
    });
}

#[test]
fn with_wal_level_minimal_the_error_says_what_to_set() {
    let builder = Cluster::builder(&Installation::newest()).setting("wal_level", "minimal");
    let cluster = builder.setting("max_wal_senders", "0").start();
    run(async {
        let error = refused(&cluster.conninfo()).await;
        assert!(error.hint().is_some_and(|hint| hint.contains("wal_level = replica")), "{error}");
    });
}

#[test]
fn sql_errors_keep_the_connection() {
    on_every_version(|cluster| async move {
        let client = sql(&cluster.conninfo()).await;
        let error = client.query("asking", "SELECT 1/0", &[]).await.expect_err("an error");
        assert_eq!(error.answer().map(|answer| answer.sqlstate.as_str()), Some("22012"));
        let row = client.query_one("asking", "SELECT $1::text || 'b' AS c", &[&"a"]).await.expect("a row");
        assert_eq!(client.get::<&str>("asking", &row, "c").expect("a value"), "ab");
        assert_eq!(client.show("wal_segment_size").await.expect("a value"), "16MB");
        cluster.stop(pg_fixtures::postgres::StopMode::Fast);
        let error = client.query("asking", "SELECT 1", &[]).await.expect_err("an error");
        assert!(error.is_retryable(), "{error}");
    });
}
