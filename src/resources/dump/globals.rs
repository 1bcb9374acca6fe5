//! What a server's globals say, as `pg_dumpall --globals-only` writes them. Pure.
//!
//! Only what is missing on the server of a restore is made there: a role that exists keeps its password and its rights.

/// The roles and tablespaces that globals make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Globals {
    statements: Vec<String>,
}

/// What a server lacks, and what makes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Missing {
    /// The names of roles, as SQL writes them.
    pub roles: Vec<String>,
    /// The names of tablespaces, as SQL writes them. They are not made: their directories are another machine's.
    pub tablespaces: Vec<String>,
    /// The statements that make the roles, in order.
    pub statements: Vec<String>,
}

impl Globals {
    /// Splits the text into its statements. Comments and what `psql` reads are left out.
    pub(super) fn read(text: &str) -> Self {
        let (mut statements, mut current, mut quote) = (Vec::new(), String::new(), None::<char>);
        for line in text.lines() {
            let idle = current.is_empty();
            if idle && (line.trim().is_empty() || line.starts_with("--") || line.starts_with('\\')) {
                continue;
            }
            if !idle {
                current.push('\n');
            }
            current.push_str(line);
            quote = line.chars().fold(quote, |quote, c| match (quote, c) {
                (None, '\'' | '"') => Some(c),
                (Some(open), c) if open == c => None,
                (quote, _) => quote,
            });
            if quote.is_none() && line.ends_with(';') {
                statements.push(std::mem::take(&mut current).trim_end_matches(';').to_owned());
            }
        }
        Self { statements }
    }

    /// What of it is not among the roles and tablespaces that are there, by their plain names.
    pub(super) fn missing(&self, roles: &[String], tablespaces: &[String]) -> Missing {
        let lacking = |verb: &str, there: &[String]| -> Vec<String> {
            let names = self.statements.iter().filter_map(|statement| statement.strip_prefix(verb));
            let names = names.map(|rest| first_name(rest).0.to_owned());
            names.filter(|name| !there.contains(&plain(name))).collect()
        };
        let (roles, tablespaces) = (lacking("CREATE ROLE ", roles), lacking("CREATE TABLESPACE ", tablespaces));
        let statements = self.statements.iter().filter_map(|statement| of_roles(statement, &roles)).collect();
        Missing { roles, tablespaces, statements }
    }
}

/// A statement that makes one of the roles what it was.
fn of_roles(statement: &str, roles: &[String]) -> Option<String> {
    let about = ["CREATE ROLE ", "ALTER ROLE ", "COMMENT ON ROLE "];
    if let Some(rest) = about.iter().find_map(|verb| statement.strip_prefix(verb)) {
        let (name, rest) = first_name(rest);
        let in_a_database = rest.starts_with(" IN DATABASE ");
        return (roles.iter().any(|role| role == name) && !in_a_database).then(|| statement.to_owned());
    }
    // GRANT role TO member [WITH ...] [GRANTED BY ...]
    let (granted, rest) = first_name(statement.strip_prefix("GRANT ")?);
    let (member, options) = first_name(rest.strip_prefix(" TO ")?);
    let options = options.split(" GRANTED BY ").next().unwrap_or_default();
    roles.iter().any(|role| role == member).then(|| format!("GRANT {granted} TO {member}{options}"))
}

/// The name at the beginning, quotes included, and what follows it.
fn first_name(text: &str) -> (&str, &str) {
    let end = if let Some(inner) = text.strip_prefix('"') {
        let mut rest = inner;
        loop {
            let Some(at) = rest.find('"') else { break text.len() };
            rest = &rest[at + 1..];
            match rest.strip_prefix('"') {
                Some(behind) => rest = behind,
                None => break text.len() - rest.len(),
            }
        }
    } else {
        text.find([' ', '\n']).unwrap_or(text.len())
    };
    text.split_at(end)
}

/// A name without the quotes that SQL may need.
fn plain(name: &str) -> String {
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "--\n-- PostgreSQL database cluster dump\n--\n\n\\restrict abc\n\nSET default_transaction_read_only = off;\n\n\
        CREATE ROLE app;\nALTER ROLE app WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:a;b';\n\
        CREATE ROLE \"odd \"\" name\";\nALTER ROLE \"odd \"\" name\" WITH NOLOGIN;\nALTER ROLE \"odd \"\" name\" SET search_path TO 'a;\nb';\n\
        CREATE ROLE postgres;\nALTER ROLE postgres WITH SUPERUSER;\nALTER ROLE app IN DATABASE shop SET work_mem TO '1MB';\n\
        GRANT app TO \"odd \"\" name\" WITH INHERIT TRUE GRANTED BY postgres;\nGRANT pg_monitor TO postgres;\n\
        CREATE TABLESPACE fast OWNER postgres LOCATION '/fast';\n\\unrestrict abc\n";

    #[test]
    fn only_what_is_missing_is_made() {
        let globals = Globals::read(TEXT);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let missing = globals.missing(&names(&["postgres", "app"]), &names(&["pg_default"]));
        assert_eq!((missing.roles, missing.tablespaces), (names(&["\"odd \"\" name\""]), names(&["fast"])));
        let expected = [
            "CREATE ROLE \"odd \"\" name\"",
            "ALTER ROLE \"odd \"\" name\" WITH NOLOGIN",
            "ALTER ROLE \"odd \"\" name\" SET search_path TO 'a;\nb'",
            "GRANT app TO \"odd \"\" name\" WITH INHERIT TRUE",
        ];
        assert_eq!(missing.statements, expected);
        assert_eq!(globals.missing(&names(&["postgres", "app", "odd \" name"]), &names(&["fast"])), Missing::default());
        let all = globals.missing(&[], &[]);
        assert_eq!(all.roles.len(), 3);
        assert!(all.statements.iter().all(|statement| !statement.contains("IN DATABASE") && !statement.starts_with("SET")));
    }
}
