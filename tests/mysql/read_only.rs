use std::sync::{Arc, Mutex};

use agw_foreign_sql::StartError;
use agw_wire::Code;
use agw_wire::sql::{Call, Cells, Mode, Statement};

use crate::Server;
use crate::world::World;

const READ_ONLY: &str = "pool: { max: 2 }\n\
    grants: [{ plugin: p, ad_hoc: true, read_only: true }, { plugin: q, ad_hoc: true, read_only: false }]";

const TRIES: &[&str] = &[
    "DELETE FROM `keys`",
    "/* SELECT */ DELETE FROM `keys`",
    "-- SELECT\nDELETE FROM `keys`",
    "# SELECT\nDELETE FROM `keys`",
    "\u{feff}DELETE FROM `keys`",
    ";DELETE FROM `keys`",
    "SELECT 1; DELETE FROM `keys`",
    "SELECT '\\\\'; DELETE FROM `keys`; --'",
    "SELECT \"\\\\\"; DELETE FROM `keys`; -- \"",
    "/*! DELETE FROM `keys` */",
    "/*!50000 DELETE FROM `keys` */",
    "/*M! DELETE FROM `keys` */",
    "SELECT 1 /*! INTO OUTFILE '/tmp/agw-escape' */",
    "SELECT 1 /*M!100100 ; DELETE FROM `keys` */",
    "WITH a AS (SELECT 1) DELETE FROM `keys`",
    "INSERT INTO `keys` VALUES ('c') RETURNING k",
    "REPLACE INTO `keys` VALUES ('c')",
    "SELECT k FROM `keys` FOR UPDATE",
    "SELECT k FROM `keys` INTO OUTFILE '/tmp/agw-escape'",
    "SELECT k FROM `keys` INTO DUMPFILE '/tmp/agw-escape'",
    "SELECT 'a' INTO @x",
    "SELECT 'a' INTO\n/**/@x",
    "SELECT wipe()",
    "SELECT unbars()",
    "SELECT commits()",
    "SELECT wipe_myisam()",
    "SELECT wipe_aria()",
    "SELECT temporary()",
    "SELECT k FROM sly",
    "SELECT NEXTVAL(numbers)",
    "SELECT NEXT VALUE FOR numbers",
    "SELECT SETVAL(numbers, 9)",
    "SET SESSION TRANSACTION READ WRITE",
    "SET STATEMENT tx_read_only = 0 FOR DELETE FROM `keys`",
    "COMMIT",
    "BEGIN NOT ATOMIC DELETE FROM `keys`; END",
    "BEGIN; DELETE FROM `keys`",
    "DO wipe()",
    "CALL wiper()",
    "LOAD DATA INFILE '/etc/passwd' INTO TABLE `keys`",
    "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE `keys`",
    "EXPLAIN DELETE FROM `keys`",
    "ANALYZE DELETE FROM `keys`",
    "PREPARE x FROM 'DELETE FROM `keys`'",
    "EXECUTE IMMEDIATE 'DELETE FROM `keys`'",
    "HANDLER `keys` OPEN",
    "LOCK TABLES `keys` WRITE",
    "FLUSH TABLES",
    "KILL 1",
    "DROP TABLE `keys`",
    "CREATE TABLE t (a int)",
    "CREATE TEMPORARY TABLE t (a int)",
    "CREATE TABLE t SELECT 1",
    "TRUNCATE `keys`",
    "RENAME TABLE `keys` TO t",
    "GRANT ALL ON app.* TO PUBLIC",
    "SHOW GRANTS",
    "USE mysql",
];

