//! `agw_sql`, byte by byte: calls, replies and cells.

use std::fmt::{self, Write};

use crate::request::{bytes, head, varint as put_varint};
use crate::response::{Value, field, take, varint};
use crate::scenario::Call;

const QUERY: u8 = 0;
const QUERY_ONE: u8 = 1;
const QUERY_OPTIONAL: u8 = 2;
const EXECUTE: u8 = 3;
const BATCH: u8 = 4;
const PAGE: u8 = 5;
const FETCH: u8 = 6;
const CLOSE: u8 = 7;

/// A statement: its name or its text, and its parameters.
struct Statement<'a> {
    name: &'a str,
    text: &'a str,
    params: Vec<u8>,
}

/// The calls of a scenario of SQL; `None` if there is no such.
pub(crate) fn calls(scenario: &str, callback: bool, key: &[u8]) -> Option<Vec<Call>> {
    let named = |name, params| Statement { name, text: "", params };
    let text = |text, params| Statement { name: "", text, params };
    let one = |mode, statement: Statement<'_>| vec![call(mode, &[statement], 0, 0, callback)];
    Some(match scenario {
        "sql-find" => one(QUERY_OPTIONAL, named("find", text_cell(key))),
        "sql-find-one" => one(QUERY_ONE, named("find", text_cell(key))),
        "sql-every-type" => one(QUERY, text("SELECT * FROM every", Vec::new())),
        "sql-use" => one(EXECUTE, named("use", [text_cell(key), int_cell(-7)].concat())),
        "sql-twice" => {
            let twice = || named("use", [text_cell(key), int_cell(1)].concat());
            let count = named("count", text_cell(key));
            vec![call(BATCH, &[twice(), twice(), count], 0, 0, callback)]
        }
        "sql-half" => {
            let broken = text("INSERT INTO uses (id, n) VALUES (1, 1)", Vec::new());
            vec![call(BATCH, &[named("use", [text_cell(key), int_cell(1)].concat()), broken], 0, 0, callback)]
        }
        "sql-pages" | "sql-close" => {
            vec![call(PAGE, &[text("SELECT n FROM numbers", Vec::new())], 0, 2, callback)]
        }
        "sql-denied" => one(QUERY, named("hidden", Vec::new())),
        "sql-commit" => one(EXECUTE, text("COMMIT", Vec::new())),
        "sql-endless" => {
            let endless =
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
            one(QUERY, text(endless, Vec::new()))
        }
        "sql-nothing" => vec![Call { function: "agw_sql", payload: head("db", callback) }],
        "sql-of-redis" => {
            let mut payload = head("db", callback);
            bytes(&mut payload, &[0x82, 0x01], b"\x0a\x05\x0a\x03GET");
            vec![Call { function: "agw_sql", payload }]
        }
        // Of `agw try`, which calls its resource so.
        "try-sql-make" => {
            let make = text("CREATE TABLE made (n INTEGER)", Vec::new());
            vec![call_of("sql", EXECUTE, &[make], 0, 0, callback)]
        }
        "try-sql-add" => {
            let add = text("INSERT INTO made VALUES (7)", Vec::new());
            let count = text("SELECT count(*) AS n FROM made", Vec::new());
            vec![call_of("sql", BATCH, &[add, count], 0, 0, callback)]
        }
        // A cell with a tag that nobody has defined.
        "sql-broken" => one(QUERY, text("SELECT ?1", vec![99])),
        _ => return None,
    })
}

/// The next page of a cursor, or its end.
pub(crate) fn go_on(cursor: u32, closes: bool, callback: bool) -> Call {
    call(if closes { CLOSE } else { FETCH }, &[], cursor, 0, callback)
}

