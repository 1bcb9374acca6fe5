"""pgBackRest, of the distribution: synchronous or asynchronous, in a directory or in a bucket."""

import shutil

from .. import s3
from ..process import run


class PgBackRest:
    """One repository with one stanza."""

    def __init__(self, site, cluster, asynchronous, store=None, compression="lz4"):
        self.site, self.cluster, self.asynchronous, self.store = site, cluster, asynchronous, store
        self.name = f"pgBackRest {'async' if asynchronous else 'sync'}"
        self.home = site.directory(f"pgbackrest-{'async' if asynchronous else 'sync'}-{'s3' if store else 'directory'}-{compression}")
        self.config = self.home / "pgbackrest.conf"
        self.compression = compression
        self.count = 0

    @staticmethod
    def available():
        """Whether it is installed."""
        return shutil.which("pgbackrest") is not None

    def prepare(self):
        """A new repository."""
        self.count += 1
        for name in ["repository", "spool"]:
            self.site.path(f"{self.home.name}/{name}").mkdir()
        self.config.write_text(self.configuration())
        self.run("--no-online", f"--pg1-path={self.cluster.data}", "stanza-create")

    def configuration(self):
        """The configuration file; both may use both processors."""
        lines = [f"{name}={self.home / name.removesuffix('-path')}" for name in ["lock-path", "log-path", "spool-path"]]
        lines += [f"archive-async={'y' if self.asynchronous else 'n'}", f"compress-type={self.compression}", "process-max=2"]
        lines += ["log-level-console=warn", "log-level-file=off", "start-fast=y"]
        if self.compression == "zst":
            lines.append("compress-level=1")
        lines += self.bucket() if self.store else [f"repo1-path={self.home}/repository"]
        server = [f"pg1-socket-path={self.site.scratch}", f"pg1-port={self.cluster.port}", "pg1-user=postgres"]
        return "\n".join(["[global]", *lines, "[main]", *server, f"pg1-path={self.cluster.data}"]) + "\n"

    def bucket(self):
        """S3, which it speaks with TLS only; the certificate is not checked, which is less work."""
        return [
            "repo1-type=s3",
            f"repo1-path=/pgbackrest-{self.count}",
            f"repo1-s3-bucket={self.store.BUCKET}",
            "repo1-s3-endpoint=localhost",
            f"repo1-storage-port={self.store.tls_port}",
            "repo1-s3-region=us-east-1",
            f"repo1-s3-key={s3.KEY}",
            f"repo1-s3-key-secret={s3.SECRET}",
            "repo1-s3-uri-style=path",
            "repo1-storage-verify-tls=n",
        ]

    def base(self):
        """How every command begins."""
        return ["pgbackrest", f"--config={self.config}", "--stanza=main"]

    def run(self, *arguments):
        """One command."""
        return run([*self.base(), *arguments])

    def begin(self, data=None):
        """Nothing runs beside: it starts what it needs."""

    def end(self, doing=None):
        """Nothing to stop."""

    def daemons(self):
        """None that stays."""
        return []

    def archive_command(self, data):
        """As in postgresql.conf."""
        return " ".join([*self.base(), f"--pg1-path={data}", "archive-push", "%p"])

    def restore_command(self, data):
        """As `pgbackrest restore` writes it."""
        return " ".join([*self.base(), f"--pg1-path={data}", "archive-get", "%f", '"%p"'])

    def begin_restore(self):
        """A recovery begins with an empty spool."""
        self.site.path(f"{self.home.name}/spool").mkdir()

    def end_restore(self, doing):
        """What it started ends by itself."""

    def fetch(self, name, path):
        """One segment, by hand."""
        self.run("--no-archive-async", "archive-get", name, path)

    def backup(self):
        """A full backup."""
        self.run("--type=full", "--no-archive-check", "backup")

    def restore(self, to):
        """The last backup, into a directory."""
        self.run(f"--pg1-path={to}", "--type=immediate", "restore")

    @staticmethod
    def version():
        """As it says itself."""
        return run(["pgbackrest", "version"]).strip()
