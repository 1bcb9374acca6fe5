//! A standby is dumped: it has the same rows, and no unlogged ones.

use std::time::Duration;

use pg_fixtures::postgres::Installation;

use super::site::{Asked, DATABASE, LEFT_OUT, Site};

#[test]
fn a_standby_is_dumped_without_what_is_not_replicated() {
    let site = Site::new(&Installation::newest(), LEFT_OUT);
    let standby = site.cluster.standby();
    standby.wait_for_replay_of(&site.cluster, Duration::from_secs(60));
    let conninfo = site.conninfo();
    let (from, to) = (&site.cluster, &standby);
    let conninfo = conninfo.replace(&from.socket_directory().display().to_string(), &to.socket_directory().display().to_string());
    let conninfo = conninfo.replace(&format!("port={}", from.port()), &format!("port={}", to.port()));
    site.configure_with(&conninfo, &site.encryption(), LEFT_OUT);
    let taken = site.backup();
    assert_eq!(taken["tables"], 6, "all but the unlogged one: {taken}");
    assert_eq!(site.json(&["verify", "dump/app"])["sound"], true);
    site.configure(&site.encryption(), LEFT_OUT);
    site.run(&["restore", "dump/app", "--to", "copy"]);
    let expected = from.portrait(DATABASE).replace("cache|1", "cache|0").replace("audit|f", "audit|t");
    assert_eq!(from.portrait("copy"), expected.replace("sessions|2", "sessions|0"));
}
