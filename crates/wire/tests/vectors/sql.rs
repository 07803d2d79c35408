//! The part of the vectors that is `agw_sql`'s.

use agw_wire::sql::{
    Call, Cell, CellType, Cells, Column, Inet, Mode, Reply, ReplyWriter, Statement, put_array, put_cell,
};
use agw_wire::{Answer, DecodeError, Kind, Response};
use serde_json::{Value, json};

use super::{bytes_of, from_hex, number, only};

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The encoded parameters of each statement.
pub(crate) fn params(call: &Value) -> Vec<Vec<u8>> {
    list(&call["statements"]).iter().map(|statement| cells(&statement["params"])).collect()
}

pub(crate) fn call<'a>(value: &'a Value, params: &'a [Vec<u8>]) -> Call<'a> {
    only(value, &["mode", "statements", "cursor", "page_rows"]);
    let statements = list(&value["statements"]).iter().zip(params).map(|(statement, params)| {
        only(statement, &["name", "text", "params"]);
        let text = |field: &str| statement[field].as_str().unwrap_or_default();
        Statement { name: text("name"), text: text("text"), params: Cells::new(params) }
    });
    let name = value["mode"].as_str().unwrap_or("QUERY");
    Call {
        mode: Mode::ALL.into_iter().find(|mode| shouted(&format!("{mode:?}")) == name).unwrap(),
        statements: statements.collect(),
        cursor: number(value, "cursor"),
        page_rows: number(value, "page_rows"),
    }
}

pub(crate) fn kind(name: &str) -> Kind {
    Kind::ALL.into_iter().find(|kind| shouted(&format!("{kind:?}")) == name).unwrap()
}

/// `QUERY_ONE` for `QueryOne`.
fn shouted(name: &str) -> String {
    let mut shouted = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !shouted.is_empty() {
            shouted.push('_');
        }
        shouted.push(letter.to_ascii_uppercase());
    }
    shouted
}

fn type_name(cell_type: CellType) -> String {
    shouted(&format!("{cell_type:?}")).replace("TIMESTAMP_TZ", "TIMESTAMPTZ")
}

pub(crate) fn reply(value: &Value) -> Vec<u8> {
    only(value, &["results", "cursor"]);
    let mut writer = ReplyWriter::new();
    for result in list(&value["results"]) {
        only(result, &["columns", "rows", "affected", "last_insert_id"]);
        for column in list(&result["columns"]) {
            only(column, &["name", "type", "engine_type"]);
            let name = column["type"].as_str().unwrap_or("ANY");
            writer.column(&Column {
                name: column["name"].as_str().unwrap_or_default(),
                cell_type: CellType::ALL.into_iter().find(|one| type_name(*one) == name).unwrap(),
                engine_type: column["engine_type"].as_str().unwrap_or_default(),
            });
        }
        for row in list(&result["rows"]) {
            writer.row().extend_from_slice(&cells(row));
            writer.end_row();
        }
        let number = |field: &str| result[field].as_u64().unwrap_or(0);
        writer.end_result(number("affected"), number("last_insert_id"));
    }
    writer.finish(number(value, "cursor"))
}

fn cells(list_of: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for value in list(list_of) {
        put(&mut out, value);
    }
    out
}

fn put(out: &mut Vec<u8>, value: &Value) {
    let Some(object) = value.as_object() else {
        return put_cell(out, value.as_bool().map_or(Cell::Null, Cell::Bool));
    };
    let (kind, value) = object.iter().next().unwrap();
    let text = value.as_str().unwrap_or_default();
    let days = || value.as_i64().and_then(|days| i32::try_from(days).ok()).unwrap();
    let bytes;
    let cell = match kind.as_str() {
        "int" => Cell::Int(text.parse().unwrap()),
        "uint" => Cell::Uint(text.parse().unwrap()),
        "float" => Cell::Float(text.parse().unwrap()),
        "decimal" => Cell::Decimal(text),
        "text" => Cell::Text(text),
        "bytes" => {
            bytes = bytes_of(value);
            Cell::Bytes(&bytes)
        }
        "date" => Cell::Date(days()),
        "time" => Cell::Time(value.as_i64().unwrap()),
        "timestamp" => Cell::Timestamp(text.parse().unwrap()),
        "timestamptz" => Cell::TimestampTz(text.parse().unwrap()),
        "interval" => {
            let part = |at: usize| value[at].as_str().unwrap().parse::<i64>().unwrap();
            Cell::Interval { months: part(0) as i32, days: part(1) as i32, micros: part(2) }
        }
        "uuid" => Cell::Uuid(from_hex(text).try_into().unwrap()),
        "json" => Cell::Json(text),
        "inet" => {
            let (address, prefix) = text.split_once('/').unwrap();
            Cell::Inet(Inet { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() })
        }
        "array" => return put_array(out, &cells(value)),
        other => panic!("the vectors have an unknown cell {other}"),
    };
    put_cell(out, cell);
}

