//! A standby that streams from the primary, and asks the archive for WAL when that is not there.

use std::fs;
use std::path::Path;

use pg_fixtures::ServerUser;
use pg_fixtures::agent::shim;
use pg_fixtures::postgres::{Cluster, Installation};

use crate::promotion::both;
use crate::site::{DEADLINE, Site, end_of_wal, server};

/// `restore_command`, with the program under test in its path.
fn restore_command(site: &Site, cluster: &Cluster) -> String {
    let program = env!("CARGO_BIN_EXE_holdfast");
    let holdfast = ServerUser::current().reachable(Path::new(program));
    let (folder, shim) = (holdfast.parent().expect("a program is in a folder"), shim(program, "holdfast-restore-command"));
    let (configuration, lineage) = (site.holdfast.configuration().display(), cluster.system_identifier());
    format!(
        "PATH={}:$PATH {} --config {configuration} --resource postgres/main --lineage {lineage} %f \"%p\"",
        folder.display(),
        shim.display()
    )
}

#[test]
fn what_a_standby_has_received_beyond_what_is_stored_stays_when_it_asks_the_archive_for_the_segment() {
    let primary = server(&Installation::newest()).start();
    primary.sql("CREATE TABLE t (i int)");
    let standby = primary.standby();
    let site = Site::new(&primary, "");
    site.holdfast.start_agent();
    primary.switch_wal();
    primary.sql("INSERT INTO t SELECT generate_series(1, 1000)");
    site.wait_for(end_of_wal(&primary));
    site.holdfast.kill9();
    primary.sql("INSERT INTO t SELECT generate_series(1, 1000)");
    standby.wait_for_replay_of(&primary, DEADLINE);
    let segment = primary.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    let own = || fs::read(standby.data_directory().join("pg_wal").join(&segment)).expect("read the standby's segment");
    let before = own();
    standby.sql(&format!("ALTER SYSTEM SET restore_command = '{}'", restore_command(&site, &primary).replace('\'', "''")));
    standby.reload();
    primary.kill9();
    let restored = format!("restored log file \"{segment}\" from archive");
    standby.wait_until(DEADLINE, "it asks the archive for the segment", || standby.log().contains(&restored));
    let first = before.iter().zip(&own()).position(|(before, after)| before != after);
    assert_eq!(first, None, "the standby's own WAL was replaced by less");
    standby.promote();
    assert_eq!(standby.sql("SELECT count(*) FROM t"), "2000");
}

#[test]
fn an_agent_to_which_any_server_will_do_says_that_it_went_to_a_standby() {
    let primary = server(&Installation::newest()).start();
    let standby = primary.standby();
    let conninfo = both(&standby, &primary).replace("read-write", "any");
    let site = Site::with_store("url = \"file://{scratch}/store\"", &conninfo, "");
    site.holdfast.start_agent();
    let is_said = || {
        let warnings = site.receiver().map(|status| status.warnings).unwrap_or_default();
        warnings.iter().any(|warning| warning.contains("is a standby, and with target_session_attrs=any"))
    };
    site.holdfast.wait_until(DEADLINE, "the agent says where it is", is_said);
    assert!(site.holdfast.run(&["status"]).contains("is a standby"));
}
