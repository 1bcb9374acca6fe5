//! PostgreSQL in a container, reached over TCP with a password; restored on this host.

use pg_fixtures::checksum::Moment;
use pg_fixtures::container::{Container, docker_answers};
use pg_fixtures::postgres::Installation;

use crate::disaster::{By, comes_back};
use crate::kills::under_kills;
use crate::site::{DIRECTORY, Site};
use pg_fixtures::dice::Dice;

const LOAD: [&str; 6] = ["-c", "2", "-R", "100", "-T", "3600"];

#[test]
fn a_marked_moment_of_a_server_in_a_container_comes_back() {
    if !docker_answers() {
        println!("LEFT OUT: docker does not answer, so no moment of a server in a container is restored");
        return;
    }
    let mut dice = Dice::new();
    let installation = Installation::major(17);
    let container = Container::start(&[("fsync", "off")]);
    container.pgbench(&installation, &["-i", "-q", "-s", "1"]);
    let site = Site::new(DIRECTORY, &container.conninfo().replace('\\', "\\\\"));
    let load = container.pgbench_background(&installation, &LOAD);
    site.holdfast.start_agent();
    let (moment, load) = under_kills(&site, &mut dice, |dice| {
        site.holdfast.run(&["backup", "postgres/main", "--max-rate", "12000"]);
        dice.pause(0..1000);
        let moment = Moment::mark(&container, "contained");
        dice.pause(0..1000);
        load.stop();
        container.kill9();
        container.start_again();
        (moment, container.pgbench_background(&installation, &LOAD))
    });
    dice.pause(500..2000);
    site.wait_until_recoverable(container.sql("SELECT pg_current_wal_flush_lsn()").parse().expect("a position"));
    load.stop();
    drop(container);
    site.holdfast.kill9();
    comes_back(&site, &installation, &moment, By::Lsn);
}
