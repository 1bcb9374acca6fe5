"""Measures Holdfast beside the programs that do the same work, in one run on one machine, and writes docs/benchmarks.md.

Invariants: a command that fails ends the run with its output: nothing is measured that did not do its work. What was stored or restored
is compared with the original. Ours and the peers take turns, round after round, because a machine is never quite idle.
Standard library only.
"""
