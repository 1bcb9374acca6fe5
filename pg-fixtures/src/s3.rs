//! A real S3 server for tests: SeaweedFS.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::guard::Guard;
use crate::{FreePort, Scratch, poll};

/// For the guard: what it does when the test process was killed.
const END_SERVER: &str = r#"kill -KILL "$1" 2>/dev/null; [ -n "${HOLDFAST_KEEP_SCRATCH:-}" ] || rm -rf "$2""#;

const START_LIMIT: Duration = Duration::from_secs(60);

/// A SeaweedFS server on 127.0.0.1 with its data in a scratch directory. It is killed when this is dropped.
#[derive(Debug)]
pub struct SeaweedFs {
    // The server ends before its files are removed.
    running: Option<Running>,
    ports: [FreePort; 8],
    scratch: Scratch,
    identities: Vec<Identity>,
}

/// Somebody whom the server knows.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The access key's id; its secret is `SeaweedFs::SECRET_ACCESS_KEY`.
    pub access_key_id: &'static str,
    /// What it may do: `Read`, `Write`, `List`, `Tagging`, `Admin`, each perhaps with `:BUCKET`.
    pub actions: &'static [&'static str],
}

#[derive(Debug)]
struct Running {
    server: Child,
    _guard: Guard,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

impl SeaweedFs {
    /// The identity that may do everything; by default the only one that the server knows.
    pub const ACCESS_KEY_ID: &str = "holdfast";
    /// Its secret.
    pub const SECRET_ACCESS_KEY: &str = "holdfast-secret";

    /// Starts a server that has no buckets. A bucket is made only on request, never by a put.
    ///
    /// # Panics
    /// When SeaweedFS is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further identities.
    ///
    /// # Panics
    /// As `start`.
    #[must_use]
    pub fn start_with(identities: &[Identity]) -> Self {
        let (scratch, identities) = (Scratch::new(), identities.to_vec());
        let mut server = Self { running: None, ports: std::array::from_fn(|_| FreePort::take()), scratch, identities };
        server.restart();
        server
    }

    /// The URL of its S3 service.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// The port of its S3 service.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports[0].number()
    }

    /// Ends the server with SIGKILL. Its data and its ports stay.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Starts the server again after `kill`, on the same ports.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        let server = self.command().spawn().expect("start SeaweedFS");
        let guard = Guard::running(END_SERVER, &[OsStr::new(&server.id().to_string()), self.scratch.path().as_os_str()])
            .expect("guard SeaweedFS");
        self.running = Some(Running { server, _guard: guard });
        let ready = poll::try_until(START_LIMIT, || self.answers());
        assert!(ready, "SeaweedFS does not answer; its log ends:\n{}", self.end_of_log());
    }

    fn command(&self) -> Command {
        let [s3, master, volume, filer, grpc @ ..] = &self.ports;
        let path = self.scratch.path();
        let data = path.join("data");
        fs::create_dir_all(&data).expect("create the data directory of SeaweedFS");
        fs::write(path.join("s3.json"), identities(&self.identities)).expect("write the identities of SeaweedFS");
        let log = File::options().create(true).append(true).open(path.join("log")).expect("open the log of SeaweedFS");
        let mut command = Command::new(program());
        command.args(["server", "-master.telemetry=false", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"]);
        command.args(["-volume.max=500", "-master.volumeSizeLimitMB=1024"]);
        for (name, port) in [("s3", s3), ("master", master), ("volume", volume), ("filer", filer)] {
            command.arg(format!("-{name}.port={}", port.number()));
        }
        for (name, port) in ["s3", "master", "volume", "filer"].iter().zip(grpc) {
            command.arg(format!("-{name}.port.grpc={}", port.number()));
        }
        for (option, name) in
            [("dir", "data"), ("s3.config", "s3.json"), ("s3.localSocket", "s3.sock"), ("filer.localSocket", "f.sock")]
        {
            command.arg(format!("-{option}={}", path.join(name).display()));
        }
        command.current_dir(path).stdin(Stdio::null()).stdout(log.try_clone().expect("share the log")).stderr(log);
        command
    }

    /// Whether the S3 service answers a request; it does so when all that it stands on is up.
    fn answers(&self) -> bool {
        let Ok(mut connection) = TcpStream::connect(("127.0.0.1", self.port())) else { return false };
        let request = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", self.port());
        let mut answer = String::new();
        let sent =
            connection.set_read_timeout(Some(Duration::from_secs(2))).and_then(|()| connection.write_all(request.as_bytes()));
        sent.is_ok() && connection.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 403")
    }

    fn end_of_log(&self) -> String {
        let log = fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

fn identities(others: &[Identity]) -> String {
    let all = Identity { access_key_id: SeaweedFs::ACCESS_KEY_ID, actions: &["Admin", "Read", "Write", "List", "Tagging"] };
    let identity = |Identity { access_key_id: key, actions }: &Identity| {
        let secret = SeaweedFs::SECRET_ACCESS_KEY;
        format!(r#"{{"name":"{key}","credentials":[{{"accessKey":"{key}","secretKey":"{secret}"}}],"actions":{actions:?}}}"#)
    };
    let known: Vec<String> = std::iter::once(&all).chain(others).map(identity).collect();
    format!(r#"{{"identities":[{}]}}"#, known.join(","))
}

fn program() -> PathBuf {
    let servers = std::env::var("HOLDFAST_TEST_SERVERS").unwrap_or_else(|_| "/var/cache/holdfast-test-servers".to_owned());
    let program = Path::new(&servers).join("seaweedfs/weed");
    assert!(program.exists(), "SeaweedFS is not at {}: run scripts/install test", program.display());
    program
}