fn call(mode: u8, statements: &[Statement<'_>], cursor: u32, page_rows: u32, callback: bool) -> Call {
    call_of("db", mode, statements, cursor, page_rows, callback)
}

fn call_of(
    resource: &str,
    mode: u8,
    statements: &[Statement<'_>],
    cursor: u32,
    page_rows: u32,
    callback: bool,
) -> Call {
    let mut sql = Vec::new();
    let mut number = |tag: u8, value: u32| {
        if value != 0 {
            sql.push(tag);
            put_varint(&mut sql, value.into());
        }
    };
    number(0x08, mode.into());
    number(0x18, cursor);
    number(0x20, page_rows);
    for statement in statements {
        let mut inner = Vec::new();
        for (tag, value) in
            [(0x0a, statement.name.as_bytes()), (0x12, statement.text.as_bytes()), (0x1a, &statement.params)]
        {
            if !value.is_empty() {
                bytes(&mut inner, &[tag], value);
            }
        }
        bytes(&mut sql, &[0x12], &inner);
    }
    let mut payload = head(resource, callback);
    bytes(&mut payload, &[0x8a, 0x01], &sql);
    Call { function: "agw_sql", payload }
}

fn text_cell(text: &[u8]) -> Vec<u8> {
    let mut cell = Vec::new();
    bytes(&mut cell, &[7], text);
    cell
}

fn int_cell(value: i64) -> Vec<u8> {
    let mut cell = vec![3];
    put_varint(&mut cell, ((value << 1) ^ (value >> 63)) as u64);
    cell
}

/// A reply: its results as text, and its cursor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    results: Vec<String>,
    pub(crate) cursor: u32,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sql {}", self.results.join(" | "))?;
        if self.cursor != 0 { f.write_str(" and more") } else { Ok(()) }
    }
}

/// Reads a `SqlReply`.
pub(crate) fn reply(mut reply: &[u8]) -> Option<Reply> {
    let mut read = Reply { results: Vec::new(), cursor: 0 };
    while !reply.is_empty() {
        match field(&mut reply)? {
            (1, Value::Bytes(result)) => read.results.push(shown_result(result)?),
            (2, Value::Number(cursor)) => read.cursor = u32::try_from(cursor).ok()?,
            _ => {}
        }
    }
    Some(read)
}

/// `hash, user: text "a1", int 1; affected 0`
fn shown_result(mut result: &[u8]) -> Option<String> {
    let (mut columns, mut rows, mut affected, mut id) = (Vec::new(), Vec::new(), 0, 0);
    while !result.is_empty() {
        match field(&mut result)? {
            (1, Value::Bytes(column)) => columns.push(column_name(column)?),
            (2, Value::Bytes(row)) => rows.push(cells(row)?.join(", ")),
            (3, Value::Number(number)) => affected = number,
            (4, Value::Number(number)) => id = number,
            _ => {}
        }
    }
    let mut shown = format!("[{}]", columns.join(", "));
    for row in rows {
        write!(shown, " ({row})").ok()?;
    }
    if affected != 0 || id != 0 {
        write!(shown, " affected {affected} id {id}").ok()?;
    }
    Some(shown)
}

fn column_name(mut column: &[u8]) -> Option<String> {
    let (mut name, mut engine_type) = (String::new(), String::new());
    while !column.is_empty() {
        match field(&mut column)? {
            (1, Value::Bytes(text)) => name = String::from_utf8(text.to_vec()).ok()?,
            (3, Value::Bytes(text)) => engine_type = String::from_utf8(text.to_vec()).ok()?,
            _ => {}
        }
    }
    Some(if engine_type.is_empty() { name } else { format!("{name} {engine_type}") })
}

fn cells(mut row: &[u8]) -> Option<Vec<String>> {
    let mut cells = Vec::new();
    while !row.is_empty() {
        cells.push(cell(&mut row)?);
    }
    Some(cells)
}

fn cell(row: &mut &[u8]) -> Option<String> {
    let tag = *take(row, 1)?.first()?;
    Some(match tag {
        0 => "null".to_owned(),
        1 => "false".to_owned(),
        2 => "true".to_owned(),
        3 => format!("int {}", zigzag(row)?),
        4 => format!("uint {}", varint(row)?),
        5 => format!("float {}", f64::from_le_bytes(take(row, 8)?.try_into().ok()?)),
        7 => format!("text {:?}", std::str::from_utf8(delimited(row)?).ok()?),
        8 => format!("bytes {}", delimited(row)?.escape_ascii()),
        9 => format!("date {}", zigzag(row)?),
        10 => format!("time {}", zigzag(row)?),
        11 => format!("timestamp {}", zigzag(row)?),
        12 => format!("timestamptz {}", zigzag(row)?),
        14 => format!("uuid {}", take(row, 16)?.escape_ascii()),
        15 => format!("json {}", std::str::from_utf8(delimited(row)?).ok()?),
        _ => return None,
    })
}

fn zigzag(row: &mut &[u8]) -> Option<i64> {
    let value = varint(row)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

fn delimited<'a>(row: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(row)?).ok()?;
    take(row, length)
}
