"""`python3 -m bench`: everything, or `--only` some of it."""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

from . import machine, meter, report, s3
from .figures import Results
from .process import Failed
from .rows import archive, backlog, base, delay, recovery, restore, streaming, synchronous
from .site import Site, become_server_user
from .sizes import SIZES
from .tools.holdfast import Holdfast
from .tools.pgbackrest import PgBackRest
from .tools.plain import Copy, SyncedLz4
from .tools.walrus import WalRus
from .wal import Workload

ROWS = {
    "archive": archive,
    "backlog": backlog,
    "restore": restore,
    "recovery": recovery,
    "streaming": streaming,
    "synchronous": synchronous,
    "delay": delay,
    "base": base,
}


class Bench:
    """What the measurements share."""

    def __init__(self, site, size, peers, bucket):
        self.site, self.size, self.peers = site, size, peers
        self.begun = time.monotonic()
        self.results = Results()
        self.store = s3.SeaweedFs(site) if bucket else None
        self.workload = Workload(site, size, self.say)
        self.tools = {}
        self.full = set()

    def say(self, what):
        """Tells how far it is."""
        print(f"bench: {time.monotonic() - self.begun:5.0f} s  {what}", file=sys.stderr, flush=True)

    def pause(self, seconds):
        """Lets time pass where a measurement asks for it."""
        if seconds:
            time.sleep(seconds)

    def in_turn(self, tools):
        """Every tool, again in every round, each round beginning with another."""
        for turn in range(self.size.rounds):
            at = turn % max(1, len(tools))
            yield from tools[at:] + tools[:at]

    def tool(self, key, make):
        """A tool, made once."""
        if key not in self.tools:
            self.tools[key] = make()
        return self.tools[key]

    def holdfast(self, store=None):
        """Ours."""
        return self.tool(("holdfast", bool(store)), lambda: Holdfast(self.site, self.workload.cluster, self.results, store))

    def pgbackrest(self, asynchronous, store=None):
        """pgBackRest."""
        key = ("pgbackrest", asynchronous, bool(store))
        return self.tool(key, lambda: PgBackRest(self.site, self.workload.cluster, asynchronous, store))

    def walrus(self, store=None):
        """wal-rus."""
        return self.tool(("wal-rus", bool(store)), lambda: WalRus(self.site, self.workload.cluster, store))

    def peer_tools(self, store=None, sync=True):
        """The peers that are installed."""
        tools = []
        if self.peers and PgBackRest.available():
            tools += [self.pgbackrest(True, store)] + ([self.pgbackrest(False, store)] if sync else [])
        if self.peers and WalRus.available(self.site):
            tools.append(self.walrus(store))
        return tools

    def directory_tools(self):
        """All that archive into a directory."""
        plain = [self.tool("cp", lambda: Copy(self.site)), self.tool("lz4", lambda: SyncedLz4(self.site))]
        return [self.holdfast(), *self.peer_tools(), *plain]

    def restoring_tools(self):
        """All that restore from a directory."""
        return [self.holdfast(), *self.peer_tools(), self.tool("cp", lambda: Copy(self.site))]

    def bucket_tools(self):
        """All that archive into a bucket."""
        return [self.holdfast(self.store), *self.peer_tools(self.store, sync=False)] if self.store else []

    def backlog_tools(self):
        """Those that look ahead."""
        return [self.holdfast(), *[tool for tool in self.peer_tools(sync=False) if tool.name.startswith("pgBackRest")]]

    def filled(self, tool):
        """Sees to it that all segments are in the tool's repository."""
        if tool not in self.full:
            self.say(f"filling the repository of {tool.name}")
            archive.one_by_one(self, tool, self.workload.names)
            self.full.add(tool)

    def running(self):
        """What may go on running between measurements."""
        return [pid for tool in self.tools.values() for pid in tool.daemons()]

    def stop(self):
        """Ends the servers."""
        for tool in self.tools.values():
            tool.end()
        self.workload.cluster.stop("immediate")
        if self.store:
            self.store.stop()


def main():
    """Measures in a child that is not root, and writes the report as whoever began."""
    options = arguments()
    site = Site.create(options.programs, options.shims)
    outcome = site.scratch / "outcome.json"
    child = os.fork()
    if child == 0:
        os._exit(measure(site, options, outcome))
    try:
        _, status = os.waitpid(child, 0)
        if status == 0:
            report.write(options.report, json.loads(outcome.read_text()))
        elif outcome.exists():
            print(f"bench: measured before it failed:\n{report.render(json.loads(outcome.read_text()))}", file=sys.stderr)
    finally:
        if not os.environ.get("HOLDFAST_KEEP_SCRATCH"):
            shutil.rmtree(site.scratch, ignore_errors=True)
    return 0 if status == 0 else 1


def measure(site, options, outcome):
    """Everything that was asked for; its results go into a file."""
    become_server_user(site.scratch)
    meter.adopt_orphans()
    bench = None
    try:
        bench = Bench(site, SIZES[options.size], options.peers, options.bucket)
        for name in options.only:
            ROWS[name].measure(bench)
            outcome.write_text(json.dumps(report.gather(bench, machine.describe(bench))))
        return 0
    except Failed as failure:
        print(f"bench: FAILED: {failure}", file=sys.stderr)
        return 1
    finally:
        sys.stderr.flush()
        if bench:
            bench.stop()
        end_all()


def end_all():
    """Kills what a failure has left."""
    for pid in [*meter.descendants(), *meter.LEFT_OUT]:
        try:
            os.kill(pid, 9)
        except (ProcessLookupError, PermissionError):
            pass


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--programs", type=Path, required=True, help="the folder with `holdfast`")
    parser.add_argument("--shims", type=Path, required=True, help="the folder with the two programs that PostgreSQL starts")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--only", nargs="*", choices=ROWS, default=list(ROWS))
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="without pgBackRest and wal-rus")
    parser.add_argument("--no-s3", dest="bucket", action="store_false", help="without an S3 server")
    parser.add_argument("--report", type=Path, help="a document to write the results into, between its markers")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
