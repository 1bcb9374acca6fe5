"""Real WAL: of pgbench and of a table of text, kept aside with the cluster as it was before."""

import os
import shutil
import struct
import threading

from .postgres import Cluster, lsn
from .process import run

SEGMENT = 16 << 20
PAGE = 8192
# A slot that no one reads from: copies of it begin where the WAL begins.
ORIGIN = "origin"
# What a server that has replayed everything must have.
CONTENT = "SELECT (SELECT count(*) FROM texts), (SELECT count(*) FROM pgbench_history), (SELECT sum(delta) FROM pgbench_history)"


class Workload:
    """A cluster that runs, the cluster as it was, and the segments in between."""

    def __init__(self, site, size, say):
        self.site, self.size = site, size
        self.cluster = Cluster(site, site.path("main"))
        self.before = site.path("before")
        self.segments_folder = site.directory("wal")
        self.cluster.initialise()
        self.cluster.start()
        say(f"pgbench tables, scale {size.pgbench_scale}")
        self.cluster.client("pgbench", "-i", "-q", "-s", size.pgbench_scale, "postgres")
        self.cluster.sql("CREATE TABLE texts (id bigserial PRIMARY KEY, body text)")
        self.cluster.stop()
        first = self.first_segment()
        self.copy_without_wal()
        self.cluster.start()
        self.cluster.sql(f"SELECT pg_create_physical_replication_slot('{ORIGIN}', true)")
        say(f"{size.segments} segments of WAL")
        self.names = self.generate(first)
        self.system_id = self.cluster.system_identifier()

    def first_segment(self):
        """Where recovery of the cluster as it is now begins."""
        text = run([self.site.postgres("pg_controldata"), self.cluster.data])
        position = next(line.split()[-1] for line in text.splitlines() if line.startswith("Latest checkpoint's REDO location"))
        return lsn(position) // SEGMENT

    def copy_without_wal(self):
        """The cluster as it was before the load; its WAL comes from elsewhere."""
        def wal_files(folder, names):
            return [name for name in names if folder.endswith("/pg_wal") and name.startswith("0000")]

        shutil.copytree(self.cluster.data, self.before, ignore=wal_files)

    def generate(self, first):
        """Makes the WAL, and copies its segments to where the server cannot recycle them; returns their names."""
        load = threading.Thread(target=self.load, args=[(first + self.size.segments - 1) * SEGMENT])
        load.start()
        while load.is_alive():
            # pgbench beside it, a little at a time.
            self.cluster.client("pgbench", "-n", "-c", "2", "-t", "300", "postgres")
        load.join()
        self.cluster.sql("SELECT pg_switch_wal()")
        self.expected = self.cluster.sql(CONTENT)
        last = -(-lsn(self.cluster.sql("SELECT pg_current_wal_lsn()")) // SEGMENT)
        names = [segment_name(number) for number in range(first, last)]
        for name in names:
            shutil.copyfile(self.cluster.data / "pg_wal" / name, self.segments_folder / name)
        return names

    def load(self, end):
        """Inserts text until the WAL reaches a position."""
        while lsn(self.cluster.sql("SELECT pg_current_wal_lsn()")) < end:
            self.cluster.sql("INSERT INTO texts (body) SELECT md5(random()::text) || md5(i::text) FROM generate_series(1, 60000) i")

    def segment(self, name):
        """The original of a segment."""
        return self.segments_folder / name

    def archive_directory(self, name, names, folder=None):
        """A data directory of a server that wants these segments archived."""
        data = self.site.directory(name)
        status = data / "pg_wal/archive_status"
        status.mkdir(parents=True)
        self.pretend(data)
        for segment in names:
            os.link((folder or self.segments_folder) / segment, data / "pg_wal" / segment)
            (status / f"{segment}.ready").touch()
        return data

    def pretend(self, data):
        """What our programs and the peers look for to know a data directory."""
        (data / "global").mkdir()
        shutil.copyfile(self.before / "global/pg_control", data / "global/pg_control")
        shutil.copyfile(self.before / "PG_VERSION", data / "PG_VERSION")

    def later(self, numbers):
        """Segments of later positions, page by page like the real ones: for a backlog that is longer than what was generated.

        Only the address in each page's header differs, and what a segment holds is as compressible as it was.
        """
        folder = self.site.directory("later")
        for number in numbers:
            content = bytearray(self.segment(self.names[number % len(self.names)]).read_bytes())
            for at in range(0, SEGMENT, PAGE):
                # An unused page stays empty (XLogPageHeaderData.xlp_pageaddr is 8 bytes in).
                if content[at : at + 2] != b"\0\0":
                    struct.pack_into("<Q", content, at + 8, number * SEGMENT + at)
            (folder / segment_name(number)).write_bytes(content)
        return folder, [segment_name(number) for number in numbers]


def segment_name(number):
    """The name of a segment of 16 MiB on timeline 1."""
    return f"00000001{number >> 8:08X}{number & 0xFF:08X}"


def same_content(one, other):
    """Whether two files are equal, byte for byte, by a program that is not ours."""
    return run(["cmp", one, other]) == ""
