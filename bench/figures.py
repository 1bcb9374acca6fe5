"""Measured numbers: medians with their spread, and what is compared with what."""

import statistics
from dataclasses import dataclass, field


@dataclass
class Figure:
    """One quantity, measured several times."""

    values: list
    unit: str
    digits: int = 1

    @property
    def median(self):
        """What is compared."""
        return statistics.median(self.values)

    def text(self):
        """The median, and from where to where the values lie."""
        low, high = min(self.values), max(self.values)
        spread = f" ({self.number(low)} to {self.number(high)})" if len(self.values) > 1 else ""
        return f"{self.number(self.median)} {self.unit}{spread}".strip()

    def number(self, value):
        """A value as it is printed."""
        return f"{value:.{self.digits}f}"


@dataclass
class Measure:
    """One row: ours, the peers', and what the design asks for."""

    what: str
    figures: dict
    target: float | None = None
    higher_is_better: bool = False
    peer_matters: bool = True

    OURS = "Holdfast"
    # Not durable when it returns, and without any check: shown, and not what ours is compared with where there is another.
    CARELESS = "cp"

    @property
    def ours(self):
        """Our figure."""
        return self.figures[self.OURS]

    def peers(self):
        """The others, by name."""
        return {name: figure for name, figure in self.figures.items() if name != self.OURS}

    def best_peer(self):
        """The peer that is best, and its figure; None where there is none."""
        peers = self.peers() if self.peer_matters else {}
        if len(peers) > 1:
            peers.pop(self.CARELESS, None)
        choose = max if self.higher_is_better else min
        return choose(peers.items(), key=lambda peer: peer[1].median, default=None)

    def is_met(self):
        """Whether our median is at least as good as the target; None without one."""
        if self.target is None:
            return None
        return self.ours.median >= self.target if self.higher_is_better else self.ours.median <= self.target


@dataclass
class Results:
    """What has been measured so far."""

    measures: list = field(default_factory=list)
    # The most memory of each of our processes, in megabytes, by what it did.
    memory: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)

    def add(self, what, figures, **rest):
        """Adds a row."""
        self.measures.append(Measure(what, figures, **rest))

    def saw_memory(self, what, megabytes):
        """Notes a peak."""
        self.memory[what] = max(megabytes, self.memory.get(what, 0))


class Samples:
    """Values that come in by name, one at a time, in rounds."""

    def __init__(self, unit, digits=1):
        self.unit, self.digits, self.values = unit, digits, {}

    def add(self, name, value):
        """Adds one."""
        self.values.setdefault(name, []).append(value)

    def figures(self):
        """A figure for every name."""
        return {name: Figure(values, self.unit, self.digits) for name, values in self.values.items()}
