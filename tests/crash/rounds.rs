//! What happens in a round.

use std::time::Duration;

use pg_fixtures::postgres::StopMode;
use pg_fixtures::{Scratch, ServerUser, poll};

use crate::life::{DEADLINE, Life, rule};
use crate::oracle;
use crate::points::{FILE, GAP, PROMOTION, Process, STEPS, Step};
use crate::site::{Place, Site};
use crate::victim::{End, Victim};
use pg_fixtures::dice::Dice;

/// So long an agent has to reach its point; then it is killed where it is.
const AGENT: Duration = Duration::from_millis(2500);
/// The same for what takes longer.
const COMMAND: Duration = Duration::from_secs(20);

/// Troubles of the store that an agent meets before it is killed.
const TROUBLES: [(&str, &str); 6] = [
    ("store that refuses puts", "put.before any 1 fail*6"),
    ("store whose answers to puts are lost", "put.after any 1 fail*6"),
    ("store that cannot be listed", "list.before any 1 fail*4"),
    ("store that cannot be read", "get.before any 0 fail*4"),
    ("store that refuses to delete", "delete.before any 0 fail*6"),
    ("slow store", "put.before any 0 wait:150"),
];

impl Life<'_> {
    /// Something is killed, and what was told is still true.
    pub fn round(&self, dice: &mut Dice) {
        match dice.below(100) {
            0..60 => self.agent_dies(self.pick(Process::Agent, dice), dice),
            60..74 => self.backup_dies(self.pick(Process::Backup, dice), dice),
            74..80 => self.restore_dies(self.pick(Process::Restore, dice), dice),
            80..86 => self.push_dies(self.pick(Process::Push, dice), dice),
            86..92 => self.agent_in_trouble_dies(dice),
            92..96 => self.server_dies(dice),
            96 => self.promotion(dice),
            97 => self.slot_is_lost(dice),
            98 => self.store_dies(dice),
            _ => self.agent_lives_for_a_while(dice),
        }
        self.what_was_told_is_stored();
    }

    /// What befalls whole machines.
    pub fn server_or_agent_dies(&self, dice: &mut Dice) {
        if dice.below(2) == 0 {
            self.server_dies(dice);
        } else {
            self.agent_lives_for_a_while(dice);
        }
        self.what_was_told_is_stored();
    }

    fn mark(&self, what: &str) {
        self.table.begin(what, self.site.place.name());
    }

    fn start(&self, arguments: &[&str], rule: &str) -> Victim {
        Victim::start(&self.site.holdfast, arguments, Some(rule))
    }

    fn agent_dies(&self, step: &Step, dice: &mut Dice) {
        self.mark(&format!("agent: {}", step.name));
        let mut agent = self.start(&["agent"], &rule(step, dice));
        dice.pause(50..400);
        // So that segments become full, slices superfluous, and the archiver has work.
        drop(self.cluster.try_sql("postgres", "SELECT pg_switch_wal()"));
        self.must_not_end(&mut agent, AGENT);
    }

    /// An agent never ends by itself.
    fn must_not_end(&self, agent: &mut Victim, limit: Duration) {
        let end = self.ends_within(agent, limit);
        assert!(!matches!(end, End::Ended(_)), "the agent ended by itself: {end:?}: {}", agent.last_words());
    }

    fn agent_in_trouble_dies(&self, dice: &mut Dice) {
        let (name, trouble) = TROUBLES[dice.choose(TROUBLES.len())];
        self.mark(&format!("agent: {name}"));
        let mut agent = self.start(&["agent"], &format!("{trouble};any any {} kill", 20 + dice.below(60)));
        self.must_not_end(&mut agent, AGENT * 2);
    }

    fn backup_dies(&self, step: &Step, dice: &mut Dice) {
        self.mark(&format!("backup: {}", step.name));
        let mut agent = self.agent();
        let mut backup = self.start(&["backup", Site::resource()], &rule(step, dice));
        let limit = if dice.below(4) == 0 { Duration::from_millis(dice.below(3000)) } else { COMMAND };
        let end = self.ends_within(&mut backup, limit);
        let failed = matches!(end, End::Ended(status) if !status.success());
        assert!(!failed, "a backup that nothing disturbed failed: {}", backup.last_words());
        agent.kill();
    }

    /// What a killed restore leaves is either no cluster or a complete one.
    fn restore_dies(&self, step: &Step, dice: &mut Dice) {
        self.mark(&format!("restore: {}", step.name));
        self.close_holes();
        let scratch = Scratch::new();
        let to = scratch.path().join("restored");
        let (directory, programs) = (to.display().to_string(), oracle::programs(self.cluster.installation()));
        let arguments = ["restore", Site::resource(), "--to", &directory, "--programs", &programs];
        let mut restore = self.start(&arguments, &rule(step, dice));
        let end = self.ends_within(&mut restore, COMMAND);
        let failed = matches!(end, End::Ended(status) if !status.success());
        assert!(!failed, "a restore that nothing disturbed failed: {}", restore.last_words());
        if to.join("global/pg_control").exists() {
            oracle::verify(self.cluster.installation(), &to);
        } else if std::fs::read_dir(&to).is_ok_and(|mut files| files.next().is_some()) {
            let again = self.site.holdfast.try_run(&arguments);
            assert!(!again.status.success(), "what a killed restore left was built upon");
        }
        self.table.checked("killed restores found to be no cluster, or a whole one", 1);
    }

    fn push_dies(&self, step: &Step, dice: &mut Dice) {
        self.mark(&format!("wal push: {}", step.name));
        let segment = self.cluster.switch_wal();
        let path = self.cluster.data_directory().join("pg_wal").join(&segment).display().to_string();
        let mut push = self.start(&["wal", "push", &path], &rule(step, dice));
        let end = self.ends_within(&mut push, COMMAND);
        let failed = matches!(end, End::Ended(status) if !status.success());
        assert!(!failed, "a push that nothing disturbed failed: {}", push.last_words());
    }

    fn server_dies(&self, dice: &mut Dice) {
        self.mark("server");
        let mut agent = self.agent();
        dice.pause(100..1200);
        self.cluster.kill9();
        self.table.killed_elsewhere();
        if dice.below(2) == 0 {
            agent.kill();
            self.table.killed_elsewhere();
        }
        self.cluster.start();
        self.load_again();
        dice.pause(100..800);
    }

    /// The server becomes a standby of nobody and is promoted: a new timeline.
    fn promotion(&self, dice: &mut Dice) {
        self.mark(&format!("agent: {}", PROMOTION.name));
        let mut agent = self.agent();
        dice.pause(100..1000);
        self.cluster.stop(StopMode::Fast);
        let mark = self.cluster.data_directory().join("standby.signal");
        std::fs::write(&mark, "").expect("make the server a standby");
        ServerUser::current().own(&mark);
        if dice.below(2) == 0 {
            agent.kill();
            self.table.killed_elsewhere();
        }
        self.cluster.start();
        self.cluster.promote();
        self.timelines.set(self.timelines.get() + 1);
        agent.kill();
        self.load_again();
        let mut agent = self.start(&["agent"], &rule(&PROMOTION, dice));
        self.must_not_end(&mut agent, AGENT);
    }

    /// The slot is dropped while no agent runs, and the server removes WAL: a gap, which a new backup lies behind.
    fn slot_is_lost(&self, dice: &mut Dice) {
        self.mark(&format!("agent: {}", GAP.name));
        let drop_slot = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'holdfast'";
        assert!(poll::try_until(DEADLINE, || self.cluster.try_sql("postgres", drop_slot).is_ok()), "the slot stays in use");
        for _ in 0..8 {
            self.cluster.switch_wal();
        }
        self.cluster.sql("CHECKPOINT");
        let mut agent = self.start(&["agent"], &rule(&GAP, dice));
        self.must_not_end(&mut agent, AGENT);
        self.backup();
    }

    fn store_dies(&self, dice: &mut Dice) {
        let Place::Bucket(bucket, _) = self.site.place else { return self.server_dies(dice) };
        self.mark("S3 service");
        let mut agent = self.agent();
        dice.pause(100..1000);
        bucket.crash();
        self.table.killed_elsewhere();
        dice.pause(500..2000);
        agent.kill();
        self.table.killed_elsewhere();
    }

    fn agent_lives_for_a_while(&self, dice: &mut Dice) {
        self.mark("agent: anywhere");
        let mut agent = self.agent();
        self.must_not_end(&mut agent, Duration::from_millis(1000 + dice.below(4000)));
    }

    /// One of the steps of a process that it takes with this store.
    fn pick(&self, process: Process, dice: &mut Dice) -> &'static Step {
        let has_files = matches!(self.site.place, Place::Directory);
        let taken = |step: &&Step| step.process == process && (has_files || step.points != FILE);
        let taken: Vec<&Step> = STEPS.iter().filter(taken).collect();
        taken[dice.choose(taken.len())]
    }
}
