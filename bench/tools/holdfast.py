"""Ours: the agent, the two programs that PostgreSQL starts, and the command line."""

import getpass

from .. import meter, s3
from ..process import Background, run, wait_until
from ..site import free_port

SHIM = "holdfast-archive-command"
RESTORE_SHIM = "holdfast-restore-command"


class Holdfast:
    """One repository, in a directory or in a bucket."""

    name = "Holdfast"

    def __init__(self, site, cluster, results, store=None, label="", **settings):
        self.site, self.cluster, self.results, self.store, self.settings = site, cluster, results, store, settings
        self.label = label or ("s3" if store else "directory")
        self.home = site.directory(f"holdfast-{self.label}")
        self.config, self.socket = self.home / "holdfast.toml", self.home / "agent.sock"
        self.port = free_port()
        self.agent = None
        self.count = 0

    def prepare(self):
        """A new repository."""
        self.count += 1
        self.site.path(f"{self.home.name}/repository")
        self.config.write_text(self.configuration())
        self.config.chmod(0o600)
        self.run("init")

    def configuration(self):
        """The configuration file."""
        repository = [f'url = "file://{self.home}/repository"']
        if self.store:
            repository = [
                f'url = "s3://{self.store.BUCKET}/{self.label}-{self.count}"',
                f'endpoint = "{self.store.endpoint()}"',
                f'access_key_id = "{s3.KEY}"\nsecret_access_key = "{s3.SECRET}"',
            ]
        if "compression" in self.settings:
            repository.append(f'compression = "{self.settings["compression"]}"')
        agent = [f'listen = "127.0.0.1:{self.port}"', f'socket = "{self.socket}"', f'archive_user = "{getpass.getuser()}"']
        postgres = [f'conninfo = "{self.cluster.conninfo()}"', *self.settings.get("postgres", ["stream = false"])]
        sections = {"repository": repository, "agent": agent, "postgres.main": postgres}
        return "\n".join(f"[{name}]\n" + "\n".join(lines) for name, lines in sections.items()) + "\n"

    def environment(self):
        """What every command of ours is given."""
        return {"HOLDFAST_CONFIG": str(self.config)}

    def run(self, *arguments):
        """One command."""
        return run([self.site.program("holdfast"), *arguments], env=self.environment())

    def begin(self, _data=None, ready=True):
        """Starts the agent, and waits for its socket where `ready`."""
        self.agent = Background([self.site.program("holdfast"), "agent"], self.home / "agent.log", env=self.environment())
        if ready:
            wait_until(30, "the agent listens", self.listens)

    def listens(self):
        """Whether the socket is there."""
        self.agent.check()
        return self.socket.exists()

    def end(self, doing=None):
        """Stops the agent, and notes how much memory it had."""
        if self.agent:
            self.agent.check()
            if doing:
                self.results.saw_memory(f"agent, {doing}", meter.peak_memory(self.agent.pid))
            self.agent.stop()
            self.agent = None

    def daemons(self):
        """What runs on between commands."""
        return [self.agent.pid] if self.agent else []

    def archive_command(self, _data):
        """As in postgresql.conf."""
        return f"{self.site.program(SHIM)} --socket {self.socket} --config {self.config} --resource postgres/main %p"

    def restore_command(self, _data):
        """As `holdfast restore` writes it."""
        lineage = self.cluster.system_identifier()
        return f'{self.site.program(RESTORE_SHIM)} --config {self.config} --resource postgres/main --lineage {lineage} %f "%p"'

    def end_restore(self, doing):
        """Waits for nothing: the WAL server ends when its folder is gone. Notes its memory."""
        for pid in self.wal_servers():
            self.results.saw_memory(f"WAL server, {doing}", meter.peak_memory(pid))

    def wal_servers(self):
        """The servers that the restore shim started."""
        return [pid for pid in meter.named("holdfast") if pid not in self.daemons()]

    def fetch(self, name, path):
        """One segment, by hand."""
        self.run("wal", "fetch", name, path)

    def backup(self):
        """A full backup."""
        self.run("backup", "postgres/main")

    def restore(self, to):
        """The last backup and the WAL it needs, into a directory."""
        self.run("restore", "postgres/main", "--to", to, "--target", "immediate")

    def version(self):
        """As it says itself."""
        return self.run("--version").strip()
