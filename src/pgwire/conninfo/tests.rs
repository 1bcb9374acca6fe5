use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    let variables: BTreeMap<_, _> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Environment::new(variables, Some("/home/me".into()), Some("me".into()))
}

fn parse(text: &str) -> Result<ConnInfo, ConnInfoError> {
    ConnInfo::parse(text, &environment(&[]))
}

fn valid(text: &str) -> ConnInfo {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn message(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn keywords_and_a_uri_mean_the_same() {
    for (keywords, uri) in [
        ("host=db1,db2 port=5433,5434 user=you password='a b' dbname=app", "postgresql://you:a%20b@db1:5433,db2:5434/app"),
        ("host=db1 sslmode=require", "postgres://db1?ssl=true"),
        ("host=::1 port=5433", "postgresql://[::1]:5433"),
        ("host=/tmp/a user=you", "postgresql://you@%2Ftmp%2Fa/"),
        (
            "host=db1 dbname=x options='-c a=b' target_session_attrs=standby",
            "postgresql:///x?host=db1&options=-c%20a%3Db&target_session_attrs=standby",
        ),
        ("host=db1,db2 port=,5433", "postgresql://db1,db2:5433"),
        ("password=p@ss host=db1 user=you", "postgresql://you:p%40ss@db1"),
        ("", "postgresql://"),
    ] {
        assert_eq!(valid(keywords), valid(uri), "{uri}");
    }
}

#[test]
fn values_are_quoted_and_escaped_as_in_libpq() {
    let info = valid(r"user = 'a \'b\\' dbname=c\ d application_name=''");
    assert_eq!((info.user(), info.dbname(), info.application_name()), (r"a 'b\", "c d", None));
}

#[test]
fn what_is_left_open_comes_from_the_environment_and_then_from_libpq() {
    let info = valid("");
    assert_eq!((info.user(), info.dbname(), info.hosts()[0].port), ("me", "me", 5432));
    assert_eq!(info.hosts()[0].host, Host::Local);
    assert_eq!(info.tls.mode, SslMode::Prefer);

    let environment = environment(&[("PGHOST", "db9"), ("PGPORT", "7"), ("PGUSER", "you"), ("PGSSLMODE", "disable")]);
    let info = ConnInfo::parse("user=they", &environment).expect("valid");
    assert_eq!((info.user(), info.hosts()[0].to_string().as_str()), ("they", "db9:7"));
    assert_eq!(info.tls.mode, SslMode::Disable);
    let info = ConnInfo::parse("postgresql://db1", &environment).expect("valid");
    assert_eq!(info.hosts()[0].port, 7, "PGPORT completes a URI too");
}

#[test]
fn hosts_addresses_and_ports_are_paired() {
    let info = valid("host=a,/tmp,c hostaddr=1.1.1.1,,::1 port=1");
    let shown: Vec<String> = info.hosts().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["a:1 (1.1.1.1)", "/tmp/.s.PGSQL.1", "c:1 (::1)"]);
    assert!(message("host=a,b,c port=1,2").contains("3 hosts"));
    assert!(message("host=a,b hostaddr=1.1.1.1").contains("1 addresses"));
    for bad in ["port=0", "port=65536", "port=x", "hostaddr=localhost"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn two_servers_of_one_name_are_told_apart_by_their_addresses() {
    let info = valid("host=db,db hostaddr=10.0.0.1,10.0.0.2 port=5432");
    let (first, second) = (info.hosts()[0].clone(), info.hosts()[1].clone());
    assert_eq!(info.clone().without_server(&first.to_string()).expect("one is left").hosts(), [second]);
    assert_eq!(info.with_only_server(&first.to_string()).expect("the other one").hosts(), [first]);
}

#[test]
fn mistakes_are_named() {
    assert!(message("hots=db1").contains("did you mean 'host'"));
    assert!(message("nonsense=1").ends_with("is no keyword of connection strings"));
    assert!(message("sslmode=on").contains("verify-full"));
    assert!(message("target_session_attrs=master").contains("read-write"));
    assert!(message("service=x").contains("not supported"));
    assert!(message("gssencmode=require").contains("not supported"));
    assert!(message("connect_timeout=soon").contains("connect_timeout"));
    assert!(message("sslnegotiation=direct").contains("at least require"));
    assert!(message("sslrootcert=system sslmode=require").contains("verify-full"));
    for bad in ["host", "host=a b", "user='a", "postgresql://a?b", "postgresql://%zz", "postgresql://[::1", "postgresql://a%00"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn every_wait_has_a_deadline() {
    assert_eq!(valid("").connect_timeout(), CONNECT_TIMEOUT);
    assert_eq!(valid("connect_timeout=3").connect_timeout(), Duration::from_secs(3));
    assert_eq!(valid("connect_timeout=0").connect_timeout(), CONNECT_TIMEOUT_MAX);
    let keepalive = valid("tcp_user_timeout=1500 keepalives_count=4 keepalives_interval=5").keepalive();
    assert_eq!((keepalive.user_timeout, keepalive.count), (Some(Duration::from_millis(1500)), Some(4)));
    assert_eq!((keepalive.idle, keepalive.interval), (KEEPALIVES_IDLE, Some(Duration::from_secs(5))));
}

#[test]
fn no_mistake_shows_the_password() {
    for text in ["password='SeCrEt", "password=SeCrEt port=x", "password=SeCrEt nonsense=1", "postgresql://u:SeCrEt%@h"] {
        assert!(!message(text).contains("SeCrEt"), "{text}");
    }
    let info = valid("password=SeCrEt");
    assert!(!format!("{info} {info:?}").contains("SeCrEt"));
    assert!(!format!("{:?}", environment(&[("PGPASSWORD", "SeCrEt")])).contains("SeCrEt"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,80}") {
        parse(&text).ok();
        parse(&format!("postgresql://{text}")).ok();
    }

    #[test]
    fn a_quoted_value_is_read_back(value in "[^\0]{1,40}") {
        let info = valid(&format!("application_name={}", keywords::quote(&value)));
        prop_assert_eq!(info.application_name(), Some(value.as_str()));
    }
}
