"""archive_command: seconds as PostgreSQL sees them, and processor time of everything together, for segments that all wait."""

import statistics

from .. import meter
from ..figures import Samples
from ..process import Failed, Server
from ..wal import same_content


def measure(bench):
    """The rows of a directory, of a bucket, and of segments that come one by one."""
    work = bench.workload
    seconds, cpu = Samples("ms"), Samples("ms")
    for tool in bench.in_turn(bench.directory_tools()):
        bench.say(f"archive_command, {tool.name}")
        took, used = one_by_one(bench, tool, work.names)
        seconds.add(tool.name, sum(took) / len(work.names) * 1000)
        cpu.add(tool.name, used * 1000)
    bench.results.add(f"`archive_command`, {len(work.names)} segments waiting: time per segment", seconds.figures(), target=20)
    bench.results.add("the same: processor time of everything, per segment", cpu.figures(), target=30)
    paced(bench)
    in_bucket(bench)


def paced(bench):
    """A server that is slower than the store: a segment every 100 ms, the next ones being ready already."""
    samples = Samples("ms")
    names = bench.workload.names[: bench.size.paced_segments]
    for tool in bench.in_turn([tool for tool in bench.directory_tools() if tool.name != "lz4, synced"]):
        bench.say(f"archive_command every 100 ms, {tool.name}")
        took, _ = one_by_one(bench, tool, names, pause=0.1)
        samples.add(tool.name, statistics.median(took) * 1000)
    bench.results.add("`archive_command`, a segment every 100 ms, more waiting: time", samples.figures(), target=3)


def in_bucket(bench):
    """The same into S3."""
    seconds, cpu = Samples("ms"), Samples("ms")
    for tool in bench.in_turn(bench.bucket_tools()):
        bench.say(f"archive_command to S3, {tool.name}")
        took, used = one_by_one(bench, tool, bench.workload.names)
        seconds.add(tool.name, sum(took) / len(bench.workload.names) * 1000)
        cpu.add(tool.name, used * 1000)
    if seconds.values:
        bench.results.add("`archive_command` to S3: time per segment", seconds.figures())
        bench.results.add("the same: processor time of everything, per segment", cpu.figures())


def one_by_one(bench, tool, names, pause=0.0):
    """Archives segments into a new repository. Returns the seconds of each, and the processor seconds of one."""
    data = bench.workload.archive_directory("archiving", names)
    tool.prepare()
    tool.begin(data)
    try:
        took, used = drive(bench, tool, data, names, pause)
        tool.end("archive_command")
    finally:
        tool.end()
    check(bench, tool, names)
    return took, used


def drive(bench, tool, data, names, pause=0.0):
    """Does what the archiver does: the oldest segment that is ready, again and again."""
    status = data / "pg_wal/archive_status"
    took = []
    with Server(data, bench.site.path("archiving.log")) as server:
        command = tool.archive_command(data)
        counted = meter.Meter()
        for name in names:
            ready = status / f"{name}.ready"
            # wal-rus marks what it pushed ahead as archived itself, so that PostgreSQL never asks for it.
            if ready.exists():
                bench.pause(pause)
                took.append(server.call(command, name, f"pg_wal/{name}"))
                ready.unlink(missing_ok=True)
        meter.settle(keep=tool.daemons())
        return took, counted.cpu() / len(names)


def check(bench, tool, names, original=None):
    """Whether what is stored is what was to be stored: some segments, read back."""
    folder = original or bench.workload.segments_folder
    back = bench.site.path("back")
    for name in [*names[:: max(1, len(names) // 8)], names[-1]]:
        tool.fetch(name, back)
        if not same_content(folder / name, back):
            raise Failed(f"{tool.name}: segment {name} is stored with other content")
        back.unlink()
