use agw_wire::sql::Mode;
use agw_wire::{Code, Kind, Retry};

use crate::world::{AD_HOC, World};

#[tokio::test]
async fn violations_are_recognisable_and_say_nothing_of_the_statement() {
    let plugin = World::new(AD_HOC).await.plugin("p");
    for (text, kind, state) in [
        ("INSERT INTO keys VALUES ('a1', 1, 'hunter2')", Kind::UniqueViolation, "23505"),
        ("INSERT INTO uses (hash) VALUES ('hunter2')", Kind::ForeignKeyViolation, "23503"),
        ("INSERT INTO keys (hash) VALUES ('hunter2')", Kind::NotNullViolation, "23502"),
        ("INSERT INTO keys VALUES ('hunter2', 1, 'none')", Kind::CheckViolation, "23514"),
    ] {
        let error = plugin.sql(Mode::Execute, text, &[]).await.unwrap_err();
        assert_eq!((error.code, error.kind, error.server_code.as_str()), (Code::Server, Some(kind), state));
        assert!(error.server_errno > 0 && error.retry == Retry::Never);
        assert!(!error.message.contains("hunter2"), "{}", error.message);
    }
    for text in [
        "SELECT hunter2 FROM keys",
        "SELECT 'hunter2' FROM",
        "SELECT * FROM hunter2",
        "SELECT json('hunter2')",
    ] {
        let error = plugin.query(text, &[]).await.unwrap_err();
        assert_eq!((error.code, error.kind), (Code::Server, None), "{text}");
        assert!(!error.message.contains("hunter2") && error.server_code.len() == 5, "{error:?}");
    }
}

#[tokio::test]
async fn a_lock_that_somebody_else_holds_is_waited_for_up_to_the_deadline() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    let other = world.direct();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let short = plugin.clone().with_deadline(100);
    let error = short.sql(Mode::Execute, "DELETE FROM uses", &[]).await.unwrap_err();
    // The deadline and the end of the wait are the same moment.
    let locked = error.code == Code::Server && error.kind == Some(Kind::Locked) && error.retry == Retry::Safe;
    assert!(locked || error.code == Code::TimeoutIo, "{error:?}");
    assert_eq!(plugin.value("SELECT count(*) FROM keys", &[]).await, "Int(2)", "readers do not wait");

    let waiting = plugin.clone().with_deadline(20_000);
    let waiting = tokio::spawn(async move { waiting.sql(Mode::Execute, "DELETE FROM uses", &[]).await });
    while world.backend.status().leased == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    other.execute_batch("COMMIT").unwrap();
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_file_that_is_taken_away_is_an_error_and_no_panic() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    world.all_given_back().await;
    std::fs::write(world.file(), "this is no database, whatever it was before").unwrap();
    let _ = std::fs::remove_file(world.folder.path().join("db.sqlite-wal"));
    let _ = std::fs::remove_file(world.folder.path().join("db.sqlite-shm"));
    let fresh = World::in_folder(AD_HOC, tempfile::tempdir().unwrap());
    std::fs::write(fresh.file(), "x".repeat(5000)).unwrap();
    let broken = fresh.plugin("p").query("SELECT 1", &[]).await.unwrap_err();
    assert_eq!((broken.code, broken.retry), (Code::Unavailable, Retry::Safe));
    assert!(!broken.message.contains("sqlite"), "no path: {}", broken.message);
    assert_eq!(fresh.backend.status().last_error.as_deref(), Some("open"));
    // Whatever it comes to, it comes to something.
    let _ = plugin.query("SELECT * FROM keys", &[]).await;
}
