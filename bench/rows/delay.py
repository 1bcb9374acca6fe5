"""From commit to stored, asynchronous: how long a commit could still be lost."""

import threading
import time

from ..figures import Figure
from ..postgres import lsn
from ..process import Failed, wait_until
from ..tools.holdfast import Holdfast

# Transactions per second beside the ones that are timed.
LOAD = 200


def measure(bench):
    """For the default and for 0.3 s, as the server sees it: a commit is stored when its position is reported as flushed."""
    for label, setting, target in [("default", [], 1.2), ("0.3 s", ['max_delay = "0.3s"'], 0.3)]:
        bench.say(f"delay from commit to stored, max_delay {label}")
        delays = sorted(sample(bench, label, setting))
        p50, p99 = delays[len(delays) // 2], delays[min(len(delays) - 1, len(delays) * 99 // 100)]
        bench.results.add(f"commit to stored, `max_delay` {label}: median", {"Holdfast": Figure([p50], "s", 2)})
        bench.results.add("the same: 99th percentile", {"Holdfast": Figure([p99], "s", 2)}, target=target)


def sample(bench, label, setting):
    """The delays of commits under a steady load, in seconds."""
    cluster, name = bench.workload.cluster, f"delay{label[0]}"
    settings = [f'slot = "{name}"', *setting]
    tool = bench.tool(name, lambda: Holdfast(bench.site, cluster, bench.results, label=name, postgres=settings))
    # A new slot begins at the last checkpoint: what lies before the measurement is not measured.
    cluster.sql("CHECKPOINT")
    tool.prepare()
    tool.begin(ready=False)
    session = cluster.session()
    # The agent has other connections of that name too, which report nothing.
    asked = "SELECT max(flush_lsn) - '0/0' FROM pg_stat_replication WHERE application_name = 'holdfast'"
    written = "SELECT pg_current_wal_flush_lsn() - '0/0'"
    wait_until(120, "the agent has caught up", lambda: int(session.ask(asked) or 0) >= int(session.ask(written)))
    seconds = bench.size.delay_seconds
    load = threading.Thread(target=cluster.client, args=["pgbench", "-n", "-N", "-c", "2", "-R", LOAD, "-T", seconds + 3, "postgres"])
    load.start()
    delays = watch(cluster, session, asked, seconds)
    load.join()
    session.close()
    tool.end("streaming under load")
    wait_until(30, "the slot is free", lambda: cluster.sql(f"SELECT NOT active FROM pg_replication_slots WHERE slot_name = '{name}'") == "t")
    cluster.sql(f"SELECT pg_drop_replication_slot('{name}')")
    if len(delays) < seconds * 5:
        raise Failed(f"only {len(delays)} commits were seen to be stored in {seconds} seconds")
    return delays


def watch(cluster, session, asked, seconds):
    """Commits and looks what is flushed, in turns of a few milliseconds."""
    committing = cluster.session()
    waiting, delays, end, next_commit = [], [], time.monotonic() + seconds, 0.0
    while time.monotonic() < end or (waiting and time.monotonic() < end + 10):
        now = time.monotonic()
        if next_commit <= now < end:
            position = committing.ask("WITH new AS (INSERT INTO texts (body) VALUES ('timed') RETURNING id) SELECT count(*) FROM new")
            position = lsn(committing.ask("SELECT pg_current_wal_flush_lsn()"))
            waiting.append((time.monotonic(), position))
            next_commit = now + 0.05
        flushed, now = int(session.ask(asked)), time.monotonic()
        delays += [now - committed for committed, position in waiting if position <= flushed]
        waiting = [(committed, position) for committed, position in waiting if position > flushed]
        time.sleep(0.004)
    committing.close()
    return delays + [time.monotonic() - committed for committed, _ in waiting]
