use agw_wire::Code;
use agw_wire::sql::Mode;

use crate::world::World;

const READ_ONLY: &str = "url: sqlite://db.sqlite\nschema: { file: schema.sql }\nstatements:\n  \
    sneaky: { text: \"SELECT * FROM keys\", read_only: false }\n\
    grants: [{ plugin: p, ad_hoc: true, read_only: true }, { plugin: q, ad_hoc: true, read_only: false }]";

#[tokio::test]
async fn a_read_only_grant_cannot_write_however_it_tries() {
    let world = World::new(READ_ONLY).await;
    let (p, q) = (world.plugin("p"), world.plugin("q"));
    let tries = [
        "INSERT INTO uses (n) VALUES (1)",
        "insert into uses (n) values (1) returning n",
        "/* SELECT */ DELETE FROM keys",
        "-- SELECT\nDELETE FROM keys",
        "\u{feff}DELETE FROM keys",
        ";DELETE FROM keys",
        "(DELETE FROM keys)",
        "WITH a AS (SELECT 1) DELETE FROM keys",
        "WITH a AS (SELECT 1) INSERT INTO uses (n) SELECT 1 FROM a",
        "WITH a AS (DELETE FROM keys RETURNING *) SELECT * FROM a",
        "SELECT 1; DELETE FROM keys",
        "SELECT 1;; DELETE FROM keys",
        "SELECT ';' ; DELETE FROM keys",
        "COMMIT",
        "BEGIN; DELETE FROM keys",
        "PRAGMA query_only = 0",
        "SET TRANSACTION READ WRITE",
        "EXPLAIN DELETE FROM keys",
        "ATTACH 'other.db' AS other",
        "VACUUM INTO 'copy.db'",
        "DROP TABLE keys",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "REPLACE INTO keys VALUES ('a1', 1, 'x')",
        "SELECT writefile('x', 'y')",
        "SELECT load_extension('x')",
        "SELECT * FROM pragma_query_only(0)",
        "DO $$ BEGIN DELETE FROM keys; END $$",
        "CALL f()",
        "COPY keys TO PROGRAM 'id'",
    ];
    for text in tries {
        for mode in [Mode::Query, Mode::QueryOne, Mode::QueryOptional, Mode::Execute, Mode::Page] {
            assert!(p.sql(mode, text, &[]).await.is_err(), "{mode:?}: {text}");
        }
        assert!(
            p.batch(&[text]).await.is_err() && p.batch(&["SELECT 1", text, "SELECT 2"]).await.is_err(),
            "{text}"
        );
    }
    let left = q.query("SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM uses)", &[]).await.unwrap();
    assert_eq!(left.rows, [["Int(2)", "Int(0)"]]);
    let files: Vec<_> = std::fs::read_dir(world.folder.path()).unwrap().collect();
    assert!(files.len() <= 4, "database, WAL, shared memory and schema: {files:?}");
}

#[tokio::test]
async fn connections_that_readers_and_writers_use_in_turn_stay_what_they_are_for() {
    let fields = format!("{READ_ONLY}\npool: {{ max: 1 }}");
    let world = World::new(&fields).await;
    let (reader, writer) = (world.plugin("p"), world.plugin("q"));
    for round in 1..=20 {
        assert_eq!(reader.value("SELECT count(*) FROM keys", &[]).await, "Int(2)");
        let wrote = writer.sql(Mode::Execute, "INSERT INTO uses (n) VALUES (1)", &[]).await.unwrap();
        assert_eq!(wrote.last_insert_id, round);
        assert_eq!(reader.query("DELETE FROM uses", &[]).await.unwrap_err().code, Code::Denied);
    }
}
