//! One cluster and one repository, from `init` to the last look.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use holdfast::pg::Lsn;
use holdfast::storage::probe;
use pg_fixtures::agent::shim;
use pg_fixtures::postgres::{Cluster, Installation, Load};
use pg_fixtures::{Scratch, poll};

use crate::clients::{Clients, Confirmed};
use crate::limits::Limits;
use crate::points::{INIT, Step};
use crate::site::{Place, Site};
use crate::table::Table;
use crate::victim::{End, Victim};
use crate::{garbage, oracle, stored};
use pg_fixtures::dice::Dice;

/// Longer than anything takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// No process may take more memory than this, in bytes.
const MEMORY_MAX: u64 = 150 << 20;
/// Beside those who remember what was confirmed to them.
const LOAD: [&str; 7] = ["-n", "-c", "2", "-R", "80", "-T", "86400"];

/// The number of a life in which commits wait for the store.
pub const SYNCHRONOUS: u32 = 2;

/// A cluster under load, and its repository.
pub struct Life<'a> {
    pub site: Site<'a>,
    pub cluster: Cluster,
    pub table: &'a Table,
    pub timelines: Cell<u32>,
    /// Whether commits wait for the store.
    synchronous: bool,
    clients: Clients,
    load: RefCell<Option<Load>>,
    /// The highest position that the server was seen to have been told.
    told: Cell<Lsn>,
    checked: RefCell<Vec<String>>,
}

impl<'a> Life<'a> {
    /// A new cluster. `init` is killed several times before it is let through.
    pub fn begin(place: Place<'a>, number: u32, dice: &mut Dice, table: &'a Table) -> Self {
        table.begin("while a life begins", place.name());
        let installations = Installation::all();
        let installation = &installations[dice.choose(installations.len())];
        let megabytes = [1, 1, 16, 32][dice.choose(4)];
        let (synchronous, archiving) = (matches!(number % 4, 1 | SYNCHRONOUS), dice.below(3) == 0);
        println!(
            "life {number}: PostgreSQL {}, segments of {megabytes} MB, {}{}{}",
            installation.version(),
            place.name(),
            if synchronous { ", commits wait for the store" } else { "" },
            if archiving { ", archive_command as well" } else { "" }
        );
        let cluster =
            Cluster::builder(installation).wal_segment_size(megabytes).setting("min_wal_size", &format!("{}MB", 2 * megabytes));
        let cluster =
            cluster.setting("archive_mode", if archiving { "on" } else { "off" }).setting("wal_sender_timeout", "5s").start();
        cluster.pgbench(&["-i", "-q", "-s", "1"]);
        let settings = format!("max_delay = \"200ms\"\nsynchronous = {synchronous}");
        let site = Site::new(place, &cluster.conninfo(), &settings);
        init(&site, dice, table);
        if archiving {
            archive(&cluster, &site);
        }
        let clients = Clients::start(&cluster, 3);
        if synchronous {
            cluster.sql("ALTER SYSTEM SET synchronous_standby_names = 'holdfast'");
            cluster.reload();
        }
        let load = RefCell::new(Some(cluster.pgbench_background(&LOAD)));
        let (told, timelines) = (Cell::new(Lsn::INVALID), Cell::new(1));
        Self { site, cluster, table, timelines, synchronous, clients, load, told, checked: RefCell::default() }
    }

    /// Round after round until the life or the run is over, and the last look.
    pub fn live(self, dice: &mut Dice, limits: &Limits) {
        let (begun, kills) = (Instant::now(), self.table.kills());
        self.backup();
        let mut due = kills;
        while !limits.are_reached(self.table) && !limits.life_is_over(begun.elapsed(), self.table.kills() - kills) {
            self.round(dice);
            if self.table.kills() >= due + limits.kills_per_restore() {
                due = self.table.kills();
                self.table.begin("restore of everything acknowledged", self.site.place.name());
                self.everything_acknowledged_comes_back(dice.below(3) == 0);
                self.backup();
            }
        }
        self.table.begin("last look", self.site.place.name());
        self.last_look();
    }

