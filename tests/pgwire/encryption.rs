//! TLS: each `sslmode`, direct negotiation, client certificates, and the channel binding of SCRAM.

use holdfast::pgwire::{Error, Failure, ReplicationConnection, SqlConnection};
use pg_fixtures::postgres::{Cluster, Installation};
use rcgen::PKCS_ECDSA_P256_SHA256;

use super::certificates::{Authority, kinds};
use super::support::{conninfo, refused, replication, run, sql};

fn place(cluster: &Cluster, role: &str, host: &str) -> String {
    format!("host={host} hostaddr=127.0.0.1 port={} user={role} dbname=postgres", cluster.port())
}

fn tls_failure(error: &Error) -> &str {
    match error.failure() {
        Failure::Tls(detail) => detail,
        _ => panic!("not a failure of TLS: {error}"),
    }
}

#[test]
fn sslmode_decides_how_much_of_the_certificate_is_checked() {
    let (authority, other) = (Authority::new(&PKCS_ECDSA_P256_SHA256), Authority::new(&PKCS_ECDSA_P256_SHA256));
    for installation in Installation::all() {
        let cluster = authority.equip(Cluster::builder(&installation), &["db.test"]).start();
        let text = |host: &str, rest: &str| format!("{} {rest}", place(&cluster, "postgres", host));
        let (root, wrong) = (authority.root().display().to_string(), other.root().display().to_string());
        run(async {
            for (mode, encrypted) in [("disable", false), ("allow", false), ("prefer", true), ("require", true)] {
                let connection = replication(&text("other.test", &format!("sslmode={mode}"))).await;
                assert_eq!(connection.is_encrypted(), encrypted, "{mode}");
            }
            let with = |host: &str, mode: &str, root: &str| text(host, &format!("sslmode={mode} sslrootcert={root}"));
            replication(&with("db.test", "verify-full", &root)).await.identify_system().await.expect("an identity");
            sql(&with("db.test", "verify-full", &root)).await.query("asking", "SELECT 1", &[]).await.expect("a row");
            replication(&with("other.test", "verify-ca", &root)).await;
            replication(&with("other.test", "require", &root)).await;

            let error = refused(&with("other.test", "verify-full", &root)).await;
            assert!(tls_failure(&error).contains("subject alternative names"), "{error}");
            for mode in ["verify-full", "verify-ca", "require"] {
                let error = refused(&with("db.test", mode, &wrong)).await;
                assert!(tls_failure(&error).contains("sslrootcert"), "{mode}: {error}");
            }
            let error = refused(&text("db.test", "sslmode=verify-ca")).await;
            assert!(tls_failure(&error).contains("needs sslrootcert"), "{error}");
            let error = refused(&text("db.test", "sslrootcert=system")).await;
            assert!(!tls_failure(&error).is_empty(), "{error}");
        });
    }
}

#[test]
fn a_server_without_tls_is_used_only_where_that_is_allowed() {
    let cluster = Cluster::builder(&Installation::newest()).start();
    run(async {
        for mode in ["disable", "allow", "prefer"] {
            assert!(!replication(&format!("{} sslmode={mode}", cluster.tcp_conninfo())).await.is_encrypted());
        }
        let error = refused(&format!("{} sslmode=require", cluster.tcp_conninfo())).await;
        assert!(tls_failure(&error).contains("no TLS"), "{error}");
        assert!(!replication(&format!("{} sslmode=require", cluster.conninfo())).await.is_encrypted(), "sockets need none");
    });
}

