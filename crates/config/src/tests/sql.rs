//! Resources of SQL: what is refused, and where.

use super::{accept, load_with, problems, usual_files, with_resource};
use crate::{SqlEndpoint, SqlHost, SqlTarget};

/// The problems of a resource with these fields, without the file's name and the resource's path.
fn of(fields: &str) -> Vec<String> {
    let found = problems(&with_resource(&format!("name: r\n{fields}")));
    let short =
        |line: String| line.split_once("resources[0]").map(|(_, rest)| rest.to_owned()).unwrap_or(line);
    found.into_iter().map(short).collect()
}

const SQLITE: &str = "type: sqlite\nurl: 'sqlite::memory:'\n";
const GRANT: &str = "grants: [{ plugin: p, ad_hoc: true, read_only: true }]\n";

#[test]
fn only_reading_statements_of_postgres_are_pipelined() {
    let postgres = "type: postgres\nurl: postgres://[::1]/users\n";
    let a = |text: &str| format!("statements: {{ a: {{ text: {text}, pipelined: true }} }}\n{GRANT}");
    accept(&with_resource(&format!("name: r\n{postgres}{}", a("SELECT 1"))));
    for (of_type, text, problem) in [
        (SQLITE, "SELECT 1", "only Postgres has pipelined connections. Remove the field"),
        (postgres, "DELETE FROM t", "only a statement that reads can be pipelined. Remove the field"),
        (
            postgres,
            "'SELECT f()', read_only: false",
            "only a statement that reads can be pipelined. Remove the field",
        ),
    ] {
        assert_eq!(of(&format!("{of_type}{}", a(text))), [format!(".statements.a.pipelined: {problem}")]);
    }
}

