use agw_wire::Code;
use agw_wire::sql::{Cell, Inet, Mode};

use crate::world::{AD_HOC, World, show};

const MICROS_2000: i64 = 946_684_800_000_000;
const POINT: &[u8] = b"\0\0\0\0\x01\x01\0\0\0\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\0\x40";

fn inet(address: &str) -> Cell<'static> {
    let address: std::net::IpAddr = address.parse().unwrap();
    Cell::Inet(Inet { address, prefix: if address.is_ipv4() { 32 } else { 128 } })
}

/// Type, a literal of the server, the cell that it comes as, the column's type as the reply says it.
type Line = (&'static str, &'static str, Cell<'static>, &'static str);

fn texts_and_bytes() -> Vec<Line> {
    vec![
        ("bit(1)", "b'1'", Cell::Uint(1), "Uint bit"),
        ("bit(64)", "18446744073709551615", Cell::Uint(u64::MAX), "Uint bit"),
        ("char(5)", "'abc'", Cell::Text("abc"), "Text char"),
        ("varchar(20)", "'größe😀'", Cell::Text("größe😀"), "Text varchar"),
        ("varchar(20) character set latin1", "'größe'", Cell::Text("größe"), "Text varchar"),
        ("varchar(20)", "''", Cell::Text(""), "Text varchar"),
        ("varchar(20)", "CONCAT('a', CHAR(0), 'b')", Cell::Text("a\0b"), "Text varchar"),
        ("tinytext", "'x'", Cell::Text("x"), "Text text"),
        ("text", "'\\\\'", Cell::Text("\\"), "Text text"),
        ("mediumtext", "'x'", Cell::Text("x"), "Text text"),
        ("longtext", "'x'", Cell::Text("x"), "Text text"),
        ("binary(3)", "x'00ff'", Cell::Bytes(b"\0\xff\0"), "Bytes binary"),
        ("varbinary(3)", "x'00ff'", Cell::Bytes(b"\0\xff"), "Bytes varbinary"),
        ("tinyblob", "x'80'", Cell::Bytes(b"\x80"), "Bytes blob"),
        ("blob", "x'00ff'", Cell::Bytes(b"\0\xff"), "Bytes blob"),
        ("mediumblob", "x'c328'", Cell::Bytes(b"\xc3\x28"), "Bytes blob"),
        ("longblob", "''", Cell::Bytes(b""), "Bytes blob"),
    ]
}

