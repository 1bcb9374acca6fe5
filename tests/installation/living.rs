//! The installation while it lives: its servers, its files, and the program with the example's configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use holdfast::pg::Lsn;
use pg_fixtures::agent::Holdfast;
use pg_fixtures::postgres::{Cluster, StopMode};
use pg_fixtures::redis::{Program, Redis};
use pg_fixtures::s3::SeaweedFs;
use pg_fixtures::{FreePort, ServerUser};
use serde_json::Value;

use super::recordings::{self, Recordings, bucket_for_backups};

const EXAMPLE: &str = include_str!("../../docs/examples/hopwhistle.toml");
/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);
/// What stands in the example for the recipient.
const RECIPIENT: &str = "age1...what-holdfast-key-new-prints...";
/// Where the example has the recordings.
const MINIO: &str = "http://minio.hopwhistle.internal:9000";
/// The directories of the example, each with another one below the scratch directory in its place.
const PLACES: [&str; 5] =
    ["/etc/holdfast", "/run/holdfast", "/etc/hopwhistle", "/opt/hopwhistle/config", "/var/lib/hopwhistle/secrets"];
/// What `kubectl` prints.
pub const SECRETS: &str = "apiVersion: v1\nitems:\n- data:\n    password: bWFyc2hhbGwtaXNsYW5k\n  kind: Secret\n";
/// What `doctl` prints, whatever it is asked.
pub const LIST: &str = "ID    Name    FingerPrint\n512189    deploy    3b:16:bf:e4\n";