#[test]
fn only_results_of_a_statement_that_reads_are_kept() {
    let found = of(&format!(
        "{SQLITE}statements:\n  writes: {{ text: DELETE FROM t RETURNING a, cache: {{}} }}\n  \
         sneaky: {{ text: 'SELECT f()', read_only: false, cache: {{ ttl: 1s }} }}\n  \
         odd: {{ text: SELECT 1, cache: {{ ttl: 0s, entries: 5 }} }}\n  word: {{ text: SELECT 1, cache: yes }}\n{GRANT}"
    ));
    let begins = [
        ".statements.writes.cache: the statement writes, and a result that is kept would hide that. Remove",
        ".statements.sneaky.cache: the statement writes",
        ".statements.odd.cache.entries: ",
        ".statements.odd.cache.ttl: ",
        ".statements.word.cache: expected a mapping",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for begin in begins {
        assert!(found.iter().any(|line| line.starts_with(begin)), "{begin}: {found:#?}");
    }
}

#[test]
fn results_without_rows_are_kept_no_longer_than_others_unless_the_operator_says_so() {
    let negative_ttl = |cache: &str| {
        let statements = format!("statements: {{ a: {{ text: SELECT 1, cache: {cache} }} }}");
        let snapshot = accept(&with_resource(&format!("name: r\n{SQLITE}{statements}\n{GRANT}")));
        snapshot.sql_resources["r"].statements["a"].cache.expect("a cache").negative_ttl.as_millis()
    };
    assert_eq!(negative_ttl("{}"), 1000);
    assert_eq!(negative_ttl("{ ttl: 200ms }"), 200);
    assert_eq!(negative_ttl("{ ttl: 200ms, negative_ttl: 3s }"), 3000);
    assert_eq!(negative_ttl("{ negative_ttl: 0s }"), 0);
}

#[test]
fn a_url_never_carries_credentials_and_is_never_shown() {
    for (kind, url) in [
        ("postgres", "postgres://agw:hunter2@db/users"),
        ("mysql", "mysql://agw:hunter2@db/users"),
        ("postgres", "postgres://agw%3Ahunter2@db/users"),
        ("postgres", "postgres://db/users?password=hunter2"),
        ("mysql", "hunter2://db/users"),
        ("postgres", "postgres://db/hunter2/x"),
    ] {
        let found = of(&format!("type: {kind}\nurl: \"{url}\"\n{GRANT}"));
        assert_eq!(found.len(), 1, "{url}: {found:#?}");
        assert!(found.iter().all(|line| !line.contains("hunter2")), "{url}: {found:#?}");
        assert!(found.iter().any(|line| line.starts_with(".url: ")), "{url}: {found:#?}");
    }
}

#[test]
fn mysql_and_mariadb_are_one_type() {
    for (url, port) in [("mysql://127.0.0.1/users", 3306), ("mariadb://[::1]:3307/users", 3307)] {
        let statement = "statements: { a: 'SELECT `a;` FROM t WHERE b = ? # and no more' }\n";
        let snapshot =
            accept(&with_resource(&format!("name: r\ntype: mysql\nurl: '{url}'\n{GRANT}{statement}")));
        let SqlEndpoint::Server(server) = &snapshot.sql_resources["r"].endpoint else { panic!("no server") };
        assert_eq!((server.engine, server.hosts[0].port), (crate::SqlServerEngine::Mysql, port));
    }
    let found = of(&format!(
        "type: mysql\nurl: mysql://127.0.0.1/users\n{GRANT}statements: {{ a: \"SELECT 1 /*! INTO OUTFILE 'x' */\" }}"
    ));
    assert!(found.len() == 1 && found[0].contains("one that MySQL executes"), "{found:#?}");
    let found = of(&format!("type: mariadb\nurl: mariadb://127.0.0.1/users\n{GRANT}"));
    assert!(found.iter().any(|line| line.starts_with(".type: ")), "{found:#?}");
}

#[test]
fn tls_is_the_default_and_plaintext_to_another_machine_has_to_be_said() {
    let remote = "type: postgres\nurl: postgres://db.internal/users\n";
    let found = of(&format!("{remote}{GRANT}"));
    assert!(found.iter().any(|line| line.contains("nothing says whom to trust")), "{found:#?}");
    accept(&with_resource(&format!("name: r\n{remote}plaintext: true\n{GRANT}")));
    accept(&with_resource(&format!("name: r\n{remote}tls: {{ ca: {{ file: ca.pem }} }}\n{GRANT}")));
    let both = of(&format!("{remote}plaintext: true\ntls: {{ ca: {{ file: ca.pem }} }}\n{GRANT}"));
    assert!(both.iter().any(|line| line.contains(".tls: plaintext is asked for as well")), "{both:#?}");
    accept(&with_resource(&format!("name: r\ntype: postgres\nurl: postgres://[::1]/users\n{GRANT}")));
}

#[test]
fn several_hosts_are_a_list_of_endpoints_and_each_is_checked() {
    let with = |fields: &str| of(&format!("type: postgres\ndatabase: u\nplaintext: true\n{fields}\n{GRANT}"));
    let many: Vec<String> = (1..=17).map(|at| format!("'db{at}:5432'")).collect();
    for (fields, problem) in [
        ("endpoints: []", ".endpoints: the number of endpoints is out of bounds. Write 1 to 16 of them"),
        (
            &format!("endpoints: [{}]", many.join(", ")),
            ".endpoints: the number of endpoints is out of bounds.",
        ),
        ("endpoints: ['db1:5432', 'db2']", ".endpoints[1]: \"db2\" is not an endpoint: the port is missing."),
        ("endpoints: ['db1:5432', 'db1:5432']", ".endpoints[1]: the endpoint is written twice."),
        ("endpoints: 'db1:5432'", ".endpoints: expected a list"),
        (
            "endpoints: ['db1:1']\nendpoint: 'db1:1'",
            ": the fields endpoint and endpoints exclude each other.",
        ),
        ("endpoint: 'db1:1'\ntarget: secondary", ".target: \"secondary\" is not known here"),
    ] {
        let found = with(fields);
        assert!(found.len() == 1 && found[0].starts_with(problem), "{fields}: {found:#?}");
    }
    let found = of(&format!("type: mysql\nurl: 'mysql://db1:1,db2:2/u'\nplaintext: true\n{GRANT}"));
    let problem =
        ".url: the URL names several hosts. Write endpoints: [\"db1:3306\", \"db2:3306\"] and database:";
    assert!(found.len() == 1 && found[0].starts_with(problem), "{found:#?}");
    let found = of(&format!("{SQLITE}endpoints: ['a:1']\ntarget: any\n{GRANT}"));
    assert_eq!(found.len(), 2, "{found:#?}");
    let found = of(&format!("type: postgres\nendpoints: ['[::1]:1', 'db2:2']\ndatabase: u\n{GRANT}"));
    assert!(found.iter().any(|line| line.contains("nothing says whom to trust")), "{found:#?}");
}

#[test]
fn hosts_keep_their_order_and_the_target_is_shown() {
    for (word, target) in [
        ("any", SqlTarget::Any),
        ("primary", SqlTarget::Primary),
        ("replica", SqlTarget::Replica),
        ("prefer_replica", SqlTarget::PreferReplica),
    ] {
        let fields = format!("endpoints: ['127.0.0.1:7002', '[::1]:7001']\ntarget: {word}\ndatabase: u\n");
        let snapshot = accept(&with_resource(&format!("name: r\ntype: postgres\n{fields}{GRANT}")));
        let SqlEndpoint::Server(server) = &snapshot.sql_resources["r"].endpoint else { panic!("no server") };
        let hosts = [("127.0.0.1", 7002), ("::1", 7001)];
        let hosts = hosts.map(|(host, port)| SqlHost { host: host.to_owned(), port });
        assert_eq!((server.hosts.as_slice(), server.target), (hosts.as_slice(), target));
        let shown = crate::redacted_json(&snapshot).to_string();
        assert!(shown.contains("[\"127.0.0.1:7002\",\"[::1]:7001\"]"), "{shown}");
        assert!(shown.contains(&format!("\"target\":\"{word}\"")), "{shown}");
    }
}

#[test]
fn a_grant_that_may_write_on_replicas_is_warned_of() {
    let warnings = |target: &str, grant: &str| {
        let statements = "statements: { reads: SELECT 1, writes: DELETE FROM t }";
        let document = with_resource(&format!(
            "name: r\ntype: mysql\nurl: mysql://[::1]/u\n{statements}\ntarget: {target}\ngrants: [{grant}]"
        ));
        let loaded = load_with(&document, &usual_files()).expect("it loads");
        let lines = super::lines(&loaded.warnings);
        lines.into_iter().filter(|line| line.contains("replicas take no writes")).count()
    };
    let ad_hoc = "{ plugin: p, ad_hoc: true, read_only: false }";
    for target in ["replica", "prefer_replica"] {
        assert_eq!(warnings(target, ad_hoc), 1);
        assert_eq!(warnings(target, "{ plugin: p, statements: [writes] }"), 1);
        assert_eq!(warnings(target, "{ plugin: p, statements: [reads] }"), 0);
        assert_eq!(warnings(target, "{ plugin: p, ad_hoc: true, read_only: true }"), 0);
    }
    assert_eq!(warnings("primary", ad_hoc), 0);
}

#[test]
fn a_servers_database_has_one_name() {
    let missing = of(&format!("type: mysql\nurl: mysql://localhost\n{GRANT}"));
    assert!(missing.iter().any(|line| line.contains("the database's name is missing")), "{missing:#?}");
    let twice = of(&format!("type: mysql\nurl: mysql://localhost/a\ndatabase: b\n{GRANT}"));
    assert!(
        twice.iter().any(|line| line.contains(".database: the database is in the URL as well")),
        "{twice:#?}"
    );
    let schema = of(&format!("type: mysql\nurl: mysql://localhost/a\nschema: {{ source: x }}\n{GRANT}"));
    assert!(schema.iter().any(|line| line.contains(".schema: the tables of a server")), "{schema:#?}");
}

#[test]
fn a_sqlite_database_is_a_file_that_is_there_or_has_a_schema_or_is_in_memory() {
    for url in
        ["sqlite:", "sqlite://", "sqlite:users.db", "users.db", "sqlite://a.db?mode=ro", "postgres://x/y"]
    {
        let found = of(&format!("type: sqlite\nurl: \"{url}\"\n{GRANT}"));
        assert!(
            found.len() == 1 && found[0].contains("is not the URL of a SQLite database"),
            "{url}: {found:#?}"
        );
    }
    let found = of(&format!("type: sqlite\nurl: sqlite://no.db\n{GRANT}"));
    assert!(found.len() == 1 && found[0].contains("there is no database \"/etc/agw/no.db\""), "{found:#?}");
    for fields in ["url: sqlite://no.db\nschema: { source: SELECT 1 }\n", "url: sqlite:///etc/agw/users.db\n"]
    {
        let snapshot = accept(&with_resource(&format!("name: r\ntype: sqlite\n{fields}{GRANT}")));
        let SqlEndpoint::Sqlite(at) = &snapshot.sql_resources["r"].endpoint else { panic!("a server") };
        assert!(at.path.as_ref().is_some_and(|path| path.starts_with("/etc/agw")));
    }
    let found = of(&format!("{SQLITE}username: a\ntls: {{}}\ndatabase: b\n{GRANT}"));
    assert_eq!(found.len(), 3, "{found:#?}");
    let found = of(&format!("{SQLITE}schema: {{ file: no.sql }}\n{GRANT}"));
    assert!(found[0].starts_with(".schema.file: the file \"/etc/agw/no.sql\" cannot be read"), "{found:#?}");
}

#[test]
fn a_statement_that_may_not_run_is_refused_at_its_place() {
    let found = of(&format!(
        "{SQLITE}statements:\n  two: SELECT 1; SELECT 2\n  out: {{ text: COMMIT }}\n  none: {{ }}\n  \
         lies: {{ text: DELETE FROM t, read_only: true }}\n  'a b': SELECT 1\n  odd: 5\n{GRANT}"
    ));
    let begins = [
        ".statements.two: there is more than one statement: something stands behind the semicolon at byte 8.",
        ".statements.out.text: a statement may not begin with COMMIT: SELECT,",
        ".statements.none: the field \"text\" is missing.",
        ".statements.lies.read_only: the statement writes.",
        ".statements[\"a b\"]: \"a b\" is not a name.",
        ".statements.odd: expected a mapping",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for begin in begins {
        assert!(found.iter().any(|line| line.starts_with(begin)), "{begin}: {found:#?}");
    }
}

#[test]
fn what_a_statement_does_follows_from_its_words_unless_the_operator_says_more() {
    let statements = "statements: { reads: SELECT 1, writes: DELETE FROM t, \
                      sneaky: { text: 'SELECT f()', read_only: false }, plain: { text: VALUES (1) } }";
    let snapshot = accept(&with_resource(&format!("name: r\n{SQLITE}{statements}\n{GRANT}")));
    let read_only = |name: &str| snapshot.sql_resources["r"].statements[name].read_only;
    assert_eq!(["reads", "writes", "sneaky", "plain"].map(read_only), [true, false, false, true]);
}

#[test]
fn a_grant_names_statements_that_are_there_and_that_it_may_run() {
    let statements = "statements: { reads: SELECT 1, writes: DELETE FROM t, broken: COMMIT }\n";
    let found = of(&format!(
        "{SQLITE}{statements}grants:\n- {{ plugin: q, statements: [raeds] }}\n\
         - {{ plugin: p, statements: [reads, writes, broken], read_only: true }}\n\
         - {{ plugin: p, statements: [reads, READS] }}\n- {{ plugin: p }}\n"
    ));
    let begins = [
        ".statements.broken: a statement may not begin with COMMIT",
        ".grants[0].plugin: no plugin is named \"q\".",
        ".grants[0].statements[0]: no statement of this resource is named \"raeds\". Did you mean \"reads\"?",
        ".grants[1].statements[1]: \"writes\" writes, and the grant is read-only.",
        ".grants[2].statements[1]: \"READS\" is listed twice.",
        ".grants[2].statements[1]: no statement of this resource is named \"READS\".",
        ".grants[2]: the plugin \"p\" has a grant here already.",
        ".grants[3]: the grant allows nothing. Write statements: [NAME, ...] or ad_hoc: true",
        ".grants[3]: the plugin \"p\" has a grant here already.",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for begin in begins {
        assert!(found.iter().any(|line| line.starts_with(begin)), "{begin}: {found:#?}");
    }
}

#[test]
fn a_grant_of_any_statement_has_to_say_whether_it_writes() {
    let warnings = |grant: &str| {
        let document = with_resource(&format!("name: r\n{SQLITE}grants: [{grant}]"));
        let loaded = load_with(&document, &usual_files()).expect("it loads");
        super::lines(&loaded.warnings)
            .into_iter()
            .filter(|line| line.contains("may change and delete"))
            .count()
    };
    assert_eq!(warnings("{ plugin: p, ad_hoc: true }"), 1);
    assert_eq!(warnings("{ plugin: p, ad_hoc: true, read_only: false }"), 0);
    assert_eq!(warnings("{ plugin: p, ad_hoc: true, read_only: true }"), 0);
}

#[test]
fn a_grants_caps_are_never_more_than_the_resources() {
    let limits = "limits: { rows: 10, response: 64KiB }\n";
    let grants = "grants: [{ plugin: p, ad_hoc: true, read_only: true, rows: 500, response: 1KiB }]";
    let snapshot = accept(&with_resource(&format!("name: r\n{SQLITE}{limits}{grants}")));
    let grant = &snapshot.sql_resources["r"].grants["p"];
    assert_eq!((grant.rows_max, grant.response_bytes_max), (10, 1024));
}

#[test]
fn names_are_unique_over_redis_and_sql() {
    let document = with_resource(&format!("name: r\n{SQLITE}{GRANT}"))
        + "- { name: r, type: redis, url: memory://a, grants: [] }\n";
    let found = problems(&document);
    assert!(found.iter().any(|line| line.contains("the name \"r\" is used twice")), "{found:#?}");
}

#[test]
fn a_server_is_read_in_both_forms() {
    let complete = "name: r\ntype: postgres\nendpoint: db.internal:5433\ndatabase: users\nusername: agw\n\
                    password: { file: /run/secrets/redis }\ntls: { ca: { file: ca.pem } }\n";
    let snapshot = accept(&with_resource(&format!("{complete}{GRANT}")));
    let SqlEndpoint::Server(server) = &snapshot.sql_resources["r"].endpoint else { panic!("no server") };
    let at = SqlHost { host: "db.internal".to_owned(), port: 5433 };
    assert_eq!((server.hosts.as_slice(), server.target), ([at].as_slice(), SqlTarget::Any));
    assert_eq!(server.database, "users");
    assert!(server.tls.is_some() && server.password.is_some());
    let bad_port = of(&format!("type: postgres\nurl: postgres://localhost:99999/users\n{GRANT}"));
    assert!(bad_port.iter().any(|line| line.starts_with(".url: ")), "{bad_port:#?}");
    let bad_host = of(&format!("type: mysql\nendpoint: nowhere\ndatabase: u\n{GRANT}"));
    assert!(
        bad_host.iter().any(|line| line.contains(".endpoint: \"nowhere\" is not an endpoint")),
        "{bad_host:#?}"
    );
}
