//! Making a database like the one that was dumped, and giving it its name. Statements are values; `load` runs them.

use std::collections::BTreeSet;

use super::inventory::{Facts, Privilege};
use super::source::{literal, quoted};

/// The longest name of a database, in bytes.
const NAME_BYTES_MAX: usize = 63;
/// From this version on a database has a provider of its locale, and a new one that of its template unless it is said.
const PROVIDERS_SINCE: u32 = 15;

/// The statement that makes an empty database on a server of this major version, with the encoding and the locale of the one that was dumped.
pub(super) fn create(name: &str, facts: &Facts, owner: Option<&str>, major: u32) -> String {
    let Facts { encoding, datcollate, datctype, .. } = facts;
    let mut statement = format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        quoted(name),
        literal(encoding),
        literal(datcollate),
        literal(datctype)
    );
    let locale = facts.datlocale.as_ref().or(facts.daticulocale.as_ref());
    match (facts.datlocprovider.as_deref(), locale) {
        (Some("i"), Some(locale)) => {
            statement.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", literal(locale)));
            if let Some(rules) = &facts.daticurules {
                statement.push_str(&format!(" ICU_RULES {}", literal(rules)));
            }
        }
        (Some("b"), Some(locale)) => statement.push_str(&format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}", literal(locale))),
        (None | Some("c"), _) if major >= PROVIDERS_SINCE => statement.push_str(" LOCALE_PROVIDER libc"),
        _ => {}
    }
    if let Some(owner) = owner {
        statement.push_str(&format!(" OWNER {}", quoted(owner)));
    }
    statement
}

/// The same for a trial, on a machine that may not have the locale: what sorts otherwise there is still the same rows.
pub(super) fn create_for_trial(name: &str, facts: &Facts, major: u32) -> String {
    let plain = |text: &str| text.to_owned();
    let facts = Facts { datcollate: plain("C"), datctype: plain("C"), datlocprovider: None, ..facts.clone() };
    create(name, &facts, None, major)
}

/// The statements that give a database what stands beside it and not in it, as far as there are the roles for it: settings, privileges, comment,
/// limit. `owner` stands for the owner of the one that was dumped.
pub(super) fn properties(name: &str, facts: &Facts, owner: &str, is_role: impl Fn(&str) -> bool) -> Vec<String> {
    let mut statements: Vec<String> = facts
        .settings
        .iter()
        .map(|(setting, value)| format!("ALTER DATABASE {} {}", quoted(name), set(setting, value)))
        .collect();
    let role_settings = facts.role_settings.iter().filter(|(role, ..)| is_role(role));
    statements.extend(role_settings.map(|(role, setting, value)| {
        format!("ALTER ROLE {} IN DATABASE {} {}", quoted(role), quoted(name), set(setting, value))
    }));
    statements.extend(facts.privileges.iter().flat_map(|privileges| grants(name, facts, privileges, owner, &is_role)));
    statements
        .extend(facts.comment.iter().map(|comment| format!("COMMENT ON DATABASE {} IS {}", quoted(name), literal(comment))));
    let limit =
        (facts.datconnlimit >= 0).then(|| format!("ALTER DATABASE {} CONNECTION LIMIT {}", quoted(name), facts.datconnlimit));
    statements.extend(limit);
    statements
}

/// The roles that these properties need, the owner's aside.
pub(super) fn roles(facts: &Facts) -> BTreeSet<&str> {
    let grantees = facts.privileges.iter().flatten().filter_map(|privilege| privilege.grantee.as_deref());
    let with_settings = facts.role_settings.iter().map(|(role, ..)| role.as_str());
    grantees.chain(with_settings).filter(|role| *role != facts.owner).collect()
}

fn set(setting: &str, value: &str) -> String {
    // The value of a list is a list in SQL too; as one text it would be one name. No name in it stands in double quotes: `""`, which is stored
    // for the empty one of `search_path = ''`, SQL does not take.
    let values = if is_list(setting) { names(value) } else { vec![value.to_owned()] };
    let values: Vec<String> = values.iter().map(|value| literal(value)).collect();
    format!("SET {setting} TO {}", values.join(", "))
}

