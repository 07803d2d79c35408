use agw_foreign_sql::StartError;
use agw_wire::sql::Mode;

use crate::world::World;

#[tokio::test]
async fn a_statement_that_the_database_refuses_is_named_with_its_message_and_position() {
    let world = World::unstarted(
        "url: sqlite://db.sqlite\nschema: { file: schema.sql }\nstatements:\n  good: SELECT user FROM keys\n  \
         no-table: SELECT * FROM kyes\n  no-column: SELECT usr FROM keys\n  syntax: SELECT FROM keys\n\
         grants: [{ plugin: p, statements: [good] }]",
    );
    let error = world.backend.start().await.unwrap_err();
    let StartError::Statements(problems) = &error else { panic!("{error}") };
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "statements.no-column: no such column: usr (at byte 7)",
            "statements.no-table: no such table: kyes",
            "statements.syntax: near \"FROM\": syntax error (at byte 7)",
        ]
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_or_a_schema_that_is_wrong_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("db.sqlite"), "x".repeat(5000)).unwrap();
    let grants = "grants: [{ plugin: p, ad_hoc: true, read_only: true }]";
    let world = World::in_folder(&format!("url: sqlite://db.sqlite\n{grants}"), folder);
    assert!(matches!(world.backend.start().await, Err(StartError::Open(_))));
    let fields = format!("url: sqlite://db.sqlite\nschema: {{ source: CREATE TABEL t (a) }}\n{grants}");
    let world = World::unstarted(&fields);
    let error = world.backend.start().await.unwrap_err();
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("TABEL"), "{cause}");
    let gone = World::unstarted(&format!(
        "url: sqlite://no/such/folder.db\nschema: {{ source: SELECT 1 }}\n{grants}"
    ));
    assert!(matches!(gone.backend.start().await, Err(StartError::Open(_))));
}

#[tokio::test]
async fn a_database_in_memory_is_one_for_all_connections_and_no_other_resources() {
    let fields = "url: 'sqlite::memory:'\nschema: { file: schema.sql }\npool: { max: 8, idle_timeout: 100ms }\n\
                  grants: [{ plugin: p, ad_hoc: true, read_only: false }]";
    let (one, two) = (World::new(fields).await, World::new(fields).await);
    let plugin = one.plugin("p");
    plugin.sql(Mode::Execute, "UPDATE keys SET tier = 'max'", &[]).await.unwrap();
    while one.backend.status().idle > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let count = "SELECT count(*) FROM keys WHERE tier = 'max'";
    assert_eq!(plugin.value(count, &[]).await, "Int(2)", "it outlives its connections");
    assert_eq!(two.plugin("p").value(count, &[]).await, "Int(0)");
}

#[tokio::test]
async fn as_many_connections_as_the_pool_shall_have_at_least_are_opened_and_kept() {
    let fields = "url: sqlite://db.sqlite\nschema: { file: schema.sql }\n\
                  pool: { max: 4, min: 2, idle_timeout: 100ms }\n\
                  grants: [{ plugin: p, ad_hoc: true, read_only: true }]";
    let world = World::new(fields).await;
    while world.backend.status().idle < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // Longer than the upkeep takes to come by.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(world.backend.status().idle, 2);
    assert_eq!(world.plugin("p").value("SELECT 1", &[]).await, "Int(1)");
}