fn numbers_and_times() -> Vec<Line> {
    vec![
        ("bool", "1", Cell::Bool(true), "Bool tinyint(1)"),
        ("tinyint(1)", "0", Cell::Bool(false), "Bool tinyint(1)"),
        ("tinyint(1)", "-5", Cell::Int(-5), "Bool tinyint(1)"),
        ("tinyint", "-128", Cell::Int(-128), "Int tinyint"),
        ("tinyint unsigned", "255", Cell::Int(255), "Int tinyint unsigned"),
        ("smallint", "-32768", Cell::Int(-32768), "Int smallint"),
        ("smallint unsigned", "65535", Cell::Int(65535), "Int smallint unsigned"),
        ("mediumint", "-8388608", Cell::Int(-8_388_608), "Int mediumint"),
        ("mediumint unsigned", "16777215", Cell::Int(16_777_215), "Int mediumint unsigned"),
        ("int", "-2147483648", Cell::Int(i32::MIN.into()), "Int int"),
        ("int unsigned", "4294967295", Cell::Int(u32::MAX.into()), "Int int unsigned"),
        ("bigint", "-9223372036854775808", Cell::Int(i64::MIN), "Int bigint"),
        ("bigint unsigned", "18446744073709551615", Cell::Uint(u64::MAX), "Uint bigint unsigned"),
        ("bigint unsigned", "1", Cell::Uint(1), "Uint bigint unsigned"),
        ("year", "2155", Cell::Int(2155), "Int year"),
        ("float", "-0.5", Cell::Float(-0.5), "Float float"),
        ("double", "1e300", Cell::Float(1e300), "Float double"),
        ("decimal(10,2)", "-12.50", Cell::Decimal("-12.50"), "Decimal decimal"),
        ("decimal(10,0)", "7", Cell::Decimal("7"), "Decimal decimal"),
        ("decimal(10,3)", "0.007", Cell::Decimal("0.007"), "Decimal decimal"),
        (
            "decimal(65,30)",
            "12345678901234567890123456789012345.000000000000000000000000000001",
            Cell::Decimal("12345678901234567890123456789012345.000000000000000000000000000001"),
            "Decimal decimal",
        ),
        ("decimal(6,2) zerofill", "1.5", Cell::Decimal("0001.50"), "Decimal decimal"),
        ("date", "'2000-02-29'", Cell::Date(11_016), "Date date"),
        ("date", "'9999-12-31'", Cell::Date(2_932_896), "Date date"),
        ("date", "'0001-01-01'", Cell::Date(-719_162), "Date date"),
        ("date", "'0000-00-00'", Cell::Text("0000-00-00"), "Date date"),
        ("date", "'2024-02-00'", Cell::Text("2024-02-00"), "Date date"),
        ("time", "'23:59:59'", Cell::Time(86_399_000_000), "Time time"),
        ("time(6)", "'12:00:00.123456'", Cell::Time(43_200_123_456), "Time time"),
        ("time(6)", "'-838:59:59'", Cell::Time(-3_020_399_000_000), "Time time"),
        ("time", "'00:00:00'", Cell::Time(0), "Time time"),
        ("datetime(6)", "'1969-12-31 23:59:59.999999'", Cell::Timestamp(-1), "Timestamp datetime"),
        ("datetime", "'2000-01-01 00:00:00'", Cell::Timestamp(MICROS_2000), "Timestamp datetime"),
        ("datetime", "'0000-00-00'", Cell::Text("0000-00-00 00:00:00"), "Timestamp datetime"),
        (
            "timestamp(3) null",
            "'2000-01-01 00:00:00.5'",
            Cell::TimestampTz(MICROS_2000 + 500_000),
            "TimestampTz timestamp",
        ),
        ("json", "'{\"a\": [1]}'", Cell::Text("{\"a\": [1]}"), "Text text"),
        ("enum('sad','happy')", "'happy'", Cell::Text("happy"), "Text enum"),
        ("set('a','b','c')", "'a,c'", Cell::Text("a,c"), "Text set"),
        (
            "uuid",
            "'30313233-3435-3637-8839-616263646566'",
            Cell::Text("30313233-3435-3637-8839-616263646566"),
            "Text char",
        ),
        ("inet6", "'2001:db8::1'", Cell::Text("2001:db8::1"), "Text char"),
        ("inet4", "'10.0.0.1'", Cell::Text("10.0.0.1"), "Text char"),
        ("point", "ST_GeomFromText('POINT(1 2)')", Cell::Bytes(POINT), "Bytes geometry"),
    ]
}

#[tokio::test]
async fn every_type_comes_as_the_table_says_and_is_bound_back() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    let lines = numbers_and_times().into_iter().chain(texts_and_bytes());
    for (at, (ty, literal, cell, column)) in lines.enumerate() {
        world.direct(&format!(
            "SET time_zone = '+00:00'; CREATE TABLE v{at} (v {ty}); CREATE TABLE w{at} (v {ty}); \
             INSERT INTO v{at} VALUES ({literal}), (NULL)"
        ));
        let text = format!("SELECT v FROM v{at} ORDER BY v IS NULL");
        let shown = plugin.query(&text, &[]).await.unwrap_or_else(|error| panic!("{ty} {literal}: {error}"));
        assert_eq!(shown.rows, [[show(cell)], ["Null".to_owned()]], "{ty} {literal}");
        assert_eq!(shown.types, [column], "{ty} {literal}");
        // What came can be bound, and the server takes it for the same.
        for bound in [cell, Cell::Null] {
            let insert = format!("INSERT INTO w{at} VALUES (?)");
            let inserted = plugin.sql(Mode::Execute, &insert, &[bound]).await;
            inserted.unwrap_or_else(|error| panic!("{ty} {bound:?}: {error}"));
        }
        let same = format!("SELECT count(*) FROM v{at} JOIN w{at} ON v{at}.v <=> w{at}.v");
        assert_eq!(plugin.value(&same, &[]).await, "Int(2)", "{ty} {literal} {cell:?}");
    }
}