/// The names in a list as it is stored: separated by commas, in double quotes where they need them (`SplitGUCList` in `fe_utils`).
fn names(list: &str) -> Vec<String> {
    let (mut names, mut name, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut letters = list.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => name.extend(letters.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => names.push(std::mem::take(&mut name)),
            letter if letter.is_whitespace() && !is_quoted => {}
            letter => name.push(letter),
        }
    }
    names.push(name);
    names
}

/// What a new database grants by itself is revoked first. Whoever granted what, it comes from the owner now.
fn grants(name: &str, facts: &Facts, privileges: &[Privilege], owner: &str, is_role: impl Fn(&str) -> bool) -> Vec<String> {
    let on = format!("ON DATABASE {}", quoted(name));
    let mut statements = vec![format!("REVOKE ALL {on} FROM PUBLIC"), format!("REVOKE ALL {on} FROM {}", quoted(owner))];
    for Privilege { grantee, privilege, grantable } in privileges {
        let to = match grantee.as_deref() {
            None => "PUBLIC".to_owned(),
            Some(role) if role == facts.owner => quoted(owner),
            Some(role) if is_role(role) => quoted(role),
            Some(_) => continue,
        };
        let option = if *grantable { " WITH GRANT OPTION" } else { "" };
        statements.push(format!("GRANT {privilege} {on} TO {to}{option}"));
    }
    statements
}