/// What a reply's bytes say, read by way of every part of the reader.
pub(crate) fn shown(bytes: &[u8]) -> Value {
    let reply = Reply::decode(bytes).unwrap();
    let results = reply.results.iter().map(|result| {
        let columns = result.columns.iter().map(|column| {
            json!({ "name": column.name, "type": type_name(column.cell_type), "engine_type": column.engine_type })
        });
        let rows = result.rows().map(|row| row.map(|cell| shown_cell(cell.unwrap())).collect::<Value>());
        json!({
            "columns": columns.collect::<Value>(),
            "rows": rows.collect::<Value>(),
            "affected": result.affected,
            "last_insert_id": result.last_insert_id,
        })
    });
    json!({ "results": results.collect::<Value>(), "cursor": reply.cursor })
}

/// The same of a vector's value: every default written out.
pub(crate) fn described(value: &Value) -> Value {
    let or = |value: &Value, default: Value| if value.is_null() { default } else { value.clone() };
    let results = list(&value["results"]).iter().map(|result| {
        let columns = list(&result["columns"]).iter().map(|column| {
            json!({
                "name": column["name"],
                "type": or(&column["type"], json!("ANY")),
                "engine_type": or(&column["engine_type"], json!("")),
            })
        });
        json!({
            "columns": columns.collect::<Value>(),
            "rows": or(&result["rows"], json!([])),
            "affected": or(&result["affected"], json!(0)),
            "last_insert_id": or(&result["last_insert_id"], json!(0)),
        })
    });
    json!({ "results": results.collect::<Value>(), "cursor": or(&value["cursor"], json!(0)) })
}

fn shown_cell(cell: Cell<'_>) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match cell {
        Cell::Null => Value::Null,
        Cell::Bool(value) => json!(value),
        Cell::Int(value) => json!({ "int": value.to_string() }),
        Cell::Uint(value) => json!({ "uint": value.to_string() }),
        Cell::Float(value) => json!({ "float": value.to_string() }),
        Cell::Decimal(text) => json!({ "decimal": text }),
        Cell::Text(text) => json!({ "text": text }),
        Cell::Bytes(bytes) => json!({ "bytes": format!("hex:{}", hex(bytes)) }),
        Cell::Date(days) => json!({ "date": days }),
        Cell::Time(micros) => json!({ "time": micros }),
        Cell::Timestamp(micros) => json!({ "timestamp": micros.to_string() }),
        Cell::TimestampTz(micros) => json!({ "timestamptz": micros.to_string() }),
        Cell::Interval { months, days, micros } => {
            json!({ "interval": [months.to_string(), days.to_string(), micros.to_string()] })
        }
        Cell::Uuid(bytes) => json!({ "uuid": hex(&bytes) }),
        Cell::Json(text) => json!({ "json": text }),
        Cell::Inet(inet) => json!({ "inet": format!("{}/{}", inet.address, inet.prefix) }),
        Cell::Array(cells) => {
            json!({ "array": cells.map(|cell| shown_cell(cell.unwrap())).collect::<Value>() })
        }
        other => panic!("no name for {other:?}"),
    }
}

/// Reads a response, and the reply in it, which [`Response::decode`] leaves alone.
pub(crate) fn decode_whole(bytes: &[u8]) -> Result<(), DecodeError> {
    if let Answer::Sql(reply) = Response::decode(bytes)?.answer {
        Reply::decode(reply)?;
    }
    Ok(())
}
