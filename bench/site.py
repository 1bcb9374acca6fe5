"""The place where everything is measured: a scratch directory on a real disk, programs that the server's user may run, free ports."""

# Imported now: the server's user may not be able to read the interpreter's folder later.
import encodings.idna  # noqa: F401
import errno
import os
import pwd
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("HOLDFAST_TEST_SERVERS", "/var/cache/holdfast-test-servers"))


@dataclass
class Site:
    """Where things are."""

    scratch: Path
    programs: Path
    pg_bin: Path

    @classmethod
    def create(cls, programs, shims):
        """A scratch directory below HOLDFAST_BENCH_DIRECTORY (or /var/tmp), with copies of our programs."""
        parent = os.environ.get("HOLDFAST_BENCH_DIRECTORY", "/var/tmp")
        scratch = Path(tempfile.mkdtemp(prefix="hfbench", dir=parent))
        scratch.chmod(0o755)
        copies = scratch / "programs"
        copies.mkdir()
        copied = [programs / "holdfast", shims / "holdfast-archive-command", shims / "holdfast-restore-command", walrus()]
        for program in filter(None, copied):
            shutil.copy2(program, copies)
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
        return cls(scratch, copies, versions[-1].parent)

    def path(self, name):
        """A path in the scratch directory, whatever was there removed."""
        path = self.scratch / name
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)
        return path

    def directory(self, name):
        """A new, empty directory."""
        path = self.path(name)
        path.mkdir(mode=0o700, parents=True)
        return path

    def program(self, name):
        """One of the copied programs."""
        return self.programs / name

    def postgres(self, name):
        """One of PostgreSQL's programs."""
        return self.pg_bin / name


def remove_tree(path):
    """Removes a directory, in which a server that has not seen its end yet may still be making and renaming files."""
    deadline = time.monotonic() + 10
    while path.exists():
        try:
            shutil.rmtree(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY) or time.monotonic() > deadline:
                raise


def walrus():
    """wal-rus, where it is installed."""
    path = CACHE / "wal-rus/bin/walrus"
    return path if path.exists() else None


def become_server_user(scratch):
    """PostgreSQL refuses to run as root: root becomes `postgres`, who owns the scratch directory."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(scratch, user.pw_uid, user.pw_gid)
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    os.environ.update(HOME=str(scratch), LC_ALL="C", TMPDIR=str(scratch))
    os.environ.pop("HOLDFAST_CONFIG", None)
    os.chdir(scratch)


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
