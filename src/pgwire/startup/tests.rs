use crate::pgwire::error::Failure;
use crate::pgwire::fake::{connection, enter, error, message, ready, welcome};

async fn failure(says: &[u8]) -> Failure {
    match enter(says).await {
        Ok(_) => panic!("let in"),
        Err(error) => match error.failure() {
            Failure::Protocol(detail) => Failure::Protocol(detail.clone()),
            Failure::ConnectionLost(detail) => Failure::ConnectionLost(detail.clone()),
            Failure::Authentication(detail) => Failure::Authentication(detail.clone()),
            Failure::LoginRefused => Failure::LoginRefused,
            Failure::ServerStarting => Failure::ServerStarting,
            _ => panic!("another failure: {error}"),
        },
    }
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_left() {
    let huge = [&b"R"[..], &u32::MAX.to_be_bytes()].concat();
    let long = [&b"S"[..], &(1_u32 << 20).to_be_bytes(), &[0; 1000]].concat();
    for says in [
        huge,
        long,
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        message(b'R', &[0, 0, 0, 99]),
        message(b'R', &[]),
        message(b'd', b"data"),
        message(b'W', &[0, 0, 0]),
        message(b'E', b"Cno end"),
        [message(b'R', &[0, 0, 0, 0]), message(b'R', &[0, 0, 0, 0])].concat(),
        [message(b'R', &[0, 0, 0, 0]), ready()].concat(),
    ] {
        assert!(matches!(failure(&says).await, Failure::Protocol(_)), "{says:?}");
    }
}

#[tokio::test]
async fn an_early_end_is_a_lost_connection() {
    let whole = welcome("18.0");
    for length in 0..whole.len() {
        assert!(matches!(failure(&whole[..length]).await, Failure::ConnectionLost(_)), "{length} bytes");
    }
}

#[tokio::test]
async fn refusals_are_read_in_any_language() {
    assert!(matches!(failure(&error("28000")).await, Failure::LoginRefused));
    assert!(matches!(failure(&error("57P03")).await, Failure::ServerStarting));
}

#[tokio::test]
async fn methods_that_are_not_had_are_named() {
    for method in [2, 7, 9] {
        assert!(matches!(failure(&message(b'R', &[0, 0, 0, method])).await, Failure::Authentication(_)));
    }
    let unknown = message(b'R', b"\0\0\0\x0aSCRAM-SHA-999\0\0");
    assert!(matches!(failure(&unknown).await, Failure::Authentication(detail) if detail.contains("SCRAM-SHA-999")));
}

/// A server that does not know the password cannot skip the proof that it does.
#[tokio::test]
async fn scram_without_the_servers_proof_is_no_login() {
    let offer = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    let early = [offer.clone(), message(b'R', &[0, 0, 0, 0]), ready()].concat();
    assert!(matches!(failure(&early).await, Failure::Protocol(_)));
    let foreign_nonce = message(b'R', b"\0\0\0\x0br=abc,s=QSXCR+Q6sek8bf92,i=4096");
    assert!(matches!(failure(&[offer, foreign_nonce].concat()).await, Failure::Authentication(_)));
}

/// Newer servers and poolers may name the protocol versions that they know.
#[tokio::test]
async fn the_negotiation_of_the_protocol_version_is_passed_over() {
    let negotiation = message(b'v', &[0, 3, 0, 0, 0, 0, 0, 0]);
    let connection = enter(&[negotiation, welcome("19beta1")].concat()).await.expect("let in");
    assert_eq!(connection.server_version().number(), 190_000);
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let mut connection = connection("18.0", &[], false).await;
    let error = connection.identify_system().await.expect_err("no answer");
    assert!(matches!(error.failure(), Failure::Timeout(_)) && error.is_retryable(), "{error}");
    let error = connection.identify_system().await.expect_err("the connection is of no more use");
    assert!(matches!(error.failure(), Failure::Protocol(_)), "{error}");
}

#[tokio::test]
async fn what_a_server_says_before_it_closes_counts() {
    let mut connection = connection("18.0", &[error("57P01")], true).await;
    let error = connection.identify_system().await.expect_err("the server goes");
    assert!(matches!(error.failure(), Failure::ServerShuttingDown), "{error}");
}
