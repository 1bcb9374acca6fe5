//! A bucket that the agent backs up on its schedule, and what a monitor is told of it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::Duration;

use pg_fixtures::{FreePort, poll};

use super::site::Site;

const DEADLINE: Duration = Duration::from_secs(60);

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn metrics(port: &FreePort) -> String {
    let mut answer = String::new();
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port.number())) else { return answer };
    let asked = connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    drop(asked.and_then(|()| connection.read_to_string(&mut answer)));
    answer
}

#[test]
fn a_bucket_is_backed_up_on_its_schedule_and_its_figures_are_told() {
    let (site, port) = (Site::new(), FreePort::take());
    site.put("a", "content");
    let socket = site.scratch.path().join("agent.sock");
    let agent = format!("[agent]\nlisten = \"127.0.0.1:{}\"\nsocket = \"{}\"", port.number(), socket.display());
    site.configure("schedule = \"0 0 1 1 *\"", &agent);
    let log = site.scratch.path().join("agent.log");
    let file = File::create(&log).expect("make the agent's log");
    let mut command = site.command(&["agent"]);
    let child = command.stdout(file.try_clone().expect("share the log")).stderr(file).spawn().expect("start the agent");
    let agent = Agent(child);
    // Where there is no backup yet, the first one is due.
    let taken = poll::try_until(DEADLINE, || metrics(&port).contains("holdfast_backups{resource=\"bucket/data\"} 1\n"));
    assert!(taken, "{}\n{}", metrics(&port), std::fs::read_to_string(&log).unwrap_or_default());
    let told = metrics(&port);
    for figure in [
        "holdfast_backups_held{resource=\"bucket/data\"} 0\n",
        "holdfast_backup_last_size_bytes{resource=\"bucket/data\"} 7\n",
        "holdfast_backup_last_success_timestamp_seconds{resource=\"bucket/data\"} ",
        "holdfast_backup_last_duration_seconds{resource=\"bucket/data\"} ",
        "holdfast_job_next_timestamp_seconds{resource=\"bucket/data\",job=\"backup\"} ",
        "holdfast_job_failed_attempts{resource=\"bucket/data\",job=\"backup\"} 0\n",
    ] {
        assert!(told.contains(figure), "{figure} is not in {told}");
    }
    drop(agent);
    let id = site.json(&["backups"])["backups"][0]["id"].as_str().expect("an id").to_owned();
    site.run(&["hold", &id, "--reason", "for the auditors"]);
    let shown = site.json(&["backups"]);
    assert_eq!(shown["backups"][0]["holds"][0]["reason"], "for the auditors", "{shown}");
    assert!(site.run(&["backups"]).contains("held: for the auditors"));
    site.run(&["release", &id]);
    assert_eq!(site.json(&["backups"])["backups"][0]["holds"], serde_json::json!([]));
}