    /// A process whose memory is looked at.
    pub fn ends_within(&self, victim: &mut Victim, limit: Duration) -> End {
        let end = victim.end_within(limit);
        self.note_memory(victim);
        match end {
            End::AtPoint => self.table.killed_at_point(),
            End::Killed => self.table.killed_elsewhere(),
            End::Ended(_) => {}
        }
        end
    }

    fn note_memory(&self, victim: &Victim) {
        self.table.took_memory(victim.peak_memory());
        assert!(victim.peak_memory() < MEMORY_MAX, "{} bytes of memory: {}", victim.peak_memory(), victim.last_words());
    }

    /// An agent in which nothing is armed.
    pub fn agent(&self) -> Victim {
        Victim::start(&self.site.holdfast, &["agent"], None)
    }

    /// The load, again, after its server was gone.
    pub fn load_again(&self) {
        *self.load.borrow_mut() = None;
        *self.load.borrow_mut() = Some(self.cluster.pgbench_background(&LOAD));
    }

    /// What the server was told is stored is stored.
    pub fn what_was_told_is_stored(&self) {
        let told = self.cluster.sql(
            "SELECT coalesce(greatest((SELECT max(flush_lsn) FROM pg_stat_replication WHERE application_name = 'holdfast'), \
             (SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'holdfast')), '0/0')",
        );
        let slot: Lsn = told.parse().expect("a position");
        // Before the first report the slot stands where the last checkpoint began, and nothing was told.
        let told = if self.told.get() == Lsn::INVALID && self.checked.borrow().is_empty() { Lsn::INVALID } else { slot };
        self.told.set(self.told.get().max(told));
        if self.told.get() > Lsn::INVALID {
            let end = self.site.runtime.block_on(stored::end_from(&self.site.archive(), self.told.get(), self.timelines.get()));
            assert!(end >= self.told.get(), "the server was told {}, but WAL is stored up to {end}", self.told.get());
            self.table.checked("flush positions compared with the store", 1);
        }
    }

    /// The commits that must come back.
    fn acknowledged(&self) -> Vec<Confirmed> {
        let told = self.told.get();
        self.clients.confirmed().into_iter().filter(|mark| self.synchronous || mark.flushed <= told).collect()
    }

    /// Fills holes behind which something was pushed already, if there are any: nothing is restored across them.
    pub fn close_holes(&self) {
        if oracle::has_hole(&self.site, self.cluster.installation()) {
            let mut agent = self.agent();
            self.catch_up(&agent);
            agent.kill();
        }
    }

    /// Waits until the server was told that all of its WAL of now is stored.
    fn catch_up(&self, agent: &Victim) {
        let wanted: Lsn = self.cluster.sql("SELECT pg_current_wal_flush_lsn()").parse().expect("a position");
        let caught_up = poll::try_until(DEADLINE, || {
            self.what_was_told_is_stored();
            self.told.get() >= wanted
        });
        assert!(caught_up, "the agent does not catch up: told {}, wanted {wanted}: {}", self.told.get(), agent.last_words());
    }

    /// Everything acknowledged is in a cluster that is restored from the repository alone.
    pub fn everything_acknowledged_comes_back(&self, thoroughly: bool) {
        self.close_holes();
        self.what_was_told_is_stored();
        let expected = self.acknowledged();
        let (installation, scratch) = (self.cluster.installation(), Scratch::new());
        let directory = oracle::restore(&self.site, installation, &scratch, None);
        oracle::compare(installation, &directory, &expected, thoroughly);
        self.table.checked("restores to the end of the archive, compared with the clients' logs", 1);
        self.table.checked("acknowledged commits found in them", expected.len() as u64);
    }

