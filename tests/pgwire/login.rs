//! Logging in: each method, and each way to be refused.

use std::collections::BTreeMap;

use holdfast::config::Environment;
use holdfast::pgwire::{ConnInfo, Error, Failure, ReplicationConnection, SqlConnection};
use pg_fixtures::postgres::{Cluster, Installation};

use super::certificates::write_private;
use super::support::{conninfo, refused, replication, run, sql};

/// A server where a role per method has to prove itself over TCP, for replication and for SQL.
fn guarded(installation: &Installation) -> Cluster {
    let mut builder = Cluster::builder(installation);
    for (role, method) in
        [("clear", "password"), ("hashed", "md5"), ("scram", "scram-sha-256"), ("nobody", "reject"), ("plain", "trust")]
    {
        builder = builder.hba(&format!("host replication {role} 127.0.0.1/32 {method}"));
        builder = builder.hba(&format!("host all {role} 127.0.0.1/32 {method}"));
    }
    let cluster = builder.start();
    let password = "pä$$'w\\rd";
    cluster.sql("SET password_encryption = 'md5'; CREATE ROLE hashed LOGIN REPLICATION PASSWORD 'pä$$''w\\rd'");
    for role in ["clear", "scram"] {
        cluster.sql(&format!("CREATE ROLE {role} LOGIN REPLICATION PASSWORD '{}'", password.replace('\'', "''")));
    }
    cluster.sql("CREATE ROLE nobody LOGIN REPLICATION; CREATE ROLE plain LOGIN");
    cluster
}

const PASSWORD: &str = r"password='pä$$\'w\\rd'";

#[test]
fn every_method_lets_the_right_password_in_and_no_other() {
    for installation in Installation::all() {
        let cluster = guarded(&installation);
        run(async {
            for role in ["clear", "hashed", "scram"] {
                let right = format!("{} {PASSWORD}", cluster.tcp_conninfo_of(role));
                replication(&right).await.identify_system().await.expect("an identity");
                sql(&right).await.query("asking", "SELECT 1", &[]).await.expect("a row");
                let wrong = format!("{} password=wrong", cluster.tcp_conninfo_of(role));
                let error = refused(&wrong).await;
                assert!(matches!(error.failure(), Failure::WrongPassword) && !error.is_retryable(), "{error}");
                assert!(error.hint().is_some_and(|hint| hint.contains("ALTER ROLE")));
                let error = SqlConnection::connect(&conninfo(&wrong)).await.expect_err("refused");
                assert!(matches!(error.failure(), Failure::WrongPassword), "{error}");
                let error = refused(&cluster.tcp_conninfo_of(role)).await;
                assert!(matches!(error.failure(), Failure::Authentication(_)), "{error}");
            }
        });
    }
}

#[test]
fn refusals_name_what_to_change() {
    for installation in Installation::all() {
        let cluster = guarded(&installation);
        run(async {
            let hint = |error: &Error| error.hint().unwrap_or_default().to_owned();
            let error = refused(&cluster.tcp_conninfo_of("nobody")).await;
            assert!(matches!(error.failure(), Failure::LoginRefused) && hint(&error).contains("pg_hba.conf"), "{error}");
            let error = refused(&cluster.tcp_conninfo_of("no_such_role")).await;
            assert!(matches!(error.failure(), Failure::LoginRefused), "{error}");
            let error = refused(&cluster.tcp_conninfo_of("plain")).await;
            assert!(matches!(error.failure(), Failure::NoReplicationPrivilege), "{error}");
            assert!(hint(&error).contains("REPLICATION"));
            let nowhere = cluster.tcp_conninfo_of("plain").replace("dbname=postgres", "dbname=nowhere");
            let error = SqlConnection::connect(&conninfo(&nowhere)).await.expect_err("refused");
            assert!(matches!(error.failure(), Failure::NoSuchDatabase), "{error}");
            cluster.stop(pg_fixtures::postgres::StopMode::Fast);
            for text in [cluster.tcp_conninfo(), cluster.conninfo()] {
                let error = refused(&text).await;
                assert!(matches!(error.failure(), Failure::NotReached(_)) && error.is_retryable(), "{error}");
            }
        });
    }
}

#[test]
fn require_auth_refuses_what_it_excludes() {
    let cluster = guarded(&Installation::newest());
    run(async {
        let text = |role: &str, methods: &str| format!("{} {PASSWORD} require_auth={methods}", cluster.tcp_conninfo_of(role));
        replication(&text("scram", "scram-sha-256")).await;
        for (role, methods) in [("clear", "scram-sha-256,md5"), ("hashed", "!md5"), ("postgres", "scram-sha-256")] {
            let error = refused(&text(role, methods)).await;
            assert!(matches!(error.failure(), Failure::Authentication(_)), "{error}");
        }
        let error = refused(&format!("{} {PASSWORD} channel_binding=require", cluster.tcp_conninfo_of("scram"))).await;
        assert!(matches!(error.failure(), Failure::Authentication(_)), "no binding without TLS: {error}");
    });
}

#[test]
fn the_password_may_come_from_the_file_or_the_environment() {
    let cluster = guarded(&Installation::newest());
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join(".pgpass");
    let port = cluster.port();
    write_private(&file, &format!("127.0.0.1:{port}:replication:scram:pä$$'w\\\\rd\n*:*:postgres:scram:wrong\n"));
    run(async {
        let environment = |variables: &[(&str, &str)]| {
            let variables: BTreeMap<_, _> = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            Environment::new(variables, Some(home.path().to_owned()), Some("scram".into()))
        };
        let connect = async |text: &str, variables: &[(&str, &str)]| {
            ReplicationConnection::connect(&ConnInfo::parse(text, &environment(variables)).expect("valid")).await
        };
        let place = format!("host=127.0.0.1 port={port}");
        connect(&place, &[]).await.expect("the file has the password of replication");
        let info = ConnInfo::parse(&format!("{place} dbname=postgres"), &environment(&[])).expect("valid");
        let error = SqlConnection::connect(&info).await.expect_err("the file has a wrong password for this database");
        assert!(matches!(error.failure(), Failure::WrongPassword), "{error}");

        let port = port.to_string();
        connect("", &[("PGHOST", "127.0.0.1"), ("PGPORT", &port), ("PGPASSWORD", "pä$$'w\\rd")]).await.expect("let in");
        let error = connect(&place, &[("PGPASSWORD", "wrong")]).await.expect_err("the variable comes before the file");
        assert!(matches!(error.failure(), Failure::WrongPassword), "{error}");

        let open = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        std::fs::set_permissions(&file, open).expect("its mode set");
        let error = connect(&place, &[]).await.expect_err("a file that others can read is not used");
        assert!(matches!(error.failure(), Failure::Authentication(_)), "{error}");
    });
}

#[test]
fn no_message_shows_the_password() {
    let cluster = guarded(&Installation::newest());
    run(async {
        let info = conninfo(&format!("{} password=SeCrEt", cluster.tcp_conninfo_of("scram")));
        let error = ReplicationConnection::connect(&info).await.expect_err("refused");
        for text in [format!("{info}"), format!("{info:?}"), format!("{error}"), format!("{error:?}")] {
            assert!(!text.contains("SeCrEt"), "{text}");
        }
    });
}