#[tokio::test]
async fn cells_that_no_column_comes_as_are_bound_as_what_they_are() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    for (at, (ty, cell, literal)) in [
        ("uuid", Cell::Uuid(*b"0123456789abcdef"), "'30313233-3435-3637-3839-616263646566'"),
        ("char(36)", Cell::Uuid(*b"0123456789abcdef"), "'30313233-3435-3637-3839-616263646566'"),
        ("binary(16)", Cell::Bytes(b"0123456789abcdef"), "'0123456789abcdef'"),
        ("inet6", inet("2001:db8::1"), "'2001:db8::1'"),
        ("inet4", inet("10.0.0.1"), "'10.0.0.1'"),
        ("json", Cell::Json("{\"a\": 1}"), "'{\"a\": 1}'"),
        ("text", Cell::Json("[]"), "'[]'"),
        ("bit(1)", Cell::Bool(true), "1"),
        ("int", Cell::Uint(7), "7"),
        ("bigint unsigned", Cell::Int(7), "7"),
        ("double", Cell::Int(7), "7"),
        ("decimal(10,2)", Cell::Int(7), "7"),
        ("decimal(10,2)", Cell::Text("7.25"), "7.25"),
        ("int", Cell::Text("7"), "7"),
        ("date", Cell::Text("2000-02-29"), "'2000-02-29'"),
        ("datetime", Cell::Date(11_016), "'2000-02-29'"),
        ("datetime(6)", Cell::TimestampTz(-1), "'1969-12-31 23:59:59.999999'"),
        ("timestamp(6) null", Cell::Timestamp(MICROS_2000 + 1), "'2000-01-01 00:00:00.000001'"),
        ("blob", Cell::Text("x"), "'x'"),
    ]
    .into_iter()
    .enumerate()
    {
        world.direct(&format!(
            "SET time_zone = '+00:00'; CREATE TABLE v{at} (v {ty}); CREATE TABLE w{at} (v {ty}); \
             INSERT INTO v{at} VALUES ({literal})"
        ));
        let insert = format!("INSERT INTO w{at} VALUES (?)");
        let inserted = plugin.sql(Mode::Execute, &insert, &[cell]).await;
        inserted.unwrap_or_else(|error| panic!("{ty} {cell:?}: {error}"));
        let same = format!("SELECT count(*) FROM v{at} JOIN w{at} ON v{at}.v <=> w{at}.v");
        assert_eq!(plugin.value(&same, &[]).await, "Int(1)", "{ty} {literal} {cell:?}");
    }
}

#[tokio::test]
async fn a_placeholder_by_itself_comes_back_as_what_the_server_takes_it_for() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    for (bound, comes) in [
        (Cell::Null, "Null"),
        (Cell::Bool(true), "Int(1)"),
        (Cell::Int(-1), "Int(-1)"),
        (Cell::Uint(u64::MAX), "Uint(18446744073709551615)"),
        (Cell::Float(0.1), "Float(0.1)"),
        (Cell::Decimal("1.50"), "Text(\"1.50\")"),
        (Cell::Text("x"), "Text(\"x\")"),
        (Cell::Bytes(b"\xff"), "Bytes([255])"),
        (Cell::Date(0), "Timestamp(0)"),
        (Cell::Time(-1), "Time(-1)"),
        (Cell::TimestampTz(1), "Timestamp(1)"),
        (Cell::Uuid([0; 16]), "Text(\"00000000-0000-0000-0000-000000000000\")"),
    ] {
        assert_eq!(plugin.value("SELECT ?", &[bound]).await, comes, "{bound:?}");
    }
}

