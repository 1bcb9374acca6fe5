"""restore_command: seconds as PostgreSQL sees them, processor time of everything together, and a segment that does not exist."""

import statistics

from .. import meter
from ..figures import Samples
from ..process import Failed, Server
from ..wal import same_content, segment_name

# A segment that is past all that is stored.
BEYOND = segment_name(1 << 24)


def measure(bench):
    """The rows of a directory and a bucket, as fast as can be and at the speed of a replay, and of what is absent."""
    names = bench.workload.names
    seconds, cpu, absent = Samples("ms"), Samples("ms"), Samples("ms")
    for tool in bench.in_turn(bench.restoring_tools()):
        bench.filled(tool)
        bench.say(f"restore_command, {tool.name}")
        took, used, missing = one_by_one(bench, tool, names)
        seconds.add(tool.name, statistics.mean(took) * 1000)
        cpu.add(tool.name, used * 1000)
        absent.add(tool.name, missing * 1000)
    bench.results.add(f"`restore_command`, {len(names)} segments at once: time per segment", seconds.figures())
    bench.results.add("the same: processor time of everything, per segment", cpu.figures(), target=22)
    bench.results.add("a segment that does not exist", absent.figures(), target=5)
    paced(bench)
    in_bucket(bench)


def paced(bench):
    """As a server asks that replays between: every 60 ms."""
    names = bench.workload.names[: bench.size.paced_segments]
    samples = Samples("ms")
    for tool in bench.in_turn(bench.restoring_tools()):
        bench.say(f"restore_command every 60 ms, {tool.name}")
        took, _, _ = one_by_one(bench, tool, names, pause=0.06)
        samples.add(tool.name, statistics.median(took) * 1000)
    bench.results.add("`restore_command`, 60 ms of replay between: time", samples.figures(), target=3)


def in_bucket(bench):
    """The same from S3."""
    seconds, cpu = Samples("ms"), Samples("ms")
    for tool in bench.in_turn(bench.bucket_tools()):
        bench.filled(tool)
        bench.say(f"restore_command from S3, {tool.name}")
        took, used, _ = one_by_one(bench, tool, bench.workload.names)
        seconds.add(tool.name, statistics.mean(took) * 1000)
        cpu.add(tool.name, used * 1000)
    if seconds.values:
        bench.results.add("`restore_command` from S3: time per segment", seconds.figures())
        bench.results.add("the same: processor time of everything, per segment", cpu.figures())


def one_by_one(bench, tool, names, pause=0.0):
    """Restores segments. Returns the seconds of each, the processor seconds of one, and the seconds that an absent one took."""
    data = bench.site.directory("restoring")
    (data / "pg_wal").mkdir()
    bench.workload.pretend(data)
    kept = bench.site.directory("restored")
    if hasattr(tool, "begin_restore"):
        tool.begin_restore()
    took = []
    with Server(data, bench.site.path("restoring.log")) as server:
        command = tool.restore_command(data)
        counted = meter.Meter()
        for name in names:
            bench.pause(pause)
            took.append(server.call(command, name, "pg_wal/RECOVERYXLOG"))
            (data / "pg_wal/RECOVERYXLOG").rename(kept / name)
        used = counted.cpu() / len(names)
        missing = statistics.median(server.call(command, BEYOND, "pg_wal/RECOVERYXLOG", expected=1) for _ in range(10))
        tool.end_restore("restore_command")
    finish(bench, data)
    for name in names:
        if not same_content(bench.workload.segment(name), kept / name):
            raise Failed(f"{tool.name}: segment {name} came back with other content")
    bench.site.path("restored")
    return took, used, missing


def finish(bench, data):
    """Removes a data directory, and waits until what served it has seen that."""
    bench.site.path(data.name)
    meter.settle(30, keep=bench.running())
