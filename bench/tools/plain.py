"""What many configurations say: `cp`, and `lz4` with everything synced that must be before PostgreSQL may forget the segment."""

import shutil

from ..process import run


class Copy:
    """`cp`, as in PostgreSQL's manual: nothing is synced."""

    name = "cp"

    def __init__(self, site):
        self.home = site.scratch / f"plain-{self.name}"

    def prepare(self):
        """An empty directory."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()

    def begin(self, data=None):
        """Nothing runs beside."""

    def end(self, doing=None):
        """Nothing to stop."""

    def daemons(self):
        """None."""
        return []

    def archive_command(self, _data):
        """As in PostgreSQL's manual."""
        return f"test ! -f {self.home}/%f && cp %p {self.home}/%f"

    def restore_command(self, _data):
        """As in PostgreSQL's manual."""
        return f'cp {self.home}/%f "%p"'

    def end_restore(self, doing):
        """Nothing runs."""

    def fetch(self, name, path):
        """One segment."""
        shutil.copyfile(self.home / name, path)


class SyncedLz4(Copy):
    """`lz4`, the file and its directory synced."""

    name = "lz4, synced"

    def __init__(self, site):
        super().__init__(site)
        self.home = site.scratch / "plain-lz4"

    def archive_command(self, _data):
        """The least that keeps the promise of durability."""
        new = f"{self.home}/%f.lz4"
        return f"test ! -f {new} && lz4 -q -f %p {new}.new && sync {new}.new && mv {new}.new {new} && sync {self.home}"

    def restore_command(self, _data):
        """Back again."""
        return f'lz4 -q -d -f {self.home}/%f.lz4 "%p"'

    def fetch(self, name, path):
        """One segment."""
        run(["lz4", "-q", "-d", "-f", self.home / f"{name}.lz4", path])