#[test]
fn allow_and_prefer_try_what_pg_hba_asks_for() {
    let authority = Authority::new(&PKCS_ECDSA_P256_SHA256);
    let mut builder = authority.equip(Cluster::builder(&Installation::newest()), &["db.test"]);
    for line in ["hostnossl all closed", "hostnossl replication closed", "hostssl all open", "hostssl replication open"] {
        builder = builder.hba(&format!("{line} 127.0.0.1/32 reject"));
    }
    let cluster = builder.start();
    cluster.sql("CREATE ROLE closed LOGIN REPLICATION; CREATE ROLE open LOGIN REPLICATION");
    run(async {
        for mode in ["allow", "prefer"] {
            let text = |role| format!("{} sslmode={mode}", place(&cluster, role, "db.test"));
            assert!(replication(&text("closed")).await.is_encrypted());
            assert!(!replication(&text("open")).await.is_encrypted());
            sql(&text("open")).await.query("asking", "SELECT 1", &[]).await.expect("a row");
        }
        let error = refused(&format!("{} sslmode=disable", place(&cluster, "closed", "db.test"))).await;
        assert!(matches!(error.failure(), Failure::LoginRefused), "{error}");
    });
}

#[test]
fn the_proof_of_the_password_is_bound_to_the_certificate() {
    for installation in Installation::all() {
        for (name, algorithm) in kinds() {
            let authority = Authority::new(algorithm);
            let builder = authority.equip(Cluster::builder(&installation), &["db.test"]);
            let builder = builder.hba("hostssl all scram 127.0.0.1/32 scram-sha-256");
            let cluster = builder.hba("hostssl replication scram 127.0.0.1/32 scram-sha-256").start();
            cluster.sql("CREATE ROLE scram LOGIN REPLICATION PASSWORD 'secret'");
            let text = format!("{} password=secret sslmode=require", place(&cluster, "scram", "db.test"));
            run(async {
                println!("PostgreSQL {}, {name}", installation.version());
                for binding in ["disable", "prefer", "require"] {
                    let text = format!("{text} channel_binding={binding}");
                    replication(&text).await.identify_system().await.expect("an identity");
                    sql(&text).await.query("asking", "SELECT 1", &[]).await.expect("a row");
                }
                let error = refused(&text.replace("secret", "wrong")).await;
                assert!(matches!(error.failure(), Failure::WrongPassword), "{error}");
            });
        }
    }
}

#[test]
fn tls_can_begin_at_once_since_17() {
    let authority = Authority::new(&PKCS_ECDSA_P256_SHA256);
    for installation in Installation::all() {
        let cluster = authority.equip(Cluster::builder(&installation), &["db.test"]).start();
        let rest = format!("sslmode=verify-full sslnegotiation=direct sslrootcert={}", authority.root().display());
        let text = format!("{} {rest}", place(&cluster, "postgres", "db.test"));
        run(async {
            if installation.version() >= 17 {
                assert!(replication(&text).await.is_encrypted());
                sql(&text).await.query("asking", "SELECT 1", &[]).await.expect("a row");
            } else {
                refused(&text).await;
            }
        });
    }
}

#[test]
fn a_client_certificate_lets_its_role_in() {
    let authority = Authority::new(&PKCS_ECDSA_P256_SHA256);
    for installation in Installation::all() {
        let builder = authority.equip(Cluster::builder(&installation), &["db.test"]);
        let builder = builder.hba("hostssl all certified 127.0.0.1/32 cert");
        let cluster = builder.hba("hostssl replication certified 127.0.0.1/32 cert").start();
        cluster.sql("CREATE ROLE certified LOGIN REPLICATION");
        let text = format!("{} sslmode=require", place(&cluster, "certified", "db.test"));
        let files = |role| {
            let (certificate, key) = authority.client(role);
            format!("{text} sslcert={} sslkey={}", certificate.display(), key.display())
        };
        run(async {
            replication(&files("certified")).await.identify_system().await.expect("an identity");
            SqlConnection::connect(&conninfo(&files("certified"))).await.expect("let in");
            for text in [&text, &files("somebody")] {
                let error = ReplicationConnection::connect(&conninfo(text)).await.expect_err("refused");
                assert!(matches!(error.failure(), Failure::LoginRefused), "{error}");
            }
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            let (_, key) = authority.client("certified");
            let text = files("certified");
            std::fs::set_permissions(key, open).expect("its mode set");
            assert!(tls_failure(&refused(&text).await).contains("others can read it"));
        });
    }
}
