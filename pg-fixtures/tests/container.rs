//! PostgreSQL in a container, where docker answers.

use pg_fixtures::container::{Container, docker_answers};
use pg_fixtures::postgres::{Installation, StopMode};

#[test]
fn a_container_serves_survives_a_kill_and_is_removed() {
    if !docker_answers() {
        println!("LEFT OUT: docker does not answer, so PostgreSQL in a container is not tested");
        return;
    }
    let container = Container::start(&[("wal_level", "logical")]);
    assert_eq!(container.sql("SHOW wal_level"), "logical");
    container.pgbench(&Installation::newest(), &["-i", "-q", "-s", "1"]);
    container.kill9();
    container.start_again();
    container.stop(StopMode::Immediate);
    container.start_again();
    container.restart();
    assert_eq!(container.sql("SELECT count(*) FROM pgbench_accounts"), "100000");
    assert!(container.log().contains("database system was not properly shut down"));
    let port = container.port();
    drop(container);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}
