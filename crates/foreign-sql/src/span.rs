//! What a call's span says of its statements: words of SQL and names of the operator, nothing else.

use std::borrow::Cow;
use std::sync::Arc;

use agw_config::{SqlEndpoint, SqlServerEngine};
use agw_foreign::Operation;
use agw_wire::Request;
use agw_wire::sql::{Call, Mode, Statement};

use crate::plan::Policy;

/// Which database it is, as spans tell it.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    system: &'static str,
    /// Not of a file: that is a path on this machine.
    name: Option<Arc<str>>,
}

/// The words that begin a statement and say what it does.
const WORDS: [&str; 10] =
    ["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "WITH", "VALUES", "TABLE", "CREATE"];

impl Database {
    pub(crate) fn of(endpoint: &SqlEndpoint) -> Self {
        match endpoint {
            SqlEndpoint::Sqlite(_) => Database { system: "sqlite", name: None },
            SqlEndpoint::Server(server) => {
                let system = match server.engine {
                    SqlServerEngine::Postgres => "postgresql",
                    // The document does not tell MySQL and MariaDB apart.
                    SqlServerEngine::Mysql => "mysql",
                };
                Database { system, name: Some(server.database.as_str().into()) }
            }
        }
    }

    pub(crate) fn operation(&self, request: &Request<'_>, policy: &Policy) -> Operation {
        let namespace = self.name.clone();
        let mut operation = Operation { system: self.system, namespace, ..Operation::default() };
        let Some(Call { mode, statements, .. }) = &request.sql else { return operation };
        operation.batch = statements.len();
        operation.name = Cow::Borrowed(match (mode, statements.as_slice()) {
            (Mode::Fetch, _) => "FETCH",
            (Mode::Close, _) => "CLOSE",
            (Mode::Batch, _) => "BATCH",
            (_, [statement]) => word(text(statement, policy)),
            _ => "",
        });
        if let [statement] = statements.as_slice() {
            // A name that the grant does not have is the guest's word.
            let granted = policy.statements.get_key_value(statement.name);
            operation.summary = granted.map(|(name, _)| name.as_str().into());
        }
        operation
    }
}

fn text<'a>(statement: &Statement<'a>, policy: &'a Policy) -> &'a str {
    policy.statements.get(statement.name).map_or(statement.text, |named| &named.text)
}

/// The first word, if it is one of those that are known; a comment before it hides it.
fn word(text: &str) -> &'static str {
    let text = text.trim_start();
    let end = text.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(text.len());
    let first = text.get(..end).unwrap_or_default();
    WORDS.into_iter().find(|word| word.eq_ignore_ascii_case(first)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use agw_sql_statements::{Dialect, Kind};
    use agw_wire::sql::Cells;

    use super::*;
    use crate::engine::Caps;
    use crate::plan::Named;

    fn policy() -> Policy {
        let named = Named {
            text: "select name from users where id = 'canary'".into(),
            kind: Kind::Reads,
            read_only: true,
            pipelined: false,
        };
        Policy {
            dialect: Dialect::Postgres,
            statements: [("find".to_owned(), named)].into(),
            ad_hoc: true,
            read_only: false,
            caps: Caps { rows: 1, response_bytes: 1, cell_bytes: 1 },
            batch_max: 3,
        }
    }

    fn of(mode: Mode, statements: &[(&str, &str)]) -> Operation {
        let statements = statements
            .iter()
            .map(|&(name, text)| Statement { name, text, params: Cells::default() })
            .collect();
        let call = Call { mode, statements, ..Call::default() };
        let database = Database { system: "postgresql", name: Some("app".into()) };
        database.operation(&Request { sql: Some(call), ..Request::default() }, &policy())
    }

    #[test]
    fn a_statement_is_told_by_its_name_and_first_word() {
        let named = of(Mode::Query, &[("find", "")]);
        assert_eq!((&*named.name, named.summary.as_deref()), ("SELECT", Some("find")));
        assert_eq!((named.system, named.namespace.as_deref()), ("postgresql", Some("app")));
        let ad_hoc = of(Mode::Execute, &[("", " insert into t values ('canary')")]);
        assert_eq!((&*ad_hoc.name, ad_hoc.summary), ("INSERT", None));
        for odd in ["canary", "/* canary */ SELECT 1", "", "(SELECT 1)"] {
            assert_eq!(of(Mode::Query, &[("", odd)]).name, "", "{odd}");
        }
        let unknown = of(Mode::Query, &[("canary", "")]);
        assert!(!format!("{unknown:?} {named:?}").contains("canary"));
    }

    #[test]
    fn what_is_no_single_statement_has_a_word_of_its_own() {
        let batch = of(Mode::Batch, &[("find", ""), ("", "DELETE FROM t")]);
        assert_eq!((&*batch.name, batch.batch, batch.summary), ("BATCH", 2, None));
        assert_eq!((&*of(Mode::Fetch, &[]).name, &*of(Mode::Close, &[]).name), ("FETCH", "CLOSE"));
    }
}
