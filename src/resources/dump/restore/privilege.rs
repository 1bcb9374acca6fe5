//! Whether the role may do what a restore does, found out before anything is done.

use crate::pgwire::SqlConnection;
use crate::resources::dump::error::{Error, Result};

/// Makes sure that the role may make databases: a restore fills a new one, whatever is in its place.
pub(super) async fn may_make_databases(sql: &SqlConnection) -> Result<()> {
    const DOING: &str = "looking whether the role may make databases";
    let statement =
        "SELECT rolname::text AS role, rolcreatedb OR rolsuper AS may FROM pg_catalog.pg_roles WHERE rolname = current_user";
    let row = sql.query_one(DOING, statement, &[]).await?;
    if sql.get::<bool>(DOING, &row, "may")? {
        return Ok(());
    }
    Err(Error::MayNotCreate { role: sql.get(DOING, &row, "role")?, server: sql.server().to_owned() })
}