#[tokio::test]
async fn every_byte_goes_there_and_back_and_large_values_do() {
    let world = World::new(&format!(
        "{AD_HOC}\nlimits: {{ request: 30MiB, response: 30MiB, cell: 30MiB, call_timeout: 20s }}"
    ))
    .await;
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (b longblob)", &[]).await.unwrap();
    let all: Vec<u8> = (0..=255).collect();
    for bytes in [all.clone(), all.repeat(40_000)] {
        plugin.sql(Mode::Execute, "INSERT INTO t VALUES (?)", &[Cell::Bytes(&bytes)]).await.unwrap();
        let shown = plugin.query("SELECT b FROM t WHERE b = ?", &[Cell::Bytes(&bytes)]).await.unwrap();
        assert_eq!(shown.rows, [[show(Cell::Bytes(&bytes))]]);
        assert_eq!(plugin.value("SELECT ?", &[Cell::Bytes(&all)]).await, show(Cell::Bytes(&all)));
    }
    // Over the server's own bound nothing is sent, and the connection lives.
    world.all_given_back().await;
    let idle = world.backend.status().idle;
    let huge = vec![b'x'; 17 << 20];
    let error = plugin.query("SELECT LENGTH(?)", &[Cell::Bytes(&huge)]).await.unwrap_err();
    assert_eq!(error.code, Code::TooLarge, "{error}");
    world.all_given_back().await;
    assert_eq!(
        (world.backend.status().idle, plugin.value("SELECT 1", &[]).await),
        (idle, "Int(1)".to_owned())
    );
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    for cell in [
        Cell::Float(f64::NAN),
        Cell::Decimal("Infinity"),
        Cell::Date(i32::MAX),
        Cell::Timestamp(i64::MIN),
        Cell::Interval { months: 1, days: 0, micros: 0 },
        Cell::Array(agw_wire::sql::Cells::default()),
    ] {
        let error = plugin.query("SELECT ?, ?", &[Cell::Int(1), cell]).await.unwrap_err();
        assert_eq!(error.code, Code::Invalid, "{cell:?}: {error}");
        assert!(error.message.starts_with("parameter 2: "), "{cell:?}: {}", error.message);
    }
    for (text, given) in [("SELECT ?, ?", 1), ("SELECT ?", 2), ("SELECT 1", 1), ("SELECT '?'", 1)] {
        let error = plugin.query(text, &vec![Cell::Int(1); given]).await.unwrap_err();
        assert_eq!(error.code, Code::Invalid, "{text}");
    }
    // The server's to refuse.
    world.direct(
        "CREATE TABLE t (i tinyint, u int unsigned, d date, e enum('sad'), v varchar(2), n decimal(3,1), j json, \
         a inet6, t text)",
    );
    for (column, wrong) in [
        ("i", Cell::Int(300)),
        ("i", Cell::Text("x")),
        ("u", Cell::Int(-1)),
        ("d", Cell::Text("soon")),
        ("e", Cell::Text("angry")),
        ("v", Cell::Text("long")),
        ("n", Cell::Decimal("1000")),
        ("j", Cell::Text("{")),
        ("a", Cell::Text("nowhere")),
        ("t", Cell::Bytes(b"\xff")),
    ] {
        let text = format!("INSERT INTO t ({column}) VALUES (?)");
        let error = plugin.sql(Mode::Execute, &text, &[wrong]).await.unwrap_err();
        assert_eq!(error.code, Code::Server, "{column}: {error}");
        assert_ne!(error.server_errno, 0, "{column}");
        for value in ["soon", "angry", "long", "nowhere", "300"] {
            assert!(!error.message.contains(value), "{}", error.message);
        }
    }
    assert_eq!(plugin.value("SELECT count(*) FROM t", &[]).await, "Int(0)");
}
