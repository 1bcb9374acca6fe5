//! The whole story in a scratch directory, with a real server and the real programs: WAL flows into a store, a base backup is taken under
//! load, a table is dropped by mistake, the server is lost, and the cluster comes back as it was just before the mistake.

mod error;
mod scratch;
mod shop;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

pub use error::Error;

use crate::sys::clock::{self, Deadline};
use crate::sys::local_postgres::{LocalPostgres, Stop};
use scratch::Scratch;
use shop::{Shop, Sum};

/// What the story needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `holdfast` program; the two that PostgreSQL calls lie beside it.
    pub program: PathBuf,
    /// Whether the scratch directory stays.
    pub keep: bool,
}

/// How the story ended.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The version of PostgreSQL that took part.
    pub postgres_major: u32,
    /// How many orders were written while the backup ran.
    pub orders_during_backup: u64,
    /// The orders just before the table was dropped.
    pub before: Sum,
    /// The orders in the restored cluster.
    pub after: Sum,
    /// The moment that was restored to.
    pub target: Timestamp,
    /// How long the base backup took, in seconds.
    pub backup_s: f64,
    /// How long it took from the command to a server that answers, in seconds.
    pub restore_s: f64,
    /// How long a commit was at risk: from the commit to the moment its WAL was in the store, 99th percentile, in seconds.
    pub loss_window_p99_s: Option<f64>,
    /// Where everything lies, if it was kept.
    pub directory: Option<PathBuf>,
}

impl Summary {
    /// Whether what came back is what was there.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.before == self.after && self.before.orders > 0
    }
}

/// How long orders are written before and after the backup.
const TRADE: Duration = Duration::from_secs(4);

/// Plays it; `say` is told of each step.
///
/// # Errors
/// When a step fails; what the failing program said is part of it.
pub async fn run(options: &Options, say: &(dyn Fn(&str) + Sync)) -> Result<Summary, Error> {
    let scratch = Scratch::new(options)?;
    say(&format!("Everything happens in {}.", scratch.directory().display()));
    let outcome = story(&scratch, say).await;
    match outcome {
        Ok(summary) => Ok(Summary { directory: scratch.leave(options.keep), ..summary }),
        Err(error) => Err(error.seen_in(&scratch)),
    }
}

async fn story(scratch: &Scratch, say: &(dyn Fn(&str) + Sync)) -> Result<Summary, Error> {
    say(&format!("1. A new PostgreSQL {} cluster starts.", scratch.major()));
    let original = scratch.start_original().await?;
    say("2. 'holdfast init' prepares the store, a directory; 'holdfast agent' streams the WAL into it.");
    scratch.holdfast(&["init"]).await?;
    let agent = scratch.spawn_agent()?;
    let shop = Shop::open(scratch.conninfo()).await?;
    say("3. Orders come in, many each second, and go on coming in while 'holdfast backup' copies the cluster.");
    let (backup_s, orders_during_backup) = back_up_under_load(scratch, &shop).await?;
    say("4. More orders. Then somebody drops the wrong table:  DROP TABLE orders");
    shop.trade_for(TRADE).await?;
    let before = shop.sum().await?;
    let mistake = shop.drop_the_wrong_table().await?;
    scratch.wait_until_stored(mistake.end).await?;
    let loss_window_p99_s = scratch.loss_window().await;
    say("5. As if that were not enough, the server and the agent are killed.");
    drop(shop);
    lose(&original, agent)?;
    say(&format!("6. 'holdfast restore' brings the cluster back to {}, just before the mistake.", mistake.before));
    let started = clock::instant();
    scratch.restore(mistake.before).await?;
    let restored = Shop::reopen(scratch.conninfo()).await?;
    let restore_s = started.elapsed().as_secs_f64();
    let after = restored.sum().await?;
    drop(restored);
    scratch.stop_restored()?;
    Ok(Summary {
        postgres_major: scratch.major(),
        orders_during_backup,
        before,
        after,
        target: mistake.before,
        backup_s,
        restore_s,
        loss_window_p99_s,
        directory: None,
    })
}

/// Takes a base backup while orders are written; how long it took, and how many came in meanwhile.
async fn back_up_under_load(scratch: &Scratch, shop: &Shop) -> Result<(f64, u64), Error> {
    shop.trade_for(TRADE).await?;
    let orders = shop.sum().await?.orders;
    let started = clock::instant();
    let trade_on = shop.trade_until(Deadline::after(Duration::from_mins(2)));
    let backup = scratch.holdfast(&["backup", "postgres/main"]);
    tokio::select! {
        backup = backup => { backup?; }
        traded = trade_on => { traded?; return Err(Error::told("the base backup took more than two minutes")); }
    }
    Ok((started.elapsed().as_secs_f64(), shop.sum().await?.orders - orders))
}

/// Kills the agent and crashes the server.
fn lose(original: &LocalPostgres, mut agent: scratch::Running) -> Result<(), Error> {
    agent.kill();
    Ok(original.stop(Stop::Immediate)?)
}
