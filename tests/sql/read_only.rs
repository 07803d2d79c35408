use std::sync::{Arc, Mutex};

use agw_foreign_sql::StartError;
use agw_tests::Postgres;
use agw_wire::Code;
use agw_wire::sql::{Cell, Mode};

use crate::world::World;

const READ_ONLY: &str = "pool: { max: 2 }\n\
    grants: [{ plugin: p, ad_hoc: true, read_only: true }, { plugin: q, ad_hoc: true, read_only: false }]";

const TRIES: &[&str] = &[
    "DELETE FROM keys",
    "/* SELECT */ DELETE FROM keys",
    "-- SELECT\nDELETE FROM keys",
    "\u{feff}DELETE FROM keys",
    ";DELETE FROM keys",
    "SELECT 1; DELETE FROM keys",
    "SELECT '\\'; DELETE FROM keys; --'",
    "SELECT $a$;$a$; DELETE FROM keys",
    "WITH a AS (DELETE FROM keys RETURNING *) SELECT * FROM a",
    "WITH a AS (SELECT 1) DELETE FROM keys",
    "SELECT * INTO other FROM keys",
    "SELECT k FROM keys FOR UPDATE",
    "SELECT wipe()",
    "SELECT unlock()",
    "SELECT commits()",
    "SELECT run('DELETE FROM keys')",
    "SELECT run('SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE'), run('DELETE FROM keys')",
    "SELECT nextval('numbers')",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT set_config('transaction_read_only', 'off', true), wipe()",
    "SELECT query_to_xml('DELETE FROM keys RETURNING k', true, true, '')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT setval('numbers', 9)",
    "SET TRANSACTION READ WRITE",
    "COMMIT",
    "BEGIN; DELETE FROM keys",
    "DO $$ BEGIN DELETE FROM keys; END $$",
    "CALL f()",
    "COPY keys TO PROGRAM 'id'",
    "COPY keys FROM '/etc/passwd'",
    "EXPLAIN ANALYZE DELETE FROM keys",
    "PREPARE x AS DELETE FROM keys",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "LOCK TABLE keys",
    "NOTIFY x",
    "VACUUM",
    "DROP TABLE keys",
    "CREATE TABLE t (a int)",
    "TRUNCATE keys",
    "GRANT ALL ON keys TO PUBLIC",
];

#[tokio::test]
async fn a_read_only_grant_cannot_write_however_it_tries() {
    let world = World::new(READ_ONLY).await;
    let (p, q) = (world.plugin("p"), world.plugin("q"));
    for text in
        ["CREATE TABLE keys (k text)", "INSERT INTO keys VALUES ('a'), ('b')", "CREATE SEQUENCE numbers"]
    {
        q.sql(Mode::Execute, text, &[]).await.unwrap();
    }
    world.direct(
        "CREATE FUNCTION wipe() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN DELETE FROM keys; RETURN 1; END'; \
         CREATE FUNCTION unlock() RETURNS int LANGUAGE plpgsql AS \
         'BEGIN SET TRANSACTION READ WRITE; DELETE FROM keys; RETURN 1; END'; \
         CREATE FUNCTION commits() RETURNS int LANGUAGE plpgsql AS 'BEGIN COMMIT; DELETE FROM keys; RETURN 1; END'; \
         CREATE FUNCTION run(t text) RETURNS int LANGUAGE plpgsql AS 'BEGIN EXECUTE t; RETURN 1; END'",
    );
    for text in TRIES {
        for mode in [Mode::Query, Mode::QueryOne, Mode::QueryOptional, Mode::Execute, Mode::Page] {
            assert!(p.sql(mode, text, &[]).await.is_err(), "{mode:?}: {text}");
        }
        let batches = [p.batch(&[*text]).await, p.batch(&["SELECT 1", *text, "SELECT 2"]).await];
        assert!(batches.iter().all(Result::is_err), "{text}");
    }
    // What a server lets a read-only transaction do is undone with it.
    for text in ["SELECT lo_create(0)", "SELECT pg_notify('x', 'y')"] {
        for mode in [Mode::Query, Mode::Execute, Mode::Page] {
            let _ = p.sql(mode, text, &[]).await;
        }
        let _ = p.batch(&[text]).await;
    }
    assert_eq!(world.direct("SELECT count(*) FROM pg_largeobject_metadata"), "0");
    let left = q.query("SELECT count(*) FROM keys", &[]).await.unwrap();
    assert_eq!(left.rows, [["Int(2)"]]);
    assert_eq!(world.direct("SELECT count(*) FROM pg_class WHERE relname IN ('other', 't')"), "0");
    assert_eq!(q.value("SELECT nextval('numbers')", &[]).await, "Int(1)");
}