const SCHEMA: &str = "
    CREATE TABLE tenants (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE calls (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant int REFERENCES tenants, seconds int, note text);
    INSERT INTO tenants SELECT i, 'tenant ' || i FROM generate_series(1, 50) AS i;
    INSERT INTO calls (tenant, seconds, note) SELECT 1 + i % 50, i, md5(i::text) FROM generate_series(1, 20000) AS i;";

/// What each resource has, as its own tools tell it.
pub struct Portraits {
    pub cluster: String,
    pub dump: String,
    pub redis: String,
    pub recordings: recordings::Portrait,
    pub files: String,
}

/// Everything that runs.
pub struct Installation {
    pub holdfast: Holdfast,
    cluster: Cluster,
    redis: Redis,
    recordings: Recordings,
    root: PathBuf,
    seaweed: SeaweedFs,
    port: FreePort,
}

/// What is left after the disaster: the store and the program, on another host.
pub struct Survivors {
    pub holdfast: Holdfast,
    /// Where the recordings were.
    minio: String,
    pub root: PathBuf,
    _seaweed: SeaweedFs,
    _port: FreePort,
}

impl Installation {
    pub fn start() -> Self {
        let programs = pg_fixtures::postgres::Installation::newest();
        let builder =
            Cluster::builder(&programs).hba("local all holdfast scram-sha-256").hba("local replication holdfast scram-sha-256");
        let cluster = builder.start();
        cluster.sql(
            "CREATE ROLE holdfast LOGIN REPLICATION PASSWORD 'hush-hush-holdfast';
             GRANT pg_monitor, pg_read_all_data TO holdfast; CREATE ROLE app LOGIN PASSWORD 'hush-hush-app';
             CREATE DATABASE hopwhistle OWNER app",
        );
        cluster.sql_in("hopwhistle", SCHEMA);
        let redis = Redis::start(&Program::named("redis"), "");
        for number in 0..200 {
            redis.ask(&["SET", &format!("session:{number}"), &format!("value {number}")]);
        }
        redis.ask(&["HSET", "limits", "a", "1", "b", "2"]);
        let seaweed = SeaweedFs::start();
        bucket_for_backups(&seaweed);
        let port = FreePort::take();
        let holdfast = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), "");
        let root = holdfast.scratch().path().to_owned();
        let path =
            format!("{}:{}", root.join("bin").display(), programs.program("psql").parent().expect("a directory").display());
        let path = format!("{path}:{}", std::env::var("PATH").expect("a path"));
        let holdfast = holdfast.environment("PATH", &path);
        let recordings = Recordings::with_content();
        let installation = Self { holdfast, cluster, redis, recordings, root, seaweed, port };
        installation.furnish();
        installation.holdfast.configure(&installation.configuration());
        installation.holdfast.run(&["init"]);
        installation
    }

    /// The place of a directory of the example.
    pub fn place(&self, directory: &str) -> PathBuf {
        place(&self.root, directory)
    }

    /// The example with the addresses and paths of this machine.
    fn configuration(&self) -> String {
        let shown = run(Command::new("age-keygen").arg("-y").arg(self.place("/etc/holdfast").join("identity")));
        let (cluster, socket) = (&self.cluster, self.cluster.socket_directory().display());
        let addresses = [
            (MINIO.to_owned(), self.recordings.server.endpoint()),
            ("https://s3.backup.hopwhistle.internal".to_owned(), self.seaweed.endpoint()),
            ("db.hopwhistle.internal port=5432".to_owned(), format!("{socket} port={}", cluster.port())),
            ("redis.hopwhistle.internal:6379".to_owned(), format!("127.0.0.1:{}", self.redis.port())),
            ("127.0.0.1:9187".to_owned(), format!("127.0.0.1:{}", self.port.number())),
            (RECIPIENT.to_owned(), shown.trim().to_owned()),
        ];
        let places = PLACES.map(|directory| (directory.to_owned(), self.place(directory).display().to_string()));
        addresses.into_iter().chain(places).fold(EXAMPLE.to_owned(), |text, (from, to)| {
            assert!(text.contains(&from), "the example has no {from}");
            text.replace(&from, &to)
        })
    }

    /// Makes the files of the host.
    fn furnish(&self) {
        for directory in PLACES {
            fs::create_dir_all(self.place(directory)).expect("create a directory");
        }
        let etc = self.place("/etc/holdfast");
        run(Command::new("age-keygen").arg("-o").arg(etc.join("identity")));
        for server in ["backup", "minio"] {
            write(&etc.join(format!("{server}-access-key-id")), SeaweedFs::ACCESS_KEY_ID, 0o600);
            write(&etc.join(format!("{server}-secret-access-key")), SeaweedFs::SECRET_ACCESS_KEY, 0o600);
        }
        write(&etc.join("pgpass"), "*:*:*:holdfast:hush-hush-holdfast\n", 0o600);
        write(&self.place("/etc/hopwhistle").join("api.toml"), "listen = \"0.0.0.0:8080\"\n", 0o644);
        write(&self.place("/opt/hopwhistle/config").join("features.json"), "{ \"recording\": true }\n", 0o640);
        write(&self.place("/var/lib/hopwhistle/secrets").join("signing.key"), "hush-hush-signing", 0o600);
        let bin = self.root.join("bin");
        fs::create_dir(&bin).expect("create a directory");
        write(
            &bin.join("kubectl"),
            &format!("#!/bin/bash\n[ \"$*\" = 'get secrets -n hopwhistle -o yaml' ] || exit 9\ncat <<'END'\n{SECRETS}END\n"),
            0o755,
        );
        write(&bin.join("doctl"), &format!("#!/bin/bash\ncat <<'END'\n{LIST}END\n"), 0o755);
        ServerUser::current().own_all(&self.root);
    }

    fn backups(&self, resource: &str) -> usize {
        let text = self.holdfast.run(&["backups", resource, "--output", "json"]);
        let json: Value = serde_json::from_str(&text).expect("JSON");
        json["backups"].as_array().map_or(0, Vec::len)
    }

    fn wait_for_backups(&self, resource: &str, count: usize) {
        self.holdfast.wait_until(DEADLINE, &format!("{count} backups of {resource}"), || self.backups(resource) >= count);
    }

    /// Everything that has a schedule, or is backed up on change, gets its first backup at once.
    pub fn wait_for_first_backups(&self) {
        for resource in [
            "postgres/main",
            "bucket/recordings",
            "redis/cache",
            "files/configs",
            "command/k8s-secrets",
            "command/ssh-keys",
            "command/db-pools",
        ] {
            self.wait_for_backups(resource, 1);
        }
    }

    /// Life goes on after the first backups: what it does to the cluster comes back by WAL, what it does to the files by itself.
    pub fn change(&self) {
        self.cluster.sql_in(
            "hopwhistle",
            "INSERT INTO calls (tenant, seconds, note) SELECT 7, i, 'later' FROM generate_series(1, 500) AS i",
        );
        let (etc, opt) = (self.place("/etc/hopwhistle"), self.place("/opt/hopwhistle/config"));
        write(&etc.join("api.toml.new"), "listen = \"0.0.0.0:9090\"\n", 0o644);
        write(&opt.join("new/limits.json"), "{}\n", 0o640);
        ServerUser::current().own_all(&self.root);
        fs::rename(etc.join("api.toml.new"), etc.join("api.toml")).expect("rename");
    }

    pub fn wait_until_changes_are_stored(&self) {
        let flushed: Lsn = self.cluster.sql("SELECT pg_current_wal_flush_lsn()").parse().expect("a position");
        let recoverable = || -> Option<Lsn> {
            let status: Value = serde_json::from_str(&self.holdfast.run(&["status", "--output", "json"])).expect("JSON");
            status["clusters"][0]["windows"].as_array()?.last()?["to"].as_str()?.parse().ok()
        };
        self.holdfast.wait_until(DEADLINE, "all WAL is stored", || recoverable().is_some_and(|to| to >= flushed));
        let restored = self.root.join("look");
        let below = restored.join(self.root.strip_prefix("/").expect("an absolute path"));
        let stored = || {
            let to = restored.display().to_string();
            self.holdfast.run(&["restore", "files/configs", "--to", &to, "--apply", "--delete-extra"]);
            files(&below) == files(&self.root)
        };
        self.holdfast.wait_until(DEADLINE, "the changed files are stored", stored);
        fs::remove_dir_all(&restored).expect("remove what was looked at");
    }

    /// Takes a dump, and returns what it holds.
    pub fn dump(&self) -> String {
        self.holdfast.run(&["backup", "dump/hopwhistle"]);
        rows(&self.cluster)
    }

    pub fn portraits(&self, dump: String) -> Portraits {
        Portraits {
            cluster: rows(&self.cluster),
            dump,
            redis: self.redis.client().portrait(),
            recordings: self.recordings.portrait(),
            files: files(&self.root),
        }
    }

    /// Everything but the store is gone.
    pub fn lose(self) -> Survivors {
        self.holdfast.kill9();
        self.cluster.stop(StopMode::Immediate);
        let endpoint = self.recordings.server.endpoint();
        for directory in &PLACES[2..] {
            fs::remove_dir_all(self.place(directory)).expect("remove a directory");
        }
        Survivors { minio: endpoint, holdfast: self.holdfast, root: self.root, _seaweed: self.seaweed, _port: self.port }
    }
}

impl Survivors {
    /// The recordings are to be found elsewhere now.
    pub fn move_recordings(&self, endpoint: &str) {
        let text = fs::read_to_string(self.holdfast.configuration()).expect("a configuration");
        assert!(text.contains(&self.minio));
        self.holdfast.configure(&text.replace(&self.minio, endpoint));
    }
}

fn place(root: &Path, directory: &str) -> PathBuf {
    root.join(directory.trim_start_matches('/'))
}

/// Every row of the database, in order.
pub fn rows(cluster: &Cluster) -> String {
    cluster.sql_in("hopwhistle", "SELECT * FROM tenants ORDER BY id; SELECT * FROM calls ORDER BY id")
}

/// Every configuration file: its path, mode, owner and content.
pub fn files(root: &Path) -> String {
    let script =
        r#"cd "$0" && for d in "$@"; do find ".$d" -printf '%p %y %m %U %G\n'; find ".$d" -type f -exec b3sum {} +; done | sort"#;
    run(Command::new("bash").arg("-c").arg(script).arg(root).args(&PLACES[2..]))
}

fn write(path: &Path, content: &str, mode: u32) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("create a directory");
    fs::write(path, content).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set the mode");
}

/// Runs a public program; what it writes.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
