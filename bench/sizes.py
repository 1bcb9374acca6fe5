"""How much is measured: `full` for the record, `small` to see a change, `tiny` to see that it works at all."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Counts of segments of 16 MiB, of repetitions, and seconds."""

    name: str
    pgbench_scale: int
    segments: int
    rounds: int
    paced_segments: int
    backlog_segments: int
    # So many segments of the backlog lie in memory at once.
    backlog_helping: int
    commit_seconds: int
    delay_seconds: int
    base_scale: int


SIZES = {
    size.name: size
    for size in [
        Size("tiny", 1, 4, 1, 2, 8, 4, 1, 2, 1),
        Size("small", 10, 40, 1, 10, 80, 80, 4, 8, 20),
        Size("full", 50, 132, 3, 30, 2000, 200, 10, 30, 150),
    ]
}
