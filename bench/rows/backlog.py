"""A server whose backlog is long: how fast it drains."""

import time

from ..figures import Samples
from ..wal import OtherLife
from .archive import check, drive


def measure(bench):
    """Ours and pgBackRest's asynchronous way, the whole backlog once each, in turns of one helping."""
    size, work = bench.size, bench.workload
    tools = bench.backlog_tools()
    for tool in tools:
        tool.prepare()
    rate, cpu, seconds = Samples("MB/s", 0), Samples("ms"), {}
    other = OtherLife(work, size.backlog_helping)
    for begun in range(0, size.backlog_segments, size.backlog_helping):
        bench.say(f"backlog, {begun} of {size.backlog_segments} segments")
        folder, names = other.more()
        for tool in tools:
            took, used = helping(bench, tool, folder, names)
            rate.add(tool.name, len(names) * 16.777216 / took)
            cpu.add(tool.name, used * 1000)
            seconds[tool.name] = seconds.get(tool.name, 0) + took
            check(bench, tool, names, folder)
    other.end()
    what = f"backlog of {size.backlog_segments} segments: rate"
    bench.results.add(what, rate.figures(), higher_is_better=True)
    bench.results.add("the same: processor time of everything, per segment", cpu.figures())
    bench.results.notes.append(
        f"The backlog drained in {', '.join(f'{value:.0f} s ({name})' for name, value in seconds.items())}; it was made and drained "
        f"{size.backlog_helping} segments at a time, the same ones for each program, the clock standing still meanwhile."
    )


def helping(bench, tool, folder, names):
    """Drains a part. Returns seconds, and processor seconds per segment."""
    data = bench.workload.archive_directory("archiving", names, folder)
    tool.begin(data)
    try:
        begun = time.monotonic()
        _, used = drive(bench, tool, data, names)
        took = time.monotonic() - begun
        tool.end("backlog")
    finally:
        tool.end()
    return took, used
