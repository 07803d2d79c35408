use agw_wire::Code;
use agw_wire::sql::{Cell, Cells, Inet, Mode, put_array};

use crate::world::{AD_HOC, World, cells, show};

fn array(elements: &[Cell<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    put_array(&mut out, &cells(elements));
    out
}

fn inet(address: &str, prefix: u8) -> Cell<'static> {
    Cell::Inet(Inet { address: address.parse().unwrap(), prefix })
}

/// Type, literal of the server, the cell that it is; the column's type as the wire says it.
fn table() -> Vec<(&'static str, &'static str, Cell<'static>, &'static str)> {
    let interval = Cell::Interval { months: 14, days: -3, micros: 1_500_000 };
    vec![
        ("bool", "true", Cell::Bool(true), "Bool"),
        ("int2", "-32768", Cell::Int(-32768), "Int"),
        ("int4", "2147483647", Cell::Int(i32::MAX.into()), "Int"),
        ("int8", "-9223372036854775808", Cell::Int(i64::MIN), "Int"),
        ("oid", "4294967295", Cell::Int(u32::MAX.into()), "Int"),
        ("float4", "-0.5", Cell::Float(-0.5), "Float"),
        ("float8", "1e300", Cell::Float(1e300), "Float"),
        ("float8", "-Infinity", Cell::Float(f64::NEG_INFINITY), "Float"),
        ("numeric", "-12.50", Cell::Decimal("-12.50"), "Decimal"),
        ("numeric", "0.00001234", Cell::Decimal("0.00001234"), "Decimal"),
        (
            "numeric",
            "123456789012345678901234567890.5",
            Cell::Decimal("123456789012345678901234567890.5"),
            "Decimal",
        ),
        ("numeric(10,3)", "7", Cell::Decimal("7.000"), "Decimal"),
        ("numeric", "10000", Cell::Decimal("10000"), "Decimal"),
        ("numeric", "NaN", Cell::Decimal("NaN"), "Decimal"),
        ("numeric", "Infinity", Cell::Decimal("Infinity"), "Decimal"),
        ("numeric", "-Infinity", Cell::Decimal("-Infinity"), "Decimal"),
        ("text", "größe😀", Cell::Text("größe😀"), "Text"),
        ("text", "", Cell::Text(""), "Text"),
        ("varchar(5)", "abc", Cell::Text("abc"), "Text"),
        ("char(5)", "abc", Cell::Text("abc  "), "Text"),
        ("name", "abc", Cell::Text("abc"), "Text"),
        ("\"char\"", "x", Cell::Text("x"), "Text"),
        ("bytea", "\\x00ff", Cell::Bytes(b"\0\xff"), "Bytes"),
        ("date", "2000-02-29", Cell::Date(11_016), "Date"),
        ("date", "4713-01-01 BC", Cell::Date(-2_440_550), "Date"),
        ("date", "infinity", Cell::Date(i32::MAX), "Date"),
        ("date", "-infinity", Cell::Date(i32::MIN), "Date"),
        ("time", "23:59:59.999999", Cell::Time(86_399_999_999), "Time"),
        ("time", "24:00:00", Cell::Time(86_400_000_000), "Time"),
        ("timetz", "12:00:00.5+05:30", Cell::Text("12:00:00.500000+05:30"), "Text"),
        ("timetz", "12:00:00-08", Cell::Text("12:00:00-08"), "Text"),
        ("timestamp", "1969-12-31 23:59:59.999999", Cell::Timestamp(-1), "Timestamp"),
        ("timestamp", "infinity", Cell::Timestamp(i64::MAX), "Timestamp"),
        ("timestamptz", "2000-01-01 01:00:00+01", Cell::TimestampTz(946_684_800_000_000), "TimestampTz"),
        ("timestamptz", "-infinity", Cell::TimestampTz(i64::MIN), "TimestampTz"),
        ("interval", "1 year 2 months -3 days 1.5 seconds", interval, "Interval"),
        ("uuid", "30313233-3435-3637-3839-616263646566", Cell::Uuid(*b"0123456789abcdef"), "Uuid"),
        ("json", "{\"a\": [1]}", Cell::Json("{\"a\": [1]}"), "Json"),
        ("jsonb", "{\"a\": [1]}", Cell::Json("{\"a\": [1]}"), "Json"),
        ("inet", "10.0.0.1", inet("10.0.0.1", 32), "Inet"),
        ("inet", "2001:db8::1/64", inet("2001:db8::1", 64), "Inet"),
        ("cidr", "10.0.0.0/8", inet("10.0.0.0", 8), "Inet"),
        ("macaddr", "08:00:2b:01:02:03", Cell::Text("08:00:2b:01:02:03"), "Text"),
        ("bit(5)", "10110", Cell::Text("10110"), "Text"),
        ("varbit", "101", Cell::Text("101"), "Text"),
        ("mood", "happy", Cell::Text("happy"), "Text"),
        ("positive", "5", Cell::Int(5), "Int"),
        ("xml", "<a/>", Cell::Text("<a/>"), "Text"),
    ]
}

