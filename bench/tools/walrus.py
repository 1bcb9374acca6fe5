"""wal-rus, WAL-G in Rust: a program per segment that also pushes and fetches ahead."""

from ..process import environment, run


class WalRus:
    """One repository."""

    name = "wal-rus"

    def __init__(self, site, cluster, store=None):
        self.site, self.cluster, self.store = site, cluster, store
        self.home = site.directory(f"walrus-{'s3' if store else 'directory'}")
        self.count = 0

    @staticmethod
    def available(site):
        """Whether it is installed."""
        return site.program("walrus").exists()

    def prepare(self):
        """A new repository."""
        self.count += 1
        self.site.directory(f"{self.home.name}/repository")

    def variables(self, data=None):
        """Its configuration."""
        variables = {"WALG_COMPRESSION_METHOD": "lz4", "PGDATA": str(data or self.cluster.data), **self.cluster.environment()}
        if self.store:
            bucket = {"WALG_S3_PREFIX": f"s3://{self.store.BUCKET}/walrus-{self.count}", "AWS_ENDPOINT": self.store.endpoint()}
            return {**variables, **bucket, "AWS_S3_FORCE_PATH_STYLE": "true", **self.store.environment()}
        return {**variables, "WALG_FILE_PREFIX": str(self.home / "repository")}

    def command(self, data, *arguments):
        """A command for a shell, its configuration in front."""
        variables = [f"{name}={value}" for name, value in self.variables(data).items()]
        return " ".join(["env", *variables, str(self.site.program("walrus")), *arguments])

    def run(self, *arguments, data=None):
        """One command."""
        return run([self.site.program("walrus"), *arguments], env=environment(self.variables(data)))

    def begin(self, data=None):
        """Nothing runs beside."""

    def end(self, doing=None):
        """Nothing to stop."""

    def daemons(self):
        """None that stays."""
        return []

    def archive_command(self, data):
        """As in postgresql.conf."""
        return self.command(data, "wal-push", "%p")

    def restore_command(self, data):
        """As in postgresql.conf."""
        return self.command(data, "wal-fetch", "%f", '"%p"')

    def end_restore(self, doing):
        """What it started ends by itself."""

    def fetch(self, name, path):
        """One segment, by hand."""
        self.run("wal-fetch", name, str(path))

    def backup(self):
        """A full backup, read from the data directory."""
        self.run("backup-push", "--full", self.cluster.data)

    def restore(self, to):
        """The last backup, into a directory."""
        self.run("backup-fetch", str(to), "LATEST", data=to)

    def version(self):
        """As it says itself."""
        return self.run("--version").strip()
