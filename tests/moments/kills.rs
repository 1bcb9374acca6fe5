//! The agent, killed again and again while something goes on.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::site::Site;
use pg_fixtures::dice::Dice;

/// Says that the work is over, even when it ends in a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Does the work while the agent is killed with SIGKILL and started again at random moments: at least three times, and the agent runs
/// afterwards.
pub fn under_kills<T>(site: &Site, dice: &mut Dice, work: impl FnOnce(&mut Dice) -> T) -> T {
    let over = AtomicBool::new(false);
    let mut chance = dice.split();
    let result = std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill_until(site, &mut chance, &over));
        let ends = Over(&over);
        let result = work(dice);
        drop(ends);
        let kills = killer.join().expect("an agent never ends by itself");
        println!("the agent was killed {kills} times");
        result
    });
    assert!(site.holdfast.agent_pid().is_some());
    result
}

fn kill_until(site: &Site, chance: &mut Dice, over: &AtomicBool) -> u32 {
    let mut kills = 0;
    while kills < 3 || !over.load(Ordering::Acquire) {
        chance.pause(100..3500);
        let ended = site.holdfast.ended();
        assert!(ended.is_none(), "the agent ended by itself: {ended:?}\n{}", site.holdfast.log());
        site.holdfast.crash_and_restart();
        kills += 1;
    }
    kills
}
