"""Streaming: how fast a receiver catches up, and what that costs."""

import time

from .. import meter
from ..figures import Samples
from ..postgres import lsn
from ..process import Background, Failed, wait_until
from ..tools.holdfast import Holdfast
from ..wal import ORIGIN, SEGMENT, same_content

SLOT = "catching_up"


def measure(bench):
    """Ours and pg_receivewal, with and without compression, over the same WAL."""
    rate, cpu, sender = Samples("MB/s", 0), Samples("s", 2), Samples("s", 2)
    receivers = [Ours(bench), PgReceivewal(bench, "pg_receivewal", []), PgReceivewal(bench, "pg_receivewal lz4", ["--compress=lz4"])]
    for receiver in bench.in_turn(receivers):
        bench.say(f"streaming catch-up, {receiver.name}")
        seconds, used, sent = catch_up(bench, receiver)
        gigabytes = len(bench.workload.names) * SEGMENT / 1e9
        rate.add(receiver.name, gigabytes * 1000 / seconds)
        cpu.add(receiver.name, used / gigabytes)
        sender.add(receiver.name, sent / gigabytes)
    bench.results.add("streaming catch-up: rate", rate.figures(), target=600, higher_is_better=True)
    bench.results.add("the same: processor time of the receiver, per GB", cpu.figures(), target=2.0)
    bench.results.add("the same: processor time of the walsender, per GB", sender.figures(), peer_matters=False)


def catch_up(bench, receiver):
    """Receives all the WAL once. Returns seconds, the receiver's processor seconds, and the walsender's."""
    cluster = bench.workload.cluster
    new_slot(cluster)
    receiver.prepare()
    end = (segment_number(bench.workload.names[-1]) + 1) * SEGMENT
    session, counted, begun = cluster.session(), meter.Meter(), time.monotonic()
    receiver.begin()
    pid = wait_until(120, f"{receiver.name} streams", lambda: sender_of(session, receiver), pause=0.005)
    wait_until(600, f"{receiver.name} has caught up", lambda: (receiver.check(), stored(session) >= end)[1], pause=0.01)
    seconds, used, sent = time.monotonic() - begun, counted.cpu(), meter.process_cpu(pid)
    receiver.end()
    session.close()
    wait_until(30, "the slot is free", lambda: drop_slot(cluster))
    receiver.verify()
    return seconds, used, sent


def sender_of(session, receiver):
    """The walsender's process, once it is there; else 0."""
    where = f"WHERE application_name = '{receiver.application}' AND state IN ('catchup', 'streaming')"
    return int(session.ask(f"SELECT coalesce(max(pid), 0) FROM pg_stat_replication {where}"))


def stored(session):
    """How far the receiver says that it has synced."""
    return lsn(session.ask(f"SELECT coalesce(max(restart_lsn), '0/0') FROM pg_replication_slots WHERE slot_name = '{SLOT}'"))


def new_slot(cluster):
    """A slot that begins where the WAL begins."""
    cluster.sql(f"SELECT pg_copy_physical_replication_slot('{ORIGIN}', '{SLOT}')")


def drop_slot(cluster):
    """Whether the slot is gone."""
    free = f"FROM pg_replication_slots WHERE slot_name = '{SLOT}'"
    cluster.sql(f"SELECT pg_drop_replication_slot(slot_name) {free} AND NOT active")
    return cluster.sql(f"SELECT count(*) {free}") == "0"


def segment_number(name):
    """Which segment of its timeline it is."""
    return int(name[8:16], 16) << 8 | int(name[16:], 16)


class Ours:
    """The agent, into a directory, as it is configured by default."""

    name, application = "Holdfast", "holdfast"

    def __init__(self, bench):
        work = bench.workload
        self.bench = bench
        settings = [f'slot = "{SLOT}"']
        self.tool = bench.tool("streaming", lambda: Holdfast(bench.site, work.cluster, bench.results, label="streaming", postgres=settings))

    def prepare(self):
        """A new repository."""
        self.tool.prepare()

    def begin(self):
        """Starts it."""
        self.tool.begin(ready=False)

    def check(self):
        """Fails when it has ended."""
        self.tool.agent.check()

    def end(self):
        """Stops it."""
        self.tool.end("streaming catch-up")

    def verify(self):
        """Reads some segments back."""
        for name in self.bench.workload.names[:: max(1, len(self.bench.workload.names) // 8)]:
            back = self.bench.site.path("back")
            self.tool.fetch(name, back)
            if not same_content(self.bench.workload.segment(name), back):
                raise Failed(f"streamed segment {name} has other content")


class PgReceivewal:
    """PostgreSQL's own, which syncs each segment as it is finished."""

    application = "pg_receivewal"

    def __init__(self, bench, name, options):
        self.bench, self.name, self.options = bench, name, options
        self.folder = bench.site.scratch / "received"

    def prepare(self):
        """An empty folder."""
        self.bench.site.directory("received")

    def begin(self):
        """Starts it; a status is sent every second."""
        site, cluster = self.bench.site, self.bench.workload.cluster
        program = [site.postgres("pg_receivewal"), "-d", cluster.conninfo(), "-D", self.folder, "--slot", SLOT, "--status-interval=1"]
        self.process = Background([*program, *self.options], site.path("receivewal.log"))

    def check(self):
        """Fails when it has ended."""
        self.process.check()

    def end(self):
        """Stops it."""
        self.process.check()
        self.process.stop()

    def verify(self):
        """Compares some segments, where they are plain."""
        for name in self.bench.workload.names[:: max(1, len(self.bench.workload.names) // 8)]:
            plain = self.folder / name
            if plain.exists() and not same_content(self.bench.workload.segment(name), plain):
                raise Failed(f"pg_receivewal: segment {name} has other content")