const FUNCTIONS: &str = "DELIMITER //\n\
    CREATE FUNCTION wipe() RETURNS int SQL SECURITY DEFINER BEGIN DELETE FROM `keys`; RETURN 1; END//\n\
    CREATE FUNCTION unbars() RETURNS int BEGIN SET SESSION tx_read_only = 0; DELETE FROM `keys`; RETURN 1; END//\n\
    CREATE FUNCTION opens() RETURNS int BEGIN SET SESSION tx_read_only = 0; SET @left = 'behind'; \
        SET SESSION sql_mode = 'ANSI_QUOTES'; RETURN 1; END//\n\
    CREATE FUNCTION unescapes() RETURNS int BEGIN SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'; RETURN 1; END//\n\
    CREATE PROCEDURE wiper() BEGIN START TRANSACTION READ WRITE; DELETE FROM `keys`; END//\n\
    CREATE FUNCTION commits() RETURNS int BEGIN CALL wiper(); RETURN 1; END//\n\
    CREATE FUNCTION wipe_myisam() RETURNS int BEGIN DELETE FROM m; RETURN 1; END//\n\
    CREATE FUNCTION wipe_aria() RETURNS int BEGIN DELETE FROM a; RETURN 1; END//\n\
    CREATE FUNCTION temporary() RETURNS int BEGIN CREATE TEMPORARY TABLE t (a int); RETURN 1; END//\n\
    CREATE VIEW sly AS SELECT wipe() AS k//\n";

async fn world() -> World {
    let world = World::new(READ_ONLY).await;
    world.direct(
        "CREATE TABLE `keys` (k varchar(10)); INSERT INTO `keys` VALUES ('a'), ('b'); CREATE SEQUENCE numbers; \
         CREATE TABLE m (k int) ENGINE=MyISAM; INSERT INTO m VALUES (1); \
         CREATE TABLE a (k int) ENGINE=Aria; INSERT INTO a VALUES (1)",
    );
    world.direct(&format!("\n{FUNCTIONS}"));
    world
}

#[tokio::test]
async fn a_read_only_grant_cannot_write_however_it_tries() {
    let world = world().await;
    let (p, q) = (world.plugin("p"), world.plugin("q"));
    for text in TRIES {
        for mode in [Mode::Query, Mode::QueryOne, Mode::QueryOptional, Mode::Execute, Mode::Page] {
            // Another plugin's writes have come over the same connections, and a function has opened the session.
            q.query("SELECT opens()", &[]).await.unwrap();
            p.query("SELECT opens()", &[]).await.unwrap();
            assert!(p.sql(mode, text, &[]).await.is_err(), "{mode:?}: {text}");
        }
        let batches = [p.batch(&[*text]).await, p.batch(&["SELECT opens()", *text, "SELECT 2"]).await];
        assert!(batches.iter().all(Result::is_err), "{text}");
    }
    let left = "SELECT (SELECT count(*) FROM `keys`), (SELECT count(*) FROM m), (SELECT count(*) FROM a)";
    assert_eq!(world.direct(left), "2|1|1");
    assert_eq!(world.direct("SHOW TABLES LIKE 't'"), "");
    assert!(!std::path::Path::new("/tmp/agw-escape").exists());
    // A literal, and a server that takes no backslashes would see three statements.
    let literal = p.value("SELECT '\\'; DELETE FROM `keys`; --'", &[]).await;
    assert_eq!(literal, "Text(\"'; DELETE FROM `keys`; --\")");
    assert_eq!(p.value("SELECT LOAD_FILE('/etc/passwd')", &[]).await, "Null");
    assert_eq!(q.value("SELECT NEXTVAL(numbers)", &[]).await, "Int(1)");
    assert_eq!(q.value("SELECT wipe()", &[]).await, "Int(1)");
    assert_eq!(world.direct("SELECT count(*) FROM `keys`"), "0", "who may write writes");
}

#[tokio::test]
async fn a_named_statement_that_reads_cannot_write_after_a_guest_has_opened_the_session() {
    let fields = "pool: { max: 1 }\nstatements: { wipe: { text: SELECT wipe(), read_only: true } }\n\
                  grants: [{ plugin: p, ad_hoc: true, read_only: true, statements: [wipe] }]";
    let world = World::unstarted(fields);
    world.direct(
        "CREATE TABLE `keys` (k varchar(10)); INSERT INTO `keys` VALUES ('a'); CREATE TABLE m (k int); \
                  CREATE TABLE a (k int)",
    );
    world.direct(&format!("\n{FUNCTIONS}"));
    world.start().await.unwrap();
    let p = world.plugin("p");
    for _ in 0..3 {
        p.query("SELECT opens()", &[]).await.unwrap();
        let statements = vec![Statement::named("wipe", Cells::default())];
        let call = Call { mode: Mode::Query, statements, ..Call::default() };
        assert_eq!(p.call(call).await.unwrap_err().code, Code::Denied);
    }
    assert_eq!(world.direct("SELECT count(*) FROM `keys`"), "1");
}

