"""What the figures were measured on, in terms that mean something elsewhere."""

import os
import platform
from datetime import date

from . import postgres
from .process import run


def describe(bench):
    """One line for each thing that matters."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = [bench.holdfast().version(), postgres.version(bench.site)]
    versions += [f"{tool.name.split()[0]} {tool.version().split()[-1]}" for tool in bench.peer_tools(sync=False)]
    return {
        "date": date.today().isoformat(),
        "size": bench.size.name,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {memory:.0f} GB of memory, {file_system(bench.site.scratch)}",
        "kernel": f"Linux {'.'.join(platform.release().split('-')[0].split('.')[:2])}",
        "load": f"{os.getloadavg()[2]:.1f}",
        "versions": ", ".join(versions),
    }


def file_system(path):
    """The type of the file system that everything lies on."""
    return run(["stat", "-f", "-c", "%T", path]).strip().replace("ext2/ext3", "ext4")
