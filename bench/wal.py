"""Real WAL: of pgbench and of a table of text, kept aside with the cluster as it was before."""

import os
import shutil
import threading

from .postgres import Cluster, lsn
from .process import run

SEGMENT = 16 << 20
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
        self.first, self.names = first, self.generate(first)
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
        return copy_segments(self.cluster, range(first, last), self.segments_folder)

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
        """What our programs and the peers look for to know the data directory of a server that runs."""
        (data / "global").mkdir()
        shutil.copyfile(self.before / "global/pg_control", data / "global/pg_control")
        shutil.copyfile(self.before / "PG_VERSION", data / "PG_VERSION")
        (data / "postmaster.pid").touch()


def copy_segments(cluster, numbers, folder):
    """Copies segments to where the server cannot recycle them; returns their names."""
    names = [segment_name(number) for number in numbers]
    for name in names:
        shutil.copyfile(cluster.data / "pg_wal" / name, folder / name)
    return names


class OtherLife:
    """The cluster as it was before the load, started again: WAL as long as wanted, made when it is needed."""

    # Twice a helping, so that nothing is recycled before it is copied.
    SETTINGS = "wal_keep_size = {}MB\nsynchronous_commit = off\n"

    def __init__(self, work, helping):
        self.site, self.helping = work.site, helping
        data = self.site.path("other")
        shutil.copytree(work.before, data)
        # Its checkpoint; behind it the server writes anew.
        shutil.copyfile(work.segment(work.names[0]), data / "pg_wal" / work.names[0])
        self.next = work.first
        self.cluster = Cluster(self.site, data)
        self.cluster.configure(self.SETTINGS.format(2 * helping * SEGMENT >> 20))
        self.cluster.start()
        rows = "INSERT INTO texts (body) SELECT md5(random()::text) || md5(i::text) FROM generate_series(1, 600000) i"
        self.cluster.sql(f"{rows}; CREATE TABLE again (LIKE texts)")

    def more(self):
        """The next segments: a folder, and their names in order."""
        folder = self.site.directory("later")
        numbers = range(self.next, self.next + self.helping)
        self.next = numbers.stop
        # The same rows again and again, into a table that never grows: nothing but WAL is left to write.
        while lsn(self.cluster.sql("SELECT pg_current_wal_lsn()")) < numbers.stop * SEGMENT:
            self.cluster.sql("BEGIN; TRUNCATE again; INSERT INTO again SELECT * FROM texts; COMMIT")
        self.cluster.sql("SELECT pg_switch_wal()")
        return folder, copy_segments(self.cluster, numbers, folder)

    def end(self):
        """Stops the server, and removes what it has."""
        self.cluster.stop("immediate")
        for name in ["other", "later"]:
            self.site.path(name)


def segment_name(number):
    """The name of a segment of 16 MiB on timeline 1."""
    return f"00000001{number >> 8:08X}{number & 0xFF:08X}"


def same_content(one, other):
    """Whether two files are equal, byte for byte, by a program that is not ours."""
    return run(["cmp", one, other]) == ""