/// Settings whose values are stored as lists of names in quotes (`GUC_LIST_QUOTE`).
fn is_list(setting: &str) -> bool {
    const LISTS: [&str; 7] = [
        "local_preload_libraries",
        "oauth_validator_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    ];
    LISTS.contains(&setting.to_ascii_lowercase().as_str())
}

/// The statements that put a database in the place of another one, in one transaction; the other keeps its content under `aside`.
pub(super) fn replace(beside: &str, name: &str, aside: &str) -> String {
    let rename = |from: &str, to: &str| format!("ALTER DATABASE {} RENAME TO {}", quoted(from), quoted(to));
    format!("BEGIN; {}; {}; COMMIT", rename(name, aside), rename(beside, name))
}

/// A name beside another one, told apart by `mark`.
pub(super) fn beside(name: &str, mark: &str) -> String {
    let mut kept = name.len().min(NAME_BYTES_MAX - mark.len() - 1);
    while !name.is_char_boundary(kept) {
        kept -= 1;
    }
    format!("{}-{mark}", &name[..kept])
}

/// Whether a name is one beside another, told apart by `mark` and a number after it.
pub(super) fn is_beside(found: &str, name: &str, mark: &str) -> bool {
    let number = found.rsplit_once(mark).map_or("", |(_, number)| number);
    let is_number = !number.is_empty() && number.len() <= 16 && number.chars().all(|digit| digit.is_ascii_hexdigit());
    is_number && beside(name, &format!("{mark}{number}")) == found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            name: "shop".to_owned(),
            owner: "app".to_owned(),
            encoding: "UTF8".to_owned(),
            datcollate: "de_DE.utf8".to_owned(),
            datctype: "de_DE.utf8".to_owned(),
            datlocprovider: Some("c".to_owned()),
            daticulocale: None,
            datlocale: None,
            daticurules: None,
            settings: vec![("search_path".to_owned(), "\"$user\", a".to_owned()), ("work_mem".to_owned(), "1MB".to_owned())],
            role_settings: vec![],
            privileges: None,
            comment: None,
            datconnlimit: -1,
        }
    }

    #[test]
    fn a_database_is_made_as_it_was() {
        let plain = "CREATE DATABASE \"a\"\"b\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'de_DE.utf8' LC_CTYPE 'de_DE.utf8'";
        assert_eq!(create("a\"b", &facts(), Some("app"), 14), format!("{plain} OWNER \"app\""));
        // A new database would have that of template0, which may be another one.
        assert_eq!(create("a\"b", &facts(), None, 15), format!("{plain} LOCALE_PROVIDER libc"));
        let older = Facts { datlocprovider: None, ..facts() };
        assert_eq!(create("a\"b", &older, None, 17), format!("{plain} LOCALE_PROVIDER libc"));
        let icu = Facts { datlocprovider: Some("i".to_owned()), daticulocale: Some("de".to_owned()), ..facts() };
        assert!(create("x", &icu, None, 15).ends_with(" LOCALE_PROVIDER icu ICU_LOCALE 'de'"));
        let builtin = Facts { datlocprovider: Some("b".to_owned()), datlocale: Some("C.UTF-8".to_owned()), ..facts() };
        assert!(create("x", &builtin, None, 17).ends_with(" LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"));
        assert!(create_for_trial("x", &icu, 15).ends_with("LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER libc"));
        let expected = ["ALTER DATABASE \"x\" SET search_path TO '$user', 'a'", "ALTER DATABASE \"x\" SET work_mem TO '1MB'"];
        assert_eq!(properties("x", &facts(), "app", |_| true), expected);
    }

    #[test]
    fn lists_come_back_whatever_names_they_have() {
        for (stored, said) in [
            ("\"\"", "SET search_path TO ''"),
            ("a, \"b,\"\" c\"", "SET search_path TO 'a', 'b,\" c'"),
            ("\"it's\"", "SET search_path TO 'it''s'"),
        ] {
            assert_eq!(set("search_path", stored), said);
        }
        assert_eq!(set("application_name", "a, b"), "SET application_name TO 'a, b'");
    }

    #[test]
    fn what_stands_beside_a_database_comes_back_for_the_roles_that_there_are() {
        let grant = |grantee: Option<&str>, privilege: &str, grantable| Privilege {
            grantee: grantee.map(str::to_owned),
            privilege: privilege.to_owned(),
            grantable,
        };
        let privileges =
            vec![grant(None, "CONNECT", false), grant(Some("app"), "CREATE", false), grant(Some("a\"b"), "CREATE", true)];
        let setting = |role: &str| (role.to_owned(), "work_mem".to_owned(), "1MB".to_owned());
        let facts = Facts {
            settings: vec![],
            role_settings: vec![setting("a\"b"), setting("gone")],
            privileges: Some([privileges, vec![grant(Some("gone"), "CONNECT", false)]].concat()),
            comment: Some("it's".to_owned()),
            datconnlimit: 0,
            ..facts()
        };
        let expected = [
            "ALTER ROLE \"a\"\"b\" IN DATABASE \"x\" SET work_mem TO '1MB'",
            "REVOKE ALL ON DATABASE \"x\" FROM PUBLIC",
            "REVOKE ALL ON DATABASE \"x\" FROM \"new\"",
            "GRANT CONNECT ON DATABASE \"x\" TO PUBLIC",
            "GRANT CREATE ON DATABASE \"x\" TO \"new\"",
            "GRANT CREATE ON DATABASE \"x\" TO \"a\"\"b\" WITH GRANT OPTION",
            "COMMENT ON DATABASE \"x\" IS 'it''s'",
            "ALTER DATABASE \"x\" CONNECTION LIMIT 0",
        ];
        assert_eq!(properties("x", &facts, "new", |role| role != "gone"), expected);
        assert_eq!(roles(&facts), BTreeSet::from(["a\"b", "gone"]));
    }

    #[test]
    fn a_long_name_still_leaves_room_for_the_mark() {
        let name = "ä".repeat(31);
        let made = beside(&name, "holdfast-0123456789ab");
        assert!(made.len() <= 63 && made.ends_with("-holdfast-0123456789ab"), "{made}");
        assert_eq!(beside("shop", "x"), "shop-x");
        assert!(is_beside(&made, &name, "holdfast-") && is_beside("shop-holdfast-19a0", "shop", "holdfast-"));
        for other in ["shop", "shop-holdfast-", "shop-holdfast-mine", "shop2-holdfast-19a0", "shop-replaced-19a0"] {
            assert!(!is_beside(other, "shop", "holdfast-"), "{other}");
        }
    }
}
