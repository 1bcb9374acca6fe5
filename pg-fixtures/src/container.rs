//! PostgreSQL in a container, reached over TCP with a password, as it runs for many people.

use std::process::{Command, Output};
use std::time::Duration;

use crate::guard::Guard;
use crate::postgres::{Installation, Load, StopMode};
use crate::{FreePort, poll};

/// Built by `scripts/images`.
const IMAGE: &str = "holdfast-test-postgresql:17-1";
const PASSWORD: &str = "a test's password, not a secret";
const START: Duration = Duration::from_secs(60);

/// Whether docker answers. Where it does not, say in the test's output that containers are left out.
#[must_use]
pub fn docker_answers() -> bool {
    Command::new("docker").arg("info").output().is_ok_and(|output| output.status.success())
}

/// A PostgreSQL server in a container, its port published on 127.0.0.1, SCRAM passwords only. Dropped, it is removed.
#[derive(Debug)]
pub struct Container {
    name: String,
    port: FreePort,
    _guard: Guard,
}

impl Container {
    /// Starts a server with these settings.
    ///
    /// # Panics
    /// When docker does not answer, the image is not built, or the server does not come up.
    #[must_use]
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let built = docker(&["image", "inspect", IMAGE]).status.success();
        assert!(built, "docker does not have the image {IMAGE}: run scripts/images");
        let port = FreePort::take();
        let name = format!("holdfast-test-{}", port.number());
        let guard = Guard::running("docker rm --force --volumes \"$1\"", &[&name]).expect("start the guard of a container");
        let container = Self { name, port, _guard: guard };
        docker(&["rm", "--force", "--volumes", &container.name]); // of a test that was killed
        container.create(settings);
        container.wait_until_ready();
        container
    }

    fn create(&self, settings: &[(&str, &str)]) {
        let published = format!("127.0.0.1:{}:5432", self.port());
        let password = format!("POSTGRES_PASSWORD={PASSWORD}");
        let mut arguments = vec!["run", "--detach", "--name", &self.name, "--publish", &published, "--env", &password];
        arguments.extend(["--shm-size", "256m", IMAGE]);
        let settings: Vec<String> = settings.iter().map(|(name, value)| format!("--{name}={value}")).collect();
        arguments.extend(settings.iter().map(String::as_str));
        succeed(&arguments);
    }

    /// The conninfo of the superuser, password included.
    #[must_use]
    pub fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres password='{}' dbname=postgres", self.port(), PASSWORD.replace('\'', "\\'"))
    }

    /// The published port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port.number()
    }

    /// Runs SQL statements inside the container, each in a transaction of its own, and returns the rows.
    ///
    /// # Panics
    /// When a statement fails.
    pub fn sql(&self, statements: &str) -> String {
        succeed(&["exec", &self.name, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statements]).trim_end().to_owned()
    }

    /// As `sql`, for a server that may be away or refuse.
    ///
    /// # Errors
    /// What psql says.
    pub fn try_sql(&self, statements: &str) -> Result<String, String> {
        let output = docker(&["exec", &self.name, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statements]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Runs a program of the image inside the container, and returns its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, program: &[&str]) -> String {
        succeed(&[&["exec", &self.name], program].concat())
    }

    /// Runs pgbench of the host's installation against it, which also proves that the published port and the password work.
    ///
    /// # Panics
    /// When it fails.
    pub fn pgbench(&self, installation: &Installation, arguments: &[&str]) {
        let mut command = Command::new(installation.program("pgbench"));
        command.args(arguments).arg(self.conninfo());
        let output = command.output().expect("run pgbench");
        assert!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts pgbench of the host's installation against it, which goes on until it is stopped or dropped.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn pgbench_background(&self, installation: &Installation, arguments: &[&str]) -> Load {
        let mut command = Command::new(installation.program("pgbench"));
        command.args(arguments).arg(self.conninfo());
        Load::start(command)
    }

    /// Stops the server and waits for its end.
    ///
    /// # Panics
    /// When docker fails.
    pub fn stop(&self, mode: StopMode) {
        self.signal(mode.signal().as_str());
        succeed(&["wait", &self.name]);
    }

    /// Kills the container with SIGKILL and waits for its end.
    ///
    /// # Panics
    /// When docker fails.
    pub fn kill9(&self) {
        self.signal("SIGKILL");
        succeed(&["wait", &self.name]);
    }

    /// Starts the stopped server again, on the same port, and waits until it takes connections.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&self) {
        succeed(&["start", &self.name]);
        self.wait_until_ready();
    }

    /// Stops (fast) and starts the server.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&self) {
        self.stop(StopMode::Fast);
        self.start_again();
    }

    /// Everything the server has logged, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        let output = docker(&["logs", &self.name]);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn signal(&self, signal: &str) {
        succeed(&["kill", "--signal", signal, &self.name]);
    }

    fn wait_until_ready(&self) {
        let ready = || docker(&["exec", &self.name, "pg_isready", "-q", "-h", "127.0.0.1"]).status.success();
        assert!(poll::try_until(START, ready), "the server in the container did not come up:\n{}", self.log());
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of the server in container {}:\n{}", self.name, self.log());
        }
        docker(&["rm", "--force", "--volumes", &self.name]);
    }
}

fn docker(arguments: &[&str]) -> Output {
    Command::new("docker").args(arguments).output().expect("run docker")
}

fn succeed(arguments: &[&str]) -> String {
    let output = docker(arguments);
    assert!(output.status.success(), "docker {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