    /// A backup that nobody disturbs, with an agent beside it.
    pub fn backup(&self) {
        let mut agent = self.agent();
        let mut backup = Victim::start(&self.site.holdfast, &["backup", Site::resource()], None);
        let end = backup.wait(DEADLINE);
        assert!(matches!(end, Some(End::Ended(status)) if status.success()), "{end:?}: {}", backup.last_words());
        self.note_memory(&backup);
        agent.kill();
        self.note_memory(&agent);
        self.checked.borrow_mut().push(String::new());
    }

    /// Every backup that is listed restores; those that were seen to do so are not tried again.
    fn every_listed_backup_restores(&self) {
        let installation = self.cluster.installation();
        for id in oracle::listed(&self.site) {
            if !self.checked.borrow().contains(&id) {
                oracle::restore(&self.site, installation, &Scratch::new(), Some(&id));
                self.table.checked("listed backups restored and passed by pg_verifybackup", 1);
                self.checked.borrow_mut().push(id);
            }
        }
    }

    /// Nothing is killed any more: the agent catches up, and nothing is left over.
    fn last_look(&self) {
        *self.load.borrow_mut() = None;
        let mut agent = self.agent();
        self.cluster.switch_wal();
        let confirmed = self.clients.confirmed();
        self.catch_up(&agent);
        agent.stop(DEADLINE);
        self.nothing_is_left_over();
        let (installation, scratch) = (self.cluster.installation(), Scratch::new());
        let directory = oracle::restore(&self.site, installation, &scratch, None);
        oracle::compare(installation, &directory, &confirmed, true);
        self.table.checked("acknowledged commits found in them", confirmed.len() as u64);
        self.every_listed_backup_restores();
    }

    /// The next agent removes what those that were killed have left.
    fn nothing_is_left_over(&self) {
        let mut agent = self.agent();
        let store = self.site.store();
        let find = || self.site.runtime.block_on(garbage::find(store.as_ref()));
        // What was begun lately is left to an agent of a later day; here that day has come.
        let sweep = async {
            let uploads = store.sweep(Duration::ZERO, |_| true).await.expect("sweep");
            uploads + probe::sweep(store.as_ref(), Duration::ZERO).await.expect("sweep")
        };
        let swept = self.site.runtime.block_on(sweep);
        let clean = poll::try_until(DEADLINE, || find().lost.is_empty());
        assert!(clean, "nothing refers to {:?}", find().lost);
        agent.stop(DEADLINE);
        self.table.checked("repositories looked through for what nothing refers to", 1);
        self.table.checked("unfinished uploads and probes swept up", swept as u64);
        self.table.checked("objects of killed backups found in them, for retention to remove", find().unlisted.len() as u64);
    }
}

/// The rule that arms a step: one of its points, at random.
pub fn rule(step: &Step, dice: &mut Dice) -> String {
    let point = step.points[dice.choose(step.points.len())];
    format!("{point} {} {} kill", step.object, dice.below(step.skip + 1))
}

/// `init`, killed at its own steps, and then let through: it is safe to repeat.
fn init(site: &Site<'_>, dice: &mut Dice, table: &Table) {
    for step in INIT {
        table.begin(&format!("init: {}", step.name), site.place.name());
        let mut victim = Victim::start(&site.holdfast, &["init"], Some(&rule(&step, dice)));
        match victim.wait(DEADLINE) {
            Some(End::AtPoint) => table.killed_at_point(),
            Some(End::Ended(status)) if status.success() => {}
            other => panic!("{other:?}: {}", victim.last_words()),
        }
    }
    site.holdfast.run(&["init"]);
}

/// Makes the server archive through the shim, beside the stream.
fn archive(cluster: &Cluster, site: &Site<'_>) {
    let command = format!(
        "{} --socket {} --config {} --resource {} %p",
        shim(env!("CARGO_BIN_EXE_holdfast"), "holdfast-archive-command").display(),
        site.holdfast.scratch().path().join("agent.sock").display(),
        site.holdfast.configuration().display(),
        Site::resource()
    );
    cluster.sql(&format!("ALTER SYSTEM SET archive_command = '{command}'"));
    cluster.reload();
}
