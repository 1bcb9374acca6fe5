"""The results as a document: a table between two markers, everything else left as it is."""

import sys
from pathlib import Path

BEGIN, END = "<!-- written by make bench: begin -->", "<!-- written by make bench: end -->"


def gather(bench, machine):
    """The results as plain values."""
    return {
        "machine": machine,
        "rows": [row(measure) for measure in bench.results.measures],
        "memory": {what: f"{megabytes:.0f} MB" for what, megabytes in bench.results.memory.items()},
        "notes": bench.results.notes,
    }


def row(measure):
    """One row of the table."""
    best = measure.best_peer()
    met = {True: "met", False: "**missed**", None: ""}[measure.is_met()]
    return {
        "what": measure.what,
        "ours": measure.ours.text(),
        "peers": [f"{name} {figure.text()}" for name, figure in measure.peers().items()],
        "ratio": f"{measure.ours.median / best[1].median:.2f} ({best[0]})" if best and best[1].median else "",
        "target": f"{measure.target:g} {measure.ours.unit}" if measure.target is not None else "",
        "met": met,
    }


def write(document, outcome):
    """Prints the results, and puts them into the document where one is given."""
    text = render(outcome)
    print(text)
    if document is None:
        return
    document = Path(document)
    old = document.read_text(encoding="utf-8")
    before, rest = old.split(BEGIN)
    _, after = rest.split(END)
    document.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")
    print(f"bench: {document} is written", file=sys.stderr)


def render(outcome):
    """The part between the markers."""
    machine = outcome["machine"]
    lines = [
        f"Measured on {machine['date']} (`make bench SIZE={machine['size']}`): {machine['machine']}, {machine['kernel']}, load at the "
        f"end {machine['load']}. {machine['versions']}.",
        "",
        "| what | Holdfast | peers | ours / best peer | target | |",
        "|---|---|---|---|---|---|",
    ]
    for entry in outcome["rows"]:
        peers = "<br>".join(entry["peers"])
        lines.append(f"| {entry['what']} | {entry['ours']} | {peers} | {entry['ratio']} | {entry['target']} | {entry['met']} |")
    memory = "; ".join(f"{what} {megabytes}" for what, megabytes in outcome["memory"].items())
    lines += ["", f"Peak memory of our processes: {memory}." if memory else ""]
    for note in outcome["notes"]:
        lines += ["", note]
    return "\n".join(lines) + "\n"