const TYPES: [&str; 3] = [
    "CREATE TYPE mood AS ENUM ('sad', 'happy')",
    "CREATE DOMAIN positive AS int4 CHECK (VALUE > 0)",
    "CREATE TYPE pair AS (a int4, b text)",
];

async fn world() -> World {
    let world = World::new(AD_HOC).await;
    world.direct(&TYPES.join("; "));
    world
}

#[tokio::test]
async fn every_type_comes_as_the_table_says_and_is_bound_back() {
    let world = world().await;
    let plugin = world.plugin("p");
    for (ty, literal, cell, cell_type) in table() {
        let text = format!("SELECT '{}'::{ty} AS v", literal.replace('\'', "''"));
        let shown = plugin.query(&text, &[]).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(shown.rows, [[show(cell)]], "{text}");
        assert!(shown.types[0].starts_with(&format!("{cell_type} ")), "{text}: {:?}", shown.types);
        // What came can be bound, and the server takes it for the same.
        let text = format!("SELECT ($1::{ty})::text = ('{}'::{ty})::text", literal.replace('\'', "''"));
        let same =
            plugin.query(&text, &[cell]).await.unwrap_or_else(|error| panic!("{text} {cell:?}: {error}"));
        assert_eq!(same.rows, [["Bool(true)"]], "{text} {cell:?}");
        let null = plugin.query(&format!("SELECT $1::{ty}"), &[Cell::Null]).await.unwrap();
        assert_eq!(null.rows, [["Null"]], "{ty}");
    }
}

#[tokio::test]
async fn arrays_of_every_type_and_dimension_go_both_ways() {
    let world = world().await;
    let plugin = world.plugin("p");
    for (ty, literal, cell, _) in table() {
        if ty == "xml" {
            continue;
        }
        let text = format!("SELECT ARRAY['{}', NULL]::{ty}[]", literal.replace('\'', "''"));
        let elements = array(&[cell, Cell::Null]);
        let Some(Ok(expected)) = Cells::new(&elements).next() else { panic!("no array") };
        let shown = plugin.query(&text, &[]).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(shown.rows, [[show(expected)]], "{text}");
        if matches!(ty, "timetz" | "macaddr" | "bit(5)" | "varbit" | "\"char\"") {
            continue;
        }
        let text = format!("SELECT ($1::{ty}[])::text = ({})::text", &text[7..]);
        let same = plugin.query(&text, &[expected]).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(same.rows, [["Bool(true)"]], "{text}");
    }
    let (one, two) = (array(&[Cell::Int(1), Cell::Int(2)]), array(&[Cell::Int(3), Cell::Null]));
    let nested = [&one, &two].map(|array| Cells::new(array).next().unwrap().unwrap());
    let nested = array(&nested);
    let Some(Ok(nested)) = Cells::new(&nested).next() else { panic!("no array") };
    assert_eq!(plugin.value("SELECT ($1::int4[])::text", &[nested]).await, "Text(\"{{1,2},{3,NULL}}\")");
    assert_eq!(plugin.value("SELECT '{{1,2},{3,NULL}}'::int4[]", &[]).await, show(nested));
    let none = array(&[]);
    let Some(Ok(none)) = Cells::new(&none).next() else { panic!("no array") };
    assert_eq!(plugin.value("SELECT '{}'::text[]", &[]).await, show(none));
    assert_eq!(plugin.value("SELECT ($1::text[])::text", &[none]).await, "Text(\"{}\")");
    let ragged = array(&[nested, Cell::Int(1)]);
    let Some(Ok(ragged)) = Cells::new(&ragged).next() else { panic!("no array") };
    assert_eq!(plugin.query("SELECT $1::int4[]", &[ragged]).await.unwrap_err().code, Code::Invalid);
}

