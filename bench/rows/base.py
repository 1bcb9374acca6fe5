"""Full backups and their restore."""

import time

from .. import meter
from ..figures import Samples
from ..process import run
from ..tools.holdfast import Holdfast
from ..tools.pgbackrest import PgBackRest
from ..tools.walrus import WalRus


def measure(bench):
    """Seconds and processor seconds, the server's walsender included, for each class of compression."""
    cluster = bench.workload.cluster
    bench.say(f"pgbench tables, scale {bench.size.base_scale}")
    cluster.sql("CREATE DATABASE base")
    cluster.client("pgbench", "-i", "-q", "-s", bench.size.base_scale, "base")
    cluster.sql("CHECKPOINT")
    for compression in ["lz4", "zstd"]:
        full(bench, compression)


def tools_for(bench, compression):
    """Everything that takes full backups, in one class of compression."""
    site, cluster, results = bench.site, bench.workload.cluster, bench.results
    settings = {"postgres": [f'slot = "base_{compression}"'], "compression": compression}
    tools = [Holdfast(site, cluster, results, label=f"base-{compression}", **settings), PgBasebackup(site, cluster, compression)]
    if bench.peers and PgBackRest.available():
        tools.append(PgBackRest(site, cluster, False, compression="zst" if compression == "zstd" else "lz4"))
        tools[-1].name = "pgBackRest"
    if bench.peers and WalRus.available(site) and compression == "lz4":
        tools.append(WalRus(site, cluster))
    return tools


def full(bench, compression):
    """One class of compression."""
    seconds, cpu, stored, back, back_cpu = Samples("s"), Samples("s"), Samples("MB", 0), Samples("s"), Samples("s")
    tools = tools_for(bench, compression)
    for tool in tools:
        bench.tools[(compression, tool.name)] = tool
        tool.prepare()
    for tool in bench.in_turn(tools):
        bench.say(f"full backup, {compression}, {tool.name}")
        took, used = backup(bench, tool)
        seconds.add(tool.name, took)
        cpu.add(tool.name, used)
        stored.add(tool.name, size_of(tool.home))
        took, used = restore(bench, tool)
        back.add(tool.name, took)
        back_cpu.add(tool.name, used)
    bench.results.add(f"full backup, {compression}: time", seconds.figures())
    bench.results.add("the same: processor time of everything", cpu.figures())
    bench.results.add("the same: repository, with its WAL", stored.figures())
    bench.results.add(f"restore, {compression}: time, synced", back.figures())
    bench.results.add("the same: processor time of everything", back_cpu.figures())


def size_of(folder):
    """What a folder holds, in megabytes."""
    return int(run(["du", "-sb", folder]).split()[0]) / 1e6


def backup(bench, tool):
    """Takes one. Returns seconds and processor seconds, the server's share included."""
    tool.prepare()
    tool.begin(bench.workload.cluster.data)
    server = server_cpu(bench)
    counted, begun = meter.Meter(), time.monotonic()
    tool.backup()
    took, used = time.monotonic() - begun, counted.cpu()
    tool.end("full backup")
    return took, used + server_cpu(bench) - server


def server_cpu(bench):
    """Processor seconds of the server and of its processes that have ended."""
    return meter.process_cpu(bench.workload.cluster.server.pid)


def restore(bench, tool):
    """Restores the backup, to disk. Returns seconds and processor seconds."""
    to = bench.site.directory("restored-base")
    counted, begun = meter.Meter(), time.monotonic()
    tool.restore(to)
    run(["sync", "-f", to])
    took, used = time.monotonic() - begun, counted.cpu()
    bench.site.path("restored-base")
    return took, used


class PgBasebackup:
    """PostgreSQL's own, compressing at the server."""

    def __init__(self, site, cluster, compression):
        self.site, self.cluster, self.compression = site, cluster, compression
        self.name = "pg_basebackup"
        self.home = site.directory("basebackup")

    def prepare(self):
        """An empty folder."""
        self.site.directory("basebackup")

    def begin(self, data=None):
        """Nothing runs beside."""

    def end(self, doing=None):
        """Nothing to stop."""

    def daemons(self):
        """None."""
        return []

    def backup(self):
        """Tar, synced, with the WAL it needs."""
        method = ["-F", "tar", "-X", "fetch", "-c", "fast", f"--compress=server-{self.compression}:level=1"]
        self.cluster.client("pg_basebackup", "-D", self.home / "backup", *method)

    def restore(self, to):
        """With tar and the compressor."""
        suffix = {"lz4": "lz4", "zstd": "zst"}[self.compression]
        archive = self.home / f"backup/base.tar.{suffix}"
        program = {"lz4": "lz4 -dc", "zstd": "zstd -dcq"}[self.compression]
        run(["sh", "-c", f"{program} {archive} | tar -x -C {to}"])
