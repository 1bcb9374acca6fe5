"""PostgreSQL servers, local, with their programs and a way to ask them often."""

import subprocess
from pathlib import Path

from . import meter
from .process import Background, Failed, run, wait_until
from .site import free_port

# `wal_keep_size` keeps all WAL of a run in place; nothing else than what is measured should work meanwhile.
SETTINGS = """
listen_addresses = ''
max_connections = 50
shared_buffers = 256MB
wal_level = replica
wal_keep_size = 20GB
max_wal_size = 2GB
checkpoint_timeout = 1h
max_wal_senders = 10
max_replication_slots = 10
autovacuum = off
wal_sender_timeout = 60s
log_line_prefix = '%m '
log_min_messages = log
"""


class Cluster:
    """A server with its data directory and its socket's directory."""

    def __init__(self, site, data, settings=""):
        self.site, self.data, self.port = site, Path(data), free_port()
        self.log = self.data.with_name(self.data.name + ".log")
        self.server = None
        self.settings = settings

    def initialise(self):
        """Makes a new cluster."""
        run([self.site.postgres("initdb"), "-N", "-D", self.data, "-U", "postgres", "-A", "trust", "--no-locale", "-E", "UTF8"])
        self.configure(SETTINGS)

    def configure(self, settings):
        """Appends to its configuration."""
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write(settings)

    def start(self, ready=True):
        """Starts the server, and waits until it answers where `ready`."""
        # A socket's path may have 107 bytes.
        options = ["-D", self.data, "-p", self.port, "-k", self.site.scratch]
        self.server = Background([self.site.postgres("postgres"), *options], self.log)
        meter.LEFT_OUT.add(self.server.pid)
        if ready:
            wait_until(120, "PostgreSQL answers", self.answers)

    def answers(self):
        """Whether it takes connections."""
        self.server.check()
        asked = [self.site.postgres("pg_isready"), "-q", "-h", self.site.scratch, "-p", str(self.port)]
        return subprocess.run([str(a) for a in asked], check=False).returncode == 0

    def stop(self, mode="fast"):
        """Stops the server."""
        run([self.site.postgres("pg_ctl"), "stop", "-w", "-t", "120", "-m", mode, "-D", self.data])
        self.server.stop()
        meter.LEFT_OUT.discard(self.server.pid)

    def client(self, name, *arguments):
        """Runs one of PostgreSQL's client programs on it, and returns its output."""
        connection = ["-h", self.site.scratch, "-p", self.port, "-U", "postgres"]
        return run([self.site.postgres(name), *connection, *arguments])

    def sql(self, statement, database="postgres"):
        """Runs one statement and returns its result as text."""
        return self.client("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement).strip()

    def session(self):
        """A connection that stays open."""
        return Session(self)

    def conninfo(self):
        """How to reach it."""
        return f"host={self.site.scratch} port={self.port} user=postgres dbname=postgres"

    def environment(self):
        """The same, for programs that read libpq's variables."""
        return {"PGHOST": str(self.site.scratch), "PGPORT": str(self.port), "PGUSER": "postgres", "PGDATABASE": "postgres"}

    def system_identifier(self):
        """As a string of digits."""
        return self.sql("SELECT system_identifier FROM pg_control_system()")


class Session:
    """A psql that stays connected: a question takes a fraction of a millisecond."""

    def __init__(self, cluster):
        arguments = [cluster.site.postgres("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", cluster.conninfo()]
        self.process = subprocess.Popen([str(a) for a in arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        meter.LEFT_OUT.add(self.process.pid)

    def ask(self, statement):
        """Runs a statement that returns one line."""
        self.process.stdin.write(statement + ";\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"psql ended at: {statement}")
        return line.rstrip("\n")

    def close(self):
        """Ends it."""
        self.process.stdin.close()
        self.process.wait()
        meter.LEFT_OUT.discard(self.process.pid)


def lsn(text):
    """A position as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def version(site):
    """Such as `PostgreSQL 15.14`."""
    words = run([site.postgres("postgres"), "--version"]).split()
    return f"PostgreSQL {words[2]}"
