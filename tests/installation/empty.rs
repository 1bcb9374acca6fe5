//! Empty servers, into which everything is brought back.

use pg_fixtures::ServerUser;
use pg_fixtures::postgres::{Cluster, Installation};
use pg_fixtures::redis::{Program, Redis};

use super::living::{LIST, Portraits, SECRETS, Survivors, files, rows};
use super::recordings::Recordings;

/// What is there after the disaster, and what has to come back.
pub struct Empty {
    survivors: Survivors,
    portraits: Portraits,
}

impl Empty {
    pub const fn new(survivors: Survivors, portraits: Portraits) -> Self {
        Self { survivors, portraits }
    }

    fn run(&self, arguments: &[&str]) -> String {
        self.survivors.holdfast.run(arguments)
    }

    pub fn restores_the_cluster(&self) {
        let directory = self.survivors.root.join("restored");
        self.run(&["restore", "postgres/main", "--to", &directory.display().to_string()]);
        let cluster = Cluster::builder(&Installation::newest()).start_existing(&directory);
        cluster.wait_until(std::time::Duration::from_secs(120), "recovery ends", || {
            cluster.try_sql("postgres", "SELECT pg_is_in_recovery()").as_deref() == Ok("f")
        });
        assert_eq!(rows(&cluster), self.portraits.cluster);
        let role = cluster.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app'");
        assert_eq!(role, "t");
    }

    pub fn restores_the_dump(&self) {
        let cluster = Cluster::builder(&Installation::newest()).start();
        let (socket, port) = (cluster.socket_directory().display(), cluster.port());
        let to = format!("host={socket} port={port} user=postgres dbname=hopwhistle");
        self.run(&["restore", "dump/hopwhistle", "--to", &to]);
        assert_eq!(rows(&cluster), self.portraits.dump);
        assert_eq!(cluster.sql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'hopwhistle'"), "app");
    }

    pub fn restores_the_recordings(&self) {
        let empty = Recordings::empty();
        self.survivors.move_recordings(&empty.server.endpoint());
        self.run(&["restore", "bucket/recordings", "--apply"]);
        assert_eq!(empty.portrait(), self.portraits.recordings);
    }

    pub fn restores_redis(&self) {
        let mut server = Redis::stopped(&Program::named("redis"), "");
        ServerUser::current().own(&server.directory());
        self.run(&["restore", "redis/cache", "--to", &server.directory().display().to_string()]);
        server.restart();
        assert_eq!(server.client().portrait(), self.portraits.redis);
    }

    /// In place.
    pub fn restores_the_files(&self) {
        let shown = self.run(&["restore", "files/configs"]);
        assert!(shown.contains("api.toml") && shown.contains("add --apply"), "{shown}");
        self.run(&["restore", "files/configs", "--apply"]);
        assert_eq!(files(&self.survivors.root), self.portraits.files);
    }

    pub fn restores_the_secrets(&self) {
        assert_eq!(self.run(&["restore", "command/k8s-secrets", "--to", "-", "--quiet"]), SECRETS);
    }

    pub fn restores_the_lists(&self) {
        for resource in ["command/ssh-keys", "command/db-pools"] {
            assert_eq!(self.run(&["restore", resource, "--to", "-", "--quiet"]), LIST);
        }
    }
}
