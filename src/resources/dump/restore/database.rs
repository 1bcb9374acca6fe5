//! A dump into a database: filled beside its place, compared, and put there in one step.

use serde::Serialize;

use super::privilege::may_make_databases;
use crate::config::{self, Environment};
use crate::pgwire::{ConnInfo, SqlConnection};
use crate::repository::{BackupEntry, ResourceName};
use crate::resources::dump::create::{beside, create, is_beside, properties, replace, roles};
use crate::resources::dump::error::{Error, Result};
use crate::resources::dump::globals::Missing;
use crate::resources::dump::inventory::{Inventory, detail};
use crate::resources::dump::load::{Loading, missing};
use crate::resources::dump::source::{self, Tools, quoted};
use crate::resources::{self, Run};
use crate::sys::clock;

/// The databases from which others can be made and renamed, in the order in which they are tried.
const OTHERS: [&str; 2] = ["postgres", "template1"];
/// How often it is tried to have a database for oneself that others are connected to.
const SWITCHES_MAX: usize = 20;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(250);
/// What tells the name of a database that is being restored from that of its place.
const RESTORED: &str = "holdfast-";

/// A database to restore to, there or not.
#[derive(Debug)]
pub(super) struct Target {
    info: ConnInfo,
    name: String,
}

/// A database of the configured server.
pub(super) fn here(resource: &ResourceName, section: &config::Dump, name: &str) -> Result<Target> {
    Ok(Target { info: source::conninfo(resource, section)?, name: name.to_owned() })
}

/// The database that a connection string names. It stands on the command line, where everybody sees it: a password has no place in it.
pub(super) fn elsewhere(text: &str) -> Result<Target> {
    let given = ConnInfo::parse(text, &Environment::default())?;
    let variables = given.hosts().first().and_then(|host| given.login_variables(&host.to_string()));
    if variables.is_some_and(|variables| variables.password.is_some()) {
        return Err(Error::PasswordShown);
    }
    let info = ConnInfo::parse(text, &config::environment())?;
    if !info.names_a_database() {
        return Err(Error::NoDatabase("--to".to_owned()));
    }
    let name = info.dbname().to_owned();
    Ok(Target { info: info.with_default_application_name("holdfast"), name })
}

/// What is in the place of the restored database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Found {
    /// Nothing.
    Absent,
    /// A database in which nobody has made anything.
    Empty,
    /// A database with something in it.
    Filled { objects: i64, bytes: i64, sessions: i64 },
}

/// A restore to a database that was planned.
#[derive(Debug)]
pub(super) struct DatabasePlan {
    /// To another database of the server.
    info: ConnInfo,
    name: String,
    server: String,
    major: u32,
    found: Found,
    /// Who owns the database that is there.
    owner: Option<String>,
    /// Databases of restores to this place that were not put there.
    not_in_place: Vec<String>,
    missing: Missing,
    inventory: Inventory,
}

impl DatabasePlan {
    pub(super) async fn new(run: &Run, section: &config::Dump, backup: &BackupEntry, target: Target) -> Result<Self> {
        let Target { info, name } = target;
        let (info, sql) = connect_beside(&info, &name).await?;
        let (detail, major) = (detail(&run.repository, backup)?, sql.server_version().major());
        let dumped = detail.server_version / 10_000;
        if major < dumped {
            return Err(Error::OlderServer { server: sql.server().to_owned(), found: major, dumped });
        }
        source::programs(section, detail.program_major)?;
        may_make_databases(&sql).await?;
        let (found, owner) = look(&info, &sql, &name).await?;
        Ok(Self {
            server: sql.server().to_owned(),
            major,
            found,
            owner,
            not_in_place: not_in_place(&sql, &name).await?,
            missing: missing(run, backup, &sql).await?,
            inventory: Inventory::read(&run.repository, backup).await?,
            info,
            name,
        })
    }

    pub(super) const fn replaces(&self) -> bool {
        matches!(self.found, Found::Filled { .. })
    }

