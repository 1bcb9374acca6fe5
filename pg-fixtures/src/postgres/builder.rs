//! How a cluster is made: `initdb`, its settings, its access rules.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Cluster, Installation};
use crate::{Scratch, ServerUser};

/// What every test cluster begins with. Nothing here weakens what a crash of the *process* must survive.
const DEFAULTS: [(&str, &str); 6] = [
    ("fsync", "off"),
    ("shared_buffers", "32MB"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("log_replication_commands", "on"),
    ("log_line_prefix", "%m [%p] %b "),
];

/// The plan of a cluster.
#[derive(Clone, Debug)]
pub struct Builder {
    installation: Installation,
    initdb_arguments: Vec<String>,
    settings: Vec<(String, String)>,
    hba: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
    environment: Vec<(String, String)>,
}

impl Builder {
    pub(super) fn new(installation: &Installation) -> Self {
        Self {
            installation: installation.clone(),
            initdb_arguments: vec![],
            settings: vec![],
            hba: vec![],
            files: vec![],
            environment: vec![],
        }
    }

    /// The size of WAL segments in MB: a power of two from 1 to 1024.
    #[must_use]
    pub fn wal_segment_size(self, megabytes: u32) -> Self {
        self.initdb_argument(&format!("--wal-segsize={megabytes}"))
    }

    /// Whether data pages carry checksums. Not called: `initdb` decides (on since version 18).
    #[must_use]
    pub fn data_checksums(self, on: bool) -> Self {
        match (on, self.installation.version()) {
            (true, _) => self.initdb_argument("--data-checksums"),
            (false, 18..) => self.initdb_argument("--no-data-checksums"),
            (false, _) => self,
        }
    }

    /// Another argument for `initdb`.
    #[must_use]
    pub fn initdb_argument(mut self, argument: &str) -> Self {
        self.initdb_arguments.push(argument.to_owned());
        self
    }

    /// A setting, written to `postgresql.conf` (or given on the command line of `start_existing`). The last one of a name counts.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A line of `pg_hba.conf`, placed before the lines that let everybody in. Lines keep their order.
    #[must_use]
    pub fn hba(mut self, line: &str) -> Self {
        self.hba.push(line.to_owned());
        self
    }

    /// A file in the data directory, such as a certificate, readable by the server alone.
    #[must_use]
    pub fn data_file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// An environment variable of the server.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes the cluster and starts its server.
    ///
    /// # Panics
    /// When `initdb` or the server fails, with its output.
    #[must_use]
    pub fn start(self) -> Cluster {
        let cluster = self.create();
        cluster.start();
        cluster
    }

    /// Makes the cluster without starting it.
    ///
    /// # Panics
    /// When `initdb` fails, with its output.
    #[must_use]
    pub fn create(self) -> Cluster {
        let scratch = Scratch::new();
        let data_directory = scratch.new_directory("data");
        self.initdb(&data_directory);
        self.write_settings(&data_directory);
        self.write_hba(&data_directory);
        for (name, content) in &self.files {
            write_private(&data_directory.join(name), content);
        }
        Cluster::new(self.installation, scratch, data_directory, vec![]).with_environment(self.environment)
    }

    /// Takes a data directory that is there (a restored one), in place, and starts a server on it on a free port and socket of its
    /// own. The settings of this builder are given on the command line, so they win over the directory's own.
    ///
    /// Ownership is left as it is: PostgreSQL refuses a directory of another user. `ServerUser::own_all` changes it.
    ///
    /// # Panics
    /// When the server does not come up, with the end of its log.
    #[must_use]
    pub fn start_existing(self, data_directory: &Path) -> Cluster {
        let cluster = self.adopt(data_directory);
        cluster.start();
        cluster
    }

    /// As `start_existing`, without starting the server.
    #[must_use]
    pub fn adopt(self, data_directory: &Path) -> Cluster {
        Cluster::new(self.installation, Scratch::new(), data_directory.to_owned(), self.settings)
            .with_environment(self.environment)
    }

    fn initdb(&self, data_directory: &Path) {
        let mut command = ServerUser::current().command(&self.installation.program("initdb"));
        command.args(["--username=postgres", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8", "--pgdata"]);
        let output = command.arg(data_directory).args(&self.initdb_arguments).output().expect("run initdb");
        assert!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn write_settings(&self, data_directory: &Path) {
        let path = data_directory.join("postgresql.conf");
        let mut text = fs::read_to_string(&path).expect("read postgresql.conf");
        let defaults = DEFAULTS.iter().map(|(name, value)| (*name, *value));
        for (name, value) in defaults.chain(self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))) {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        fs::write(&path, text).expect("write postgresql.conf");
    }

    fn write_hba(&self, data_directory: &Path) {
        let path = data_directory.join("pg_hba.conf");
        let rest = fs::read_to_string(&path).expect("read pg_hba.conf");
        fs::write(&path, format!("{}\n{rest}", self.hba.join("\n"))).expect("write pg_hba.conf");
    }
}

fn write_private(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("set the mode of a file");
    ServerUser::current().own(path);
}