#[tokio::test]
async fn what_a_function_sets_does_not_outlive_its_call() {
    let world = World::new(&READ_ONLY.replace("max: 2", "max: 1")).await;
    let (p, q) = (world.plugin("p"), world.plugin("q"));
    let settings = "SELECT current_setting('search_path'), current_setting('default_transaction_read_only')";
    let before = p.query(settings, &[]).await.unwrap().rows;
    for text in [
        "SELECT set_config('search_path', 'evil', false), set_config('default_transaction_read_only', 'off', false)",
        "SELECT query_to_xml('SELECT set_' || 'config(''search_path'', ''evil'', false)', true, true, '')",
    ] {
        for plugin in [&p, &q] {
            plugin.query(text, &[]).await.unwrap();
            plugin.batch(&[text]).await.unwrap();
            world.all_given_back().await;
            assert_eq!(p.query(settings, &[]).await.unwrap().rows, before, "{text}");
        }
    }
    q.query("SELECT pg_advisory_lock(1)", &[]).await.unwrap();
    q.sql(Mode::Execute, "CREATE TABLE pg_temp.keys (a int)", &[]).await.unwrap();
    world.all_given_back().await;
    assert_eq!(
        p.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()", &[])
            .await,
        "Int(0)"
    );
    assert!(p.query("SELECT * FROM keys", &[]).await.is_err());
}

#[tokio::test]
async fn a_role_that_could_cheat_does_not_serve_read_only_grants() {
    let server = Arc::new(Mutex::new(Postgres::start().unwrap()));
    server.lock().unwrap().sql("GRANT pg_execute_server_program TO agw").unwrap();
    for (user, right) in [("postgres", "a superuser"), ("agw", "a member of pg_execute_server_program")] {
        let world = World::on(Arc::clone(&server), &format!("username: {user}\n{READ_ONLY}"));
        let error = world.backend.start().await.unwrap_err();
        let StartError::Open(cause) = &error else { panic!("{error}") };
        assert!(cause.to_string().contains(right), "{cause}");
        assert_eq!(world.plugin("p").query("SELECT 1", &[]).await.unwrap_err().code, Code::Unavailable);
        // Without a read-only grant it is the operator's choice.
        let grants = "grants: [{ plugin: q, ad_hoc: true, read_only: false }]";
        let world = World::on(Arc::clone(&server), &format!("username: {user}\n{grants}"));
        world.start().await.unwrap();
        assert_eq!(world.plugin("q").value("SELECT 1", &[]).await, "Int(1)");
    }
}

#[tokio::test]
async fn a_named_statement_cannot_make_its_connection_writable_for_the_next() {
    for pipelined in ["", ", pipelined: true"] {
        let world = World::unstarted(&format!(
            "pool: {{ max: 1, pipelined: 1 }}\nstatements: {{ run: {{ text: 'SELECT run($1::text)'{pipelined} }} }}\n\
             grants: [{{ plugin: p, statements: [run], read_only: true }}]"
        ));
        world.direct(
            "CREATE TABLE keys (k text); INSERT INTO keys VALUES ('a'); GRANT ALL ON keys TO agw; \
             CREATE FUNCTION run(t text) RETURNS int LANGUAGE plpgsql AS 'BEGIN EXECUTE t; RETURN 1; END'",
        );
        world.start().await.unwrap();
        let plugin = world.plugin("p");
        let run = async |text: &str| plugin.named(Mode::Query, "run", &[Cell::Text(text)]).await;
        assert!(run("DELETE FROM keys").await.is_err(), "{pipelined}");
        for unlock in [
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
            "SET default_transaction_read_only = off",
            "SELECT set_config('default_transaction_read_only', 'off', false)",
        ] {
            let _ = run(unlock).await;
            let error = run("DELETE FROM keys").await.unwrap_err();
            assert!(matches!(error.code, Code::Denied | Code::Unavailable), "{pipelined} {unlock}: {error}");
        }
        assert_eq!(world.direct("SELECT count(*) FROM keys"), "1");
    }
}
