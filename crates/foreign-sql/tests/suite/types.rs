use agw_wire::Code;
use agw_wire::sql::{Cell, Cells, Inet, Mode};

use crate::world::{AD_HOC, World, array, show};

#[tokio::test]
async fn every_type_is_bound_and_comes_back_as_its_column_says() {
    let plugin = World::new(AD_HOC).await.plugin("p");
    let inet = |address: &str, prefix| Cell::Inet(Inet { address: address.parse().unwrap(), prefix });
    let uuid = *b"0123456789abcdef";
    let cases: &[(&str, Cell<'_>, Cell<'_>)] = &[
        ("INTEGER", Cell::Null, Cell::Null),
        ("BOOLEAN", Cell::Bool(true), Cell::Bool(true)),
        ("INTEGER", Cell::Bool(true), Cell::Int(1)),
        ("INTEGER", Cell::Int(i64::MIN), Cell::Int(i64::MIN)),
        ("INTEGER", Cell::Uint(5), Cell::Int(5)),
        ("REAL", Cell::Float(-0.5), Cell::Float(-0.5)),
        ("REAL", Cell::Float(f64::INFINITY), Cell::Float(f64::INFINITY)),
        ("TEXT", Cell::Decimal("1.50"), Cell::Text("1.50")),
        ("TEXT", Cell::Text("größe\u{1f600}"), Cell::Text("größe\u{1f600}")),
        ("TEXT", Cell::Text("a\0b"), Cell::Text("a\0b")),
        ("TEXT", Cell::Text(""), Cell::Text("")),
        ("BLOB", Cell::Bytes(b"\0\xff"), Cell::Bytes(b"\0\xff")),
        ("BLOB", Cell::Bytes(b""), Cell::Bytes(b"")),
        ("DATE", Cell::Date(11_016), Cell::Date(11_016)),
        ("TIME", Cell::Time(86_399_999_999), Cell::Time(86_399_999_999)),
        ("TIMESTAMP", Cell::Timestamp(-1), Cell::Timestamp(-1)),
        ("TIMESTAMP", Cell::TimestampTz(951_782_400_000_001), Cell::TimestampTz(951_782_400_000_001)),
        ("UUID", Cell::Uuid(uuid), Cell::Uuid(uuid)),
        ("JSON", Cell::Json("{\"a\":[1]}"), Cell::Json("{\"a\":[1]}")),
        ("TEXT", inet("10.0.0.1", 32), Cell::Text("10.0.0.1")),
        ("TEXT", inet("2001:db8::", 32), Cell::Text("2001:db8::/32")),
    ];
    for (at, (declared, bound, expected)) in cases.iter().enumerate() {
        let create = format!("CREATE TABLE t{at} (v {declared})");
        plugin.sql(Mode::Execute, &create, &[]).await.unwrap();
        plugin.sql(Mode::Execute, &format!("INSERT INTO t{at} VALUES (?)"), &[*bound]).await.unwrap();
        let found = plugin.value(&format!("SELECT v FROM t{at}"), &[]).await;
        assert_eq!(found, show(*expected), "{declared} of {bound:?}");
    }
}

#[tokio::test]
async fn what_sqlite_does_not_have_is_refused_with_the_parameters_place() {
    let plugin = World::new(AD_HOC).await.plugin("p");
    let elements = array(&[Cell::Int(1)]);
    let Some(Ok(array)) = Cells::new(&elements).next() else { panic!("no array") };
    for wrong in [
        Cell::Uint(u64::MAX),
        Cell::Float(f64::NAN),
        Cell::Interval { months: 1, days: 0, micros: 0 },
        array,
        Cell::Date(i32::MAX),
        Cell::Time(-1),
        Cell::Timestamp(i64::MIN),
    ] {
        let error = plugin.query("SELECT ?1, ?2", &[Cell::Int(1), wrong]).await.unwrap_err();
        assert_eq!(error.code, Code::Invalid, "{wrong:?}");
        assert!(error.message.starts_with("parameter 2: "), "{}", error.message);
    }
}

#[tokio::test]
async fn a_wrong_number_of_parameters_is_refused() {
    let plugin = World::new(AD_HOC).await.plugin("p");
    for (text, given) in
        [("SELECT ?1, ?2", 1), ("SELECT ?1", 2), ("SELECT 1", 1), ("SELECT ?, ?", 0), ("SELECT ?5", 1)]
    {
        let error = plugin.query(text, &vec![Cell::Int(1); given]).await.unwrap_err();
        assert_eq!(error.code, Code::Invalid, "{text}");
    }
    // Ones that are left over from the call before are not used.
    plugin.query("SELECT ?1", &[Cell::Text("secret")]).await.unwrap();
    assert_eq!(plugin.query("SELECT ?1", &[]).await.unwrap_err().code, Code::Invalid);
}

#[tokio::test]
async fn a_schema_that_changes_under_a_prepared_statement_changes_its_answer() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    assert_eq!(plugin.query("SELECT * FROM keys", &[]).await.unwrap().columns.len(), 3);
    world.direct().execute_batch("ALTER TABLE keys ADD COLUMN active BOOLEAN DEFAULT 1").unwrap();
    let shown = plugin.query("SELECT * FROM keys WHERE user = 1", &[]).await.unwrap();
    assert_eq!(shown.columns.last().map(String::as_str), Some("active"));
    assert_eq!(shown.rows[0].last().map(String::as_str), Some("Bool(true)"));
    world.direct().execute_batch("DROP TABLE uses; DROP TABLE keys").unwrap();
    assert_eq!(plugin.query("SELECT * FROM keys", &[]).await.unwrap_err().code, Code::Server);
}