#[tokio::test]
async fn what_a_statement_leaves_in_a_session_nobody_finds() {
    let world = World::new(&READ_ONLY.replace("max: 2", "max: 1")).await;
    world.direct("CREATE TABLE `keys` (k int); CREATE TABLE m (k int); CREATE TABLE a (k int)");
    world.direct(&format!("\n{FUNCTIONS}"));
    let (p, q) = (world.plugin("p"), world.plugin("q"));
    let settings = "SELECT @@sql_mode, @@time_zone, @@autocommit, @@character_set_client";
    let before = p.query(settings, &[]).await.unwrap().rows;
    for text in [
        "SELECT @left := 'behind'",
        "SELECT opens()",
        "SELECT unescapes()",
        "SELECT GET_LOCK('agw', 0)",
        "SELECT 1 FROM DUAL WHERE (@left := 'behind') IS NULL",
    ] {
        for plugin in [&p, &q] {
            plugin.query(text, &[]).await.unwrap();
            plugin.batch(&[text]).await.unwrap();
            assert_eq!(p.value("SELECT @left", &[]).await, "Null", "{text}");
            assert_eq!(world.direct("SELECT IS_USED_LOCK('agw')"), "NULL", "{text}");
            assert_eq!(p.query(settings, &[]).await.unwrap().rows, before, "{text}");
            // A quote is a quote, and a backslash escapes.
            plugin.query(text, &[]).await.unwrap();
            assert_eq!(p.value("SELECT \"a\\\"b\"", &[]).await, "Text(\"a\\\"b\")", "{text}");
        }
    }
    let found = q.batch(&["SELECT @own := 5", "SELECT @own"]).await.unwrap();
    assert_eq!(found[1].rows, [["Int(5)"]], "within one call they are there");
}

#[tokio::test]
async fn an_account_that_could_cheat_does_not_serve_read_only_grants() {
    let server = Arc::new(Mutex::new(Server::start().unwrap()));
    server
        .lock()
        .unwrap()
        .sql(&format!(
            "CREATE USER f@'%' IDENTIFIED BY '{0}'; GRANT FILE ON *.* TO f@'%'; GRANT ALL ON app.* TO f@'%'; \
         CREATE ROLE files; GRANT FILE ON *.* TO files; CREATE USER r@'%' IDENTIFIED BY '{0}'; \
         GRANT SELECT ON app.* TO r@'%'; GRANT files TO r@'%'; SET DEFAULT ROLE files FOR r@'%'; \
         CREATE USER all_of_it@'%' IDENTIFIED BY '{0}'; GRANT ALL ON *.* TO all_of_it@'%'",
            Server::PASSWORD
        ))
        .unwrap();
    for (user, right) in [("f", "FILE ON *.*"), ("r", "FILE ON *.*"), ("all_of_it", "ALL PRIVILEGES ON *.*")]
    {
        let world = World::on(Arc::clone(&server), &format!("username: {user}\n{READ_ONLY}"));
        let error = world.backend.start().await.unwrap_err();
        let StartError::Open(cause) = &error else { panic!("{error}") };
        assert!(cause.to_string().contains(right), "{user}: {cause}");
        assert_eq!(world.plugin("p").query("SELECT 1", &[]).await.unwrap_err().code, Code::Unavailable);
        // Without a read-only grant it is the operator's choice.
        let grants = "grants: [{ plugin: q, ad_hoc: true, read_only: false }]";
        let world = World::on(Arc::clone(&server), &format!("username: {user}\n{grants}"));
        world.start().await.unwrap();
        assert_eq!(world.plugin("q").value("SELECT 1", &[]).await, "Int(1)", "{user}");
    }
}