    pub(super) fn text(&self) -> String {
        let mut lines = vec![format!("into database {} of PostgreSQL {} at {}", self.name, self.major, self.server)];
        lines.push(match &self.found {
            Found::Absent => "  it does not exist, and is made".to_owned(),
            Found::Empty => "  it is empty, and is replaced".to_owned(),
            Found::Filled { objects, bytes, sessions } => format!(
                "  IT IS REPLACED: it has {objects} objects and {bytes} bytes, and {sessions} sessions, which are ended; it stays as it \
                 is until the restored one is complete"
            ),
        });
        if !self.missing.roles.is_empty() {
            lines.push(format!("  roles that the server lacks are made: {}", self.missing.roles.join(", ")));
        }
        if !self.missing.tablespaces.is_empty() {
            let lacking = self.missing.tablespaces.join(", ");
            lines.push(format!("  the server lacks the tablespaces {lacking}: everything goes to the default one"));
        }
        lines.extend(self.not_in_place.iter().map(|made| {
            let remove = quoted(made);
            format!(
                "  database {made} is that of another restore to this place: unless one is under way, it is left over, and \
                 'DROP DATABASE {remove}' removes it"
            )
        }));
        lines.join("\n")
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "to": self.name, "server": self.server, "found": self.found, "replaces": self.replaces(),
            "missing_roles": self.missing.roles, "missing_tablespaces": self.missing.tablespaces,
            "not_in_place": self.not_in_place,
        })
    }

    /// Restores; what was done, and what to do next.
    pub(super) async fn carry_out(&self, run: &Run, section: &config::Dump, backup: &BackupEntry) -> resources::Result<String> {
        let sql = SqlConnection::connect(&self.info).await.map_err(Error::from)?.with_deadline(section.timeout.0);
        let detail = detail(&run.repository, backup)?;
        run.progress.expect(backup.plain_bytes);
        for statement in &self.missing.statements {
            sql.execute("making a role", statement).await.map_err(Error::from)?;
        }
        let programs = source::programs(section, detail.program_major)?;
        let tools = Tools::new(programs, &self.info, &sql, section)?;
        let loading = Loading { run, section, backup, inventory: &self.inventory, sql: &sql, info: &self.info, tools: &tools };
        let made = beside(&self.name, &format!("{RESTORED}{:x}", clock::now().as_millisecond()));
        let owner = self.owner(&sql).await?;
        let create = create(&made, &self.inventory.database, owner.as_deref(), self.major);
        let compared = loading.fill(&made, &create, !self.missing.tablespaces.is_empty()).await?;
        let complete: Result<Option<String>> = async {
            self.give_properties(&sql, &made).await?;
            self.put_in_place(&sql, &made).await
        }
        .await;
        let left = complete.map_err(|why| Error::NotInPlace { made, name: self.name.clone(), why: Box::new(why) })?;
        let left = left.map(|left| format!("\n{left}")).unwrap_or_default();
        let rows = match compared {
            Some(tables) => format!("the rows of all {tables} tables are those that were dumped"),
            None => "rows were not counted when it was dumped".to_owned(),
        };
        Ok(format!("restored into database {} at {}: {rows}{left}\nrun ANALYZE in it before it is used", self.name, self.server))
    }

    /// Who is to own it: the owner of the one that is replaced, or of the one that was dumped, where there is such a role.
    async fn owner(&self, sql: &SqlConnection) -> Result<Option<String>> {
        let owner = self.owner.as_ref().unwrap_or(&self.inventory.database.owner);
        Ok(is_role(sql, owner).await?.then(|| owner.clone()))
    }

    /// Gives it what stands beside a database and not in it, while it still has its own name: what fails here replaces nothing.
    async fn give_properties(&self, sql: &SqlConnection, made: &str) -> Result<()> {
        let facts = &self.inventory.database;
        let mut missing = Vec::new();
        for role in roles(facts) {
            if !is_role(sql, role).await? {
                missing.push(role);
            }
        }
        if !missing.is_empty() {
            let missing = missing.join(", ");
            tracing::warn!(
                "the server has no role {missing}: what it was granted on the database, or had set there, is left out"
            );
        }
        let owner = owner_of(sql, made).await?.unwrap_or_default();
        for statement in properties(made, facts, &owner, |role| !missing.contains(&role)) {
            sql.execute("giving the database its settings, privileges and comment", &statement).await?;
        }
        Ok(())
    }

    /// Gives it its name; what is left of the database that had it, in a sentence.
    async fn put_in_place(&self, sql: &SqlConnection, made: &str) -> Result<Option<String>> {
        if self.found == Found::Absent {
            let rename = format!("ALTER DATABASE {} RENAME TO {}", quoted(made), quoted(&self.name));
            sql.execute("putting the restored database in its place", &rename).await?;
            return Ok(None);
        }
        let aside = beside(&self.name, &format!("replaced-{:x}", clock::now().as_millisecond()));
        self.switch(sql, &replace(made, &self.name, &aside)).await?;
        Ok(self.remove_replaced(sql, &aside).await)
    }

    /// Removes the database that was replaced; why it is still there, if it is. One that was to be replaced without a word because it was empty
    /// is looked at again, now that nobody can come to it by its name.
    async fn remove_replaced(&self, sql: &SqlConnection, aside: &str) -> Option<String> {
        if self.found == Found::Empty {
            match look(&self.info, sql, aside).await {
                Ok((Found::Filled { .. }, _)) => {
                    return Some(format!(
                        "the database that was there has been filled since the plan was made: it is kept as {aside}"
                    ));
                }
                Ok(_) => {}
                Err(error) => return Some(format!("the empty database that was there is kept as {aside}: {error}")),
            }
        }
        let remove = format!("DROP DATABASE {} WITH (FORCE)", quoted(aside));
        let removed = sql.execute("removing the replaced database", &remove).await;
        removed.err().map(|error| format!("the database that was replaced could not be removed, and is kept as {aside}: {error}"))
    }

    /// Changes the names, which nobody may be connected to meanwhile: whoever is connected is sent away, and comes back to the new one.
    async fn switch(&self, sql: &SqlConnection, statements: &str) -> Result<()> {
        const DOING: &str = "putting the restored database in the place of the other";
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname::text = $1 AND pid <> pg_backend_pid()";
        let mut tries = 0;
        loop {
            sql.query("ending the sessions of the replaced database", end, &[&self.name]).await?;
            match sql.execute(DOING, statements).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    // A failed statement leaves the transaction open.
                    sql.execute("giving up the change of names", "ROLLBACK").await?;
                    // Each try waits for seconds, and this does not end by itself.
                    refuse_prepared(sql, &self.name).await?;
                    tries += 1;
                    if tries >= SWITCHES_MAX {
                        return Err(error.into());
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Connects to another database of the server than the one that is replaced.
async fn connect_beside(info: &ConnInfo, name: &str) -> Result<(ConnInfo, SqlConnection)> {
    let mut failed = None;
    for other in OTHERS.into_iter().filter(|other| *other != name) {
        let info = info.clone().with_dbname(other);
        match SqlConnection::connect(&info).await {
            Ok(sql) => return Ok((info, sql)),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.map_or_else(|| Error::Interrupted("there is no other database".to_owned()), Error::from))
}

/// What is there, and who owns it.
async fn look(info: &ConnInfo, sql: &SqlConnection, name: &str) -> Result<(Found, Option<String>)> {
    const DOING: &str = "looking at the database that is there";
    let Some(owner) = owner_of(sql, name).await? else { return Ok((Found::Absent, None)) };
    // It would be found out when everything is restored, and the other has another name.
    if is_template(sql, name).await? {
        return Err(Error::Template(name.to_owned()));
    }
    refuse_prepared(sql, name).await?;
    let inside = SqlConnection::connect(&info.clone().with_dbname(name)).await?;
    let statement = format!(
        "SELECT {} AS objects, pg_catalog.pg_database_size(pg_catalog.current_database()) AS bytes,
        (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()) AS sessions",
        count_objects()
    );
    let row = inside.query_one(DOING, &statement, &[]).await?;
    let objects: i64 = inside.get(DOING, &row, "objects")?;
    let found = match objects {
        0 => Found::Empty,
        _ => Found::Filled { objects, bytes: inside.get(DOING, &row, "bytes")?, sessions: inside.get(DOING, &row, "sessions")? },
    };
    Ok((found, Some(owner)))
}

/// Counts, in SQL, what users have made in a database: one too many is asked about, one too few is lost without a question.
fn count_objects() -> String {
    const CATALOGS: [&str; 16] = [
        "pg_am",
        "pg_cast",
        "pg_collation",
        "pg_conversion",
        "pg_extension",
        "pg_language",
        "pg_namespace",
        "pg_opclass",
        "pg_operator",
        "pg_opfamily",
        "pg_proc",
        "pg_transform",
        "pg_ts_config",
        "pg_ts_dict",
        "pg_ts_parser",
        "pg_ts_template",
    ];
    // Numbers from 16384 on (`FirstNormalObjectId`) are given to what users make. Of types those that are none of a table's, and no arrays.
    let numbered = CATALOGS.map(|catalog| format!("(SELECT count(*) FROM pg_catalog.{catalog} WHERE oid >= 16384)")).join(" + ");
    format!(
        "{numbered} + (SELECT count(*) FROM pg_catalog.pg_class WHERE oid >= 16384 AND relkind <> 't' AND relkind <> 'i')
        + (SELECT count(*) FROM pg_catalog.pg_type WHERE oid >= 16384 AND typrelid = 0 AND typelem = 0)
        + (SELECT count(*) FROM pg_catalog.pg_foreign_data_wrapper) + (SELECT count(*) FROM pg_catalog.pg_foreign_server)
        + (SELECT count(*) FROM pg_catalog.pg_publication) + (SELECT count(*) FROM pg_catalog.pg_event_trigger)
        + (SELECT count(*) FROM pg_catalog.pg_default_acl) + (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata)"
    )
}

/// Refuses a database with prepared transactions: nobody can rename or drop it before they are ended, and whoever has prepared them decides how.
async fn refuse_prepared(sql: &SqlConnection, name: &str) -> Result<()> {
    const DOING: &str = "looking for prepared transactions in the database that is there";
    let statement = "SELECT gid::text AS gid FROM pg_catalog.pg_prepared_xacts WHERE database::text = $1 ORDER BY gid";
    let rows = sql.query(DOING, statement, &[&name]).await?;
    let gids: Vec<String> = rows.iter().map(|row| sql.get::<String>(DOING, row, "gid")).collect::<std::result::Result<_, _>>()?;
    if gids.is_empty() { Ok(()) } else { Err(Error::Prepared { database: name.to_owned(), gids }) }
}

/// The databases of restores to this place that are under way, were killed, or could not put them there: none can be told from the other.
async fn not_in_place(sql: &SqlConnection, name: &str) -> Result<Vec<String>> {
    const DOING: &str = "looking for databases of other restores";
    let statement = "SELECT datname::text AS name FROM pg_catalog.pg_database ORDER BY 1";
    let rows = sql.query(DOING, statement, &[]).await?;
    let names: Vec<String> =
        rows.iter().map(|row| sql.get::<String>(DOING, row, "name")).collect::<std::result::Result<_, _>>()?;
    Ok(names.into_iter().filter(|found| is_beside(found, name, RESTORED)).collect())
}

/// Who owns a database; `None` where there is none of that name.
async fn owner_of(sql: &SqlConnection, name: &str) -> Result<Option<String>> {
    const DOING: &str = "looking for the owner of the database";
    let statement = "SELECT pg_get_userbyid(datdba)::text AS owner FROM pg_catalog.pg_database WHERE datname::text = $1";
    let rows = sql.query(DOING, statement, &[&name]).await?;
    Ok(rows.first().map(|row| sql.get(DOING, row, "owner")).transpose()?)
}

async fn is_template(sql: &SqlConnection, name: &str) -> Result<bool> {
    const DOING: &str = "looking whether the database is a template";
    let statement = "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname::text = $1 AND datistemplate) AS so";
    let row = sql.query_one(DOING, statement, &[&name]).await?;
    Ok(sql.get::<bool>(DOING, &row, "so")?)
}

async fn is_role(sql: &SqlConnection, name: &str) -> Result<bool> {
    const DOING: &str = "looking for a role";
    let statement = "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname::text = $1) AS there";
    let row = sql.query_one(DOING, statement, &[&name]).await?;
    Ok(sql.get::<bool>(DOING, &row, "there")?)
}
