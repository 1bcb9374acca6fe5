"""Processor time and memory of everything that works for a command: its own processes, those it leaves behind, and the agents.

This process adopts what its descendants leave behind (`prctl`, PR_SET_CHILD_SUBREAPER), so nothing escapes. Servers that are not
measured (PostgreSQL, S3) are left out with all their children.
"""

import ctypes
import os
import resource
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
TICKS = os.sysconf("SC_CLK_TCK")
# Roots of process trees that are not counted.
LEFT_OUT = set()


def adopt_orphans():
    """From now on processes that lose their parent below this one become its children."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


class Meter:
    """Processor seconds since it was made."""

    def __init__(self):
        self.begun = total()

    def cpu(self):
        """Processor seconds, of user and kernel, of everything that is measured."""
        return total() - self.begun


def total():
    """What has ended and was waited for, and what still runs."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + sum(process_cpu(pid) for pid in descendants())


def process_cpu(pid):
    """Processor seconds of a process and of its children that have ended."""
    fields = stat(pid)
    return sum(int(field) for field in fields[11:15]) / TICKS if fields else 0.0


def descendants():
    """All processes below this one that are measured."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat(int(entry))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, left = [], [os.getpid()]
    while left:
        below = [pid for pid in children.get(left.pop(), []) if pid not in LEFT_OUT]
        found += below
        left += below
    return found


def stat(pid):
    """The fields of /proc/PID/stat behind the name; None when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def peak_memory(pid):
    """The most memory that a process has had, in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def named(name):
    """The running processes of that program that are measured."""
    return [pid for pid in descendants() if executable(pid) == name]


def executable(pid):
    """The file name of a process's program."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return ""


def settle(seconds=60, keep=()):
    """Waits until nothing runs below this process but `keep` and what is left out, so that its time is counted in full."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        left = [pid for pid in descendants() if pid not in keep]
        for pid in left:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        if not left:
            return
        time.sleep(0.01)
