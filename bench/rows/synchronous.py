"""Commits that wait for a receiver: transactions per second of eight clients, with and without."""

import re

from ..figures import Samples
from ..process import Background, wait_until
from ..tools.holdfast import Holdfast

WITHOUT, PEER = "no receiver", "pg_receivewal"
APPLICATION = {"Holdfast": "holdfast", PEER: "pg_receivewal"}
CLIENTS = 8


def measure(bench):
    """Ratios to the same load, right before, without a receiver."""
    rates, latencies, ratios = Samples("/s", 0), Samples("ms", 2), Samples("x", 2)
    settings = ["synchronous = true", 'slot = "synchronous"']
    ours = bench.tool("synchronous", lambda: Holdfast(bench.site, bench.workload.cluster, bench.results, label="sync", postgres=settings))
    bench.workload.cluster.sql("CHECKPOINT")
    ours.prepare()
    for _ in range(bench.size.rounds):
        for name in ["Holdfast", PEER]:
            bench.say(f"synchronous commits, {name}")
            base, _ = load(bench)
            receiver = begin(bench, name, ours)
            found, latency = load(bench)
            end(bench, receiver, ours)
            rates.add(WITHOUT, base)
            rates.add(name, found)
            ratios.add(name, found / base)
            latencies.add(name, latency)
    bench.workload.cluster.sql("SELECT pg_drop_replication_slot('synchronous')")
    what = f"commits with a synchronous receiver, {CLIENTS} clients, against none"
    bench.results.add(what, ratios.figures(), target=0.85, higher_is_better=True)
    bench.results.add("the same: mean latency of a transaction", latencies.figures())
    figures = rates.figures().items()
    bench.results.notes.append("Commits: " + "; ".join(f"{name} {figure.text()}" for name, figure in figures) + ".")


def load(bench):
    """Transactions per second, and the milliseconds of one."""
    cluster, seconds = bench.workload.cluster, bench.size.commit_seconds
    output = cluster.client("pgbench", "-n", "-N", "-c", CLIENTS, "-j", "1", "-T", seconds, "postgres")
    return [float(re.search(rf"{what} = ([\d.]+)", output).group(1)) for what in ("tps", "latency average")]


def begin(bench, name, ours):
    """Starts the receiver and makes commits wait for it."""
    cluster, receiver = bench.workload.cluster, None
    if name == PEER:
        folder = bench.site.directory("received")
        program = [bench.site.postgres("pg_receivewal"), "-d", cluster.conninfo(), "-D", folder, "--synchronous"]
        receiver = Background(program, bench.site.path("receivewal.log"))
    else:
        ours.begin(ready=False)
    application = APPLICATION[name]
    wait_until(60, f"{name} has caught up", lambda: has_caught_up(cluster, application))
    cluster.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{application}'")
    cluster.sql("SELECT pg_reload_conf()")
    wait_until(60, f"{name} is synchronous", lambda: "sync" in state(cluster, application))
    return receiver


def has_caught_up(cluster, application):
    """Whether it has stored all that there is."""
    behind = f"SELECT pg_current_wal_flush_lsn() - max(flush_lsn) FROM pg_stat_replication WHERE application_name = '{application}'"
    return cluster.sql(behind) == "0" or (application == "pg_receivewal" and state(cluster, application).startswith("streaming"))


def state(cluster, application):
    """What the server thinks of the receiver."""
    where = f"FROM pg_stat_replication WHERE application_name = '{application}' AND state = 'streaming'"
    return cluster.sql(f"SELECT state || CASE sync_state WHEN 'sync' THEN ' sync' ELSE '' END {where}")


def end(bench, receiver, ours):
    """Lets commits go on alone, and stops the receiver."""
    bench.workload.cluster.sql("ALTER SYSTEM RESET synchronous_standby_names")
    bench.workload.cluster.sql("SELECT pg_reload_conf()")
    if receiver:
        receiver.check()
        receiver.stop()
    else:
        ours.end("synchronous")
