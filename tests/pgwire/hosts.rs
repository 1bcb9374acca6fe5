//! Several servers, and which of them will do.

use std::time::Duration;

use holdfast::pgwire::{Failure, ReplicationConnection, SqlConnection};
use pg_fixtures::FreePort;
use pg_fixtures::postgres::{Cluster, Installation, StopMode};

use super::support::{conninfo, on_every_version, refused, replication, run};

/// `host=... port=...` of several servers.
fn all(ports: &[u16], rest: &str) -> String {
    let hosts = vec!["127.0.0.1"; ports.len()].join(",");
    let ports = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    format!("host={hosts} port={ports} user=postgres dbname=postgres {rest}")
}

#[test]
fn target_session_attrs_picks_the_server() {
    for installation in Installation::all() {
        let primary = Cluster::builder(&installation).start();
        let standby = primary.standby();
        let ports = [standby.port(), primary.port()];
        run(async {
            for (target, port) in [
                ("any", standby.port()),
                ("read-write", primary.port()),
                ("primary", primary.port()),
                ("read-only", standby.port()),
                ("standby", standby.port()),
                ("prefer-standby", standby.port()),
            ] {
                let info = conninfo(&all(&ports, &format!("target_session_attrs={target}")));
                let expected = format!("127.0.0.1:{port}");
                let connection = ReplicationConnection::connect(&info).await.expect("a connection");
                assert_eq!(connection.server(), expected, "{target}");
                let client = SqlConnection::connect(&info).await.expect("a connection");
                assert_eq!(client.server(), expected, "{target}");
            }
            let only = all(&[primary.port()], "target_session_attrs=prefer-standby");
            assert!(replication(&only).await.server().ends_with(&primary.port().to_string()));
            let error = refused(&all(&[standby.port()], "target_session_attrs=read-write")).await;
            assert!(matches!(error.failure(), Failure::OtherRole { .. }) && error.is_retryable(), "{error}");

            primary.sql("ALTER SYSTEM SET default_transaction_read_only = on");
            primary.reload();
            primary
                .wait_until(Duration::from_secs(20), "the setting", || primary.sql("SHOW default_transaction_read_only") == "on");
            let error = refused(&all(&ports, "target_session_attrs=read-write")).await;
            assert!(matches!(error.failure(), Failure::NoServer(errors) if errors.len() == 2), "{error}");
            replication(&all(&ports, "target_session_attrs=primary")).await;
        });
    }
}

#[test]
fn a_server_that_is_away_is_passed_over() {
    on_every_version(|cluster| async move {
        let nothing = FreePort::take();
        let connection = replication(&all(&[nothing.number(), cluster.port()], "")).await;
        assert!(connection.server().ends_with(&cluster.port().to_string()));
        cluster.stop(StopMode::Fast);
        let error = refused(&all(&[nothing.number(), cluster.port()], "")).await;
        assert!(matches!(error.failure(), Failure::NoServer(errors) if errors.len() == 2) && error.is_retryable(), "{error}");
        assert!(error.to_string().contains(&nothing.number().to_string()), "{error}");
    });
}

#[test]
fn a_server_that_says_nothing_is_given_up_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = silent.local_addr().expect("an address").port();
    let cluster = Cluster::builder(&Installation::newest()).start();
    run(async {
        let connection = replication(&all(&[port, cluster.port()], "connect_timeout=1")).await;
        assert!(connection.server().ends_with(&cluster.port().to_string()));
        let error = refused(&all(&[port], "connect_timeout=1 sslmode=disable")).await;
        assert!(matches!(error.failure(), Failure::Timeout(_)) && error.is_retryable(), "{error}");
    });
}

#[test]
fn a_refused_login_is_not_tried_elsewhere() {
    let cluster = Cluster::builder(&Installation::newest()).hba("host replication,all nobody 127.0.0.1/32 reject").start();
    let second = Cluster::builder(&Installation::newest()).start();
    for server in [&cluster, &second] {
        server.sql("CREATE ROLE nobody LOGIN REPLICATION");
    }
    run(async {
        let text = all(&[cluster.port(), second.port()], "").replace("user=postgres", "user=nobody");
        let error = refused(&text).await;
        assert!(matches!(error.failure(), Failure::LoginRefused), "{error}");
    });
}
