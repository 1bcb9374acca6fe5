use std::path::Path;

use super::*;
use crate::config::Environment;
use crate::pgwire::ConnInfo;
use crate::pgwire::fake::{error, server, welcome};

fn info(text: &str) -> ConnInfo {
    ConnInfo::parse(&format!("host=db.test {text}"), &Environment::default()).expect("valid")
}

/// What comes of asking for TLS where the server says this.
async fn negotiate(says: &[u8]) -> Result<&'static str, TlsError> {
    let info = info("sslmode=require");
    let tls = Tls::prepare(&info.tls).expect("nothing to read");
    Ok(match tls.negotiate(server(says, true), &info.hosts()[0]).await? {
        Ok(_) => "encrypted",
        Err(_) => "plain",
    })
}

/// CVE-2021-23222: what is slipped in behind the answer in the clear must not be taken for the server's words.
#[tokio::test]
async fn words_in_the_clear_behind_the_answer_are_not_listened_to() {
    let says = [b"S".as_slice(), &welcome("18.0")].concat();
    assert!(negotiate(&says).await.is_err());
}

#[tokio::test]
async fn only_the_two_answers_of_a_server_count() {
    assert_eq!(negotiate(b"N").await.expect("an answer"), "plain");
    for says in [error("53300"), b"H".to_vec(), Vec::new()] {
        assert!(negotiate(&says).await.is_err(), "{says:?}");
    }
    let refused = negotiate(&error("53300")).await.expect_err("an error");
    assert!(!format!("{refused:?}").contains("53300"), "nobody in particular has said that");
}

#[test]
fn files_that_are_named_have_to_be_there() {
    for text in ["sslmode=verify-ca sslrootcert=/nowhere", "sslcert=/nowhere sslkey=/nowhere"] {
        let error = Tls::prepare(&info(text).tls).err().unwrap_or_default();
        assert!(error.contains("/nowhere"), "{text}: {error}");
    }
    let home = tempfile::tempdir().expect("a directory");
    let environment = Environment::new([].into(), Some(home.path().to_owned()), None);
    let info = ConnInfo::parse("host=db.test", &environment).expect("valid");
    assert!(Tls::prepare(&info.tls).is_ok(), "those in the home directory need not");
    assert!(!Path::new(&home.path().join(".postgresql")).exists());
}

#[test]
fn the_versions_of_tls_can_be_narrowed() {
    let count = |text| versions(&info(text).tls).map(|versions| versions.len());
    assert_eq!(count(""), Ok(2));
    assert_eq!(count("ssl_min_protocol_version=TLSv1.3"), Ok(1));
    assert!(count("ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2").is_err());
}
