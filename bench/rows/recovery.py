"""Recovery of a real server over all the WAL, against the same with every segment in its place already."""

import re
import shutil
from datetime import datetime

from ..figures import Samples
from ..postgres import Cluster
from ..process import Failed, run, wait_until
from ..wal import CONTENT
from .restore import finish

IN_PLACE = "all WAL in place"


def measure(bench):
    """The time of replay, by the server's own log, as a ratio of that without any restoring."""
    seconds, ratios = Samples("s"), Samples("x", 2)
    tools = {tool.name: tool for tool in bench.restoring_tools()}
    for _ in range(bench.size.rounds):
        base = recover(bench, IN_PLACE, None)
        seconds.add(IN_PLACE, base)
        for name, tool in tools.items():
            bench.filled(tool)
            took = recover(bench, name, tool)
            seconds.add(name, took)
            ratios.add(name, took / base)
    count = len(bench.workload.names)
    bench.results.add(f"recovery over {count} segments, against all WAL in place", ratios.figures(), target=1.08)
    figures = seconds.figures()
    bench.results.notes.append(
        "Recovery, from the server's first line of recovery to its `redo done`: "
        + "; ".join(f"{name} {figure.text()}" for name, figure in figures.items())
        + ". With all WAL in place `restore_command` is `exit 1`, so that a shell per segment is in every figure."
    )


def recover(bench, name, tool):
    """Recovers once, and returns the seconds that it took by the server's log."""
    bench.say(f"recovery, {name}")
    data = bench.site.path("recovering")
    shutil.copytree(bench.workload.before, data)
    (data / "recovery.signal").touch()
    cluster = Cluster(bench.site, data)
    cluster.log = bench.site.path("recovering.log")
    if tool is None:
        for segment in bench.workload.names:
            shutil.copyfile(bench.workload.segment(segment), data / "pg_wal" / segment)
    elif hasattr(tool, "begin_restore"):
        tool.begin_restore()
    command = tool.restore_command(data) if tool else "exit 1"
    cluster.configure("archive_mode = off\nrestore_command = '{}'\n".format(command.replace("'", "''")))
    run(["sync"])
    cluster.start()
    wait_until(600, "recovery ends", lambda: "archive recovery complete" in log_of(cluster), pause=0.1)
    if tool:
        tool.end_restore("recovery")
    took = seconds_in(log_of(cluster))
    check(bench, cluster)
    cluster.stop("immediate")
    finish(bench, data)
    return took


def log_of(cluster):
    """What the server has said."""
    cluster.server.check()
    return cluster.log.read_text(errors="replace")


def seconds_in(log):
    """From the beginning of recovery to the end of redo."""
    found = [re.search(rf"^(\S+ \S+) \S+ LOG:  {text}", log, re.M) for text in ["starting archive recovery", "redo done at"]]
    if not all(found):
        raise Failed(f"no recovery in the server's log:\n{log}")
    begun, ended = (datetime.fromisoformat(match.group(1)) for match in found)
    return (ended - begun).total_seconds()


def check(bench, cluster):
    """Whether the recovered server has every row that the original had at the end of this WAL."""
    found, expected = cluster.sql(CONTENT), bench.workload.expected
    if found != expected:
        raise Failed(f"the recovered server has {found}, the original had {expected}")

