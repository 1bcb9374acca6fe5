//! The workload: a table of orders that fills steadily.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::Error;
use crate::config;
use crate::pg::Lsn;
use crate::pgwire::{ConnInfo, SqlConnection};
use crate::sys::clock::Deadline;

/// How long a new server may take until it answers.
const ANSWERS_WITHIN: Duration = Duration::from_mins(1);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// How many orders there are, and a checksum over all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Their number.
    pub orders: u64,
    /// MD5 over every row, in order.
    pub md5: String,
}

/// The moment of the mistake.
pub(super) struct Mistake {
    /// A time after the last order and before the mistake.
    pub before: Timestamp,
    /// The position after the mistake's commit.
    pub end: Lsn,
}

/// A connection to the shop's database.
pub(super) struct Shop {
    sql: SqlConnection,
}

impl Shop {
    /// Connects, and makes the table.
    pub(super) async fn open(conninfo: &str) -> Result<Self, Error> {
        let shop = Self::reopen(conninfo).await?;
        let statement = "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int NOT NULL, \
                         amount numeric(10,2) NOT NULL, note text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())";
        shop.sql.query("creating the table", statement, &[]).await?;
        Ok(shop)
    }

    /// Connects as soon as the server takes connections that may write.
    pub(super) async fn reopen(conninfo: &str) -> Result<Self, Error> {
        let info = ConnInfo::parse(conninfo, &config::environment()).map_err(Error::told)?;
        let deadline = Deadline::after(ANSWERS_WITHIN);
        loop {
            match SqlConnection::connect(&info).await {
                Ok(sql) => return Ok(Self { sql }),
                Err(error) if deadline.has_passed() => return Err(error.into()),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Takes orders for a while.
    pub(super) async fn trade_for(&self, duration: Duration) -> Result<(), Error> {
        self.trade_until(Deadline::after(duration)).await
    }

    /// Takes orders until then, each in a transaction of its own.
    pub(super) async fn trade_until(&self, deadline: Deadline) -> Result<(), Error> {
        let statement = "INSERT INTO orders (customer, amount, note) \
                         SELECT (random() * 1000)::int, (random() * 500)::numeric(10,2), md5(random()::text) FROM generate_series(1, 5)";
        while !deadline.has_passed() {
            self.sql.query("taking orders", statement, &[]).await?;
        }
        Ok(())
    }

    /// Counts the orders and sums them up.
    pub(super) async fn sum(&self) -> Result<Sum, Error> {
        let statement = "SELECT count(*), coalesce(md5(string_agg(md5(o::text), '' ORDER BY id)), '') FROM orders o";
        let row = self.sql.query_one("counting the orders", statement, &[]).await?;
        let orders: i64 = row.get(0);
        Ok(Sum { orders: orders.unsigned_abs(), md5: row.get(1) })
    }

    /// Drops the table.
    pub(super) async fn drop_the_wrong_table(&self) -> Result<Mistake, Error> {
        let now = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        let row = self.sql.query_one("asking for the time", now, &[]).await?;
        let before: String = row.get(0);
        self.sql.query("dropping the table", "DROP TABLE orders", &[]).await?;
        let row = self.sql.query_one("asking for the position", "SELECT pg_current_wal_flush_lsn()::text", &[]).await?;
        let end: String = row.get(0);
        Ok(Mistake { before: before.parse().map_err(Error::told)?, end: end.parse().map_err(Error::told)? })
    }
}