#[tokio::test]
async fn a_type_without_a_form_here_comes_as_the_servers_text() {
    let world = world().await;
    let plugin = world.plugin("p");
    for (text, expected) in [
        ("SELECT '(1,2)'::point AS v, 5 AS n;", "Text(\"(1,2)\")"),
        ("SELECT int4range(1, 5) AS v, 5 AS n -- a comment", "Text(\"[1,5)\")"),
        ("SELECT ROW(1, 'x')::pair AS v, 5 AS n", "Text(\"(1,x)\")"),
        ("SELECT to_tsvector('simple', 'a b') AS v, 5 AS n ORDER BY 2", "Text(\"'a':1 'b':2\")"),
        ("SELECT 'pg_class'::regclass AS v, 5 AS n", "Text(\"pg_class\")"),
        ("SELECT '16/B374D848'::pg_lsn AS v, 5 AS n", "Text(\"16/B374D848\")"),
        ("SELECT ARRAY['(1,2)'::point] AS v, 5 AS n", "Text(\"{\\\"(1,2)\\\"}\")"),
    ] {
        let shown = plugin.query(text, &[]).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(shown.columns, ["v", "n"], "{text}");
        assert_eq!(shown.rows, [[expected, "Int(5)"]], "{text}");
    }
    plugin.sql(Mode::Execute, "CREATE TABLE places (p point)", &[]).await.unwrap();
    let returning = "INSERT INTO places VALUES ('(1,2)') RETURNING p";
    let error = plugin.query(returning, &[]).await.unwrap_err();
    assert_eq!(error.code, Code::Invalid);
    assert!(error.message.contains("column p is of the type point"), "{}", error.message);
    assert_eq!(plugin.value("SELECT count(*) FROM places", &[]).await, "Int(0)");
    assert_eq!(plugin.query(&format!("{returning}::text"), &[]).await.unwrap().affected, 1);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_the_parameters_place() {
    let world = world().await;
    let plugin = world.plugin("p");
    for (ty, wrong) in [
        ("int2", Cell::Int(32768)),
        ("int4", Cell::Int(i64::MAX)),
        ("int8", Cell::Uint(u64::MAX)),
        ("oid", Cell::Int(-1)),
        ("int4", Cell::Text("1")),
        ("int4", Cell::Float(1.0)),
        ("bool", Cell::Int(1)),
        ("numeric", Cell::Text("1")),
        ("bytea", Cell::Text("x")),
        ("float8", Cell::Int(i64::MAX)),
        ("float4", Cell::Float(1e300)),
        ("text", Cell::Int(1)),
        ("text", Cell::Bytes(b"x")),
        ("text", Cell::Text("a\0b")),
        ("date", Cell::Timestamp(0)),
        ("timestamp", Cell::TimestampTz(0)),
        ("date", Cell::Date(i32::MIN + 1)),
        ("timestamp", Cell::Timestamp(i64::MIN + 1)),
        ("uuid", Cell::Bytes(&[0; 16])),
        ("jsonb", Cell::Int(1)),
        ("positive", Cell::Text("x")),
        ("int4[]", Cell::Int(1)),
    ] {
        let text = format!("SELECT $1::int4, $2::{ty}");
        let error = plugin.query(&text, &[Cell::Int(1), wrong]).await.unwrap_err();
        assert_eq!(error.code, Code::Invalid, "{ty} {wrong:?}: {error}");
        assert!(error.message.starts_with("parameter 2: "), "{ty} {wrong:?}: {}", error.message);
    }
    for (text, given) in [("SELECT $1::int4, $2::int4", 1), ("SELECT $1::int4", 2), ("SELECT 1", 1)] {
        let error = plugin.query(text, &vec![Cell::Int(1); given]).await.unwrap_err();
        assert_eq!(error.code, Code::Invalid, "{text}");
    }
    // The server's to refuse.
    for (ty, wrong) in
        [("date", "soon"), ("mood", "angry"), ("uuid", "1"), ("jsonb", "{"), ("positive", "-1")]
    {
        let cell = if ty == "positive" { Cell::Int(-1) } else { Cell::Text(wrong) };
        let error = plugin.query(&format!("SELECT $1::{ty}"), &[cell]).await.unwrap_err();
        assert_eq!(error.code, Code::Server, "{ty}: {error}");
        assert!(!error.message.contains(wrong) || wrong == "1", "{}", error.message);
    }
}
