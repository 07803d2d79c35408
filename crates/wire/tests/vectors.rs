//! `vectors/vectors.json` holds: what it calls an encoding is what we write and read, and what it calls wrong is refused.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a bad vector is a failed test")]

#[path = "vectors/sql.rs"]
mod sql;

use agw_wire::{
    Answer, CallError, Code, DecodeError, Kind, Lease, RedisBatch, RedisCommand, Request, Response, Retry,
    Style,
};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/vectors.json")).unwrap()
}

/// Every vector of a group: its name, its bytes, the whole of it.
fn group(name: &str) -> Vec<(String, Vec<u8>, Value)> {
    let vectors = vectors();
    let group = vectors[name].as_array().unwrap();
    assert!(!group.is_empty(), "group {name} is empty");
    let entry = |vector: &Value| {
        let bytes = from_hex(vector["hex"].as_str().unwrap());
        (vector["name"].as_str().unwrap().to_owned(), bytes, vector.clone())
    };
    group.iter().map(entry).collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "odd hex: {hex}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// A byte string: text, or `hex:` and digits.
fn bytes_of(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    text.strip_prefix("hex:").map_or_else(|| text.as_bytes().to_vec(), from_hex)
}

fn number(value: &Value, field: &str) -> u32 {
    u32::try_from(value[field].as_u64().unwrap_or(0)).unwrap()
}

/// A misspelt field in a vector would silently be a default.
fn only(value: &Value, fields: &[&str]) {
    for key in value.as_object().unwrap().keys() {
        assert!(fields.contains(&key.as_str()), "the vectors have an unknown field {key}");
    }
}

/// Builds the request that a vector describes and passes it on.
fn with_request(value: &Value, then: impl FnOnce(&Request<'_>)) {
    only(value, &["resource", "style", "deadline_ms", "cancel", "redis", "sql"]);
    let batch = &value["redis"];
    let none = Vec::new();
    let commands = batch["commands"].as_array().unwrap_or(&none);
    let args: Vec<Vec<Vec<u8>>> = commands
        .iter()
        .map(|command| {
            only(command, &["args", "script", "script_keys"]);
            command["args"].as_array().unwrap_or(&none).iter().map(bytes_of).collect()
        })
        .collect();
    let commands = commands.iter().zip(&args).map(|(command, args)| RedisCommand {
        args: args.iter().map(Vec::as_slice).collect(),
        script: command["script"].as_str().unwrap_or_default(),
        script_keys: number(command, "script_keys"),
    });
    let lease = batch.get("lease").map(|lease| {
        only(lease, &["id", "keep"]);
        Lease { id: number(lease, "id"), keep: lease["keep"].as_bool().unwrap_or(false) }
    });
    let redis = batch.as_object().map(|_| {
        only(batch, &["commands", "atomic", "lease"]);
        RedisBatch { commands: commands.collect(), atomic: batch["atomic"].as_bool().unwrap_or(false), lease }
    });
    let params = sql::params(&value["sql"]);
    then(&Request {
        resource: value["resource"].as_str().unwrap_or_default(),
        style: if value["style"] == "CALLBACK" { Style::Callback } else { Style::Blocking },
        deadline_ms: number(value, "deadline_ms"),
        cancel: number(value, "cancel"),
        redis,
        sql: value.get("sql").map(|call| sql::call(call, &params)),
    });
}

fn with_response(value: &Value, then: impl FnOnce(&Response<'_>)) {
    only(value, &["resp", "error", "call_id", "lease", "sql"]);
    let resp = value.get("resp").map(bytes_of);
    let sql = value.get("sql").map(sql::reply);
    let answer = match (&resp, value.get("error"), &sql) {
        (Some(resp), None, None) => Answer::Resp(resp),
        (None, Some(error), None) => Answer::Error(error_of(error)),
        (None, None, Some(reply)) => Answer::Sql(reply),
        (None, None, None) => Answer::CallId(number(value, "call_id")),
        _ => panic!("two answers in one vector"),
    };
    then(&Response { answer, lease: number(value, "lease") });
}

fn error_of(value: &Value) -> CallError {
    only(value, &["code", "message", "server_code", "retry", "kind", "server_errno", "retry_after_ms"]);
    let name = value["code"].as_str().unwrap().to_lowercase();
    let code = Code::ALL.into_iter().find(|code| code.as_str() == name).unwrap();
    let retry = match value["retry"].as_str() {
        None => Retry::Never,
        Some("SAFE") => Retry::Safe,
        Some("IF_IDEMPOTENT") => Retry::IfIdempotent,
        Some(other) => panic!("no such retry: {other}"),
    };
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let error = CallError::new(code, text("message")).server_code(text("server_code")).retry(retry);
    let error = error.server_errno(number(value, "server_errno"));
    let error = error.retry_after_ms(number(value, "retry_after_ms"));
    match value["kind"].as_str() {
        Some(name) => error.kind(sql::kind(name)),
        None => error,
    }
}

/// The kind's name in the vectors.
fn kind(error: DecodeError) -> &'static str {
    match error {
        DecodeError::Truncated { .. } => "truncated",
        DecodeError::BadVarint { .. } => "bad_varint",
        DecodeError::UnknownField { .. } => "unknown_field",
        DecodeError::Duplicate { .. } => "duplicate",
        DecodeError::OutOfRange { .. } => "out_of_range",
        DecodeError::NotUtf8 { .. } => "not_utf8",
        DecodeError::Shape { .. } => "shape",
        _ => "unnamed",
    }
}

#[test]
fn requests_encode_to_their_vector_and_decode_from_it() {
    for (name, bytes, vector) in group("requests") {
        with_request(&vector["value"], |request| {
            assert_eq!(request.encode(), bytes, "encoding of: {name}");
            assert_eq!(Request::decode(&bytes).as_ref(), Ok(request), "decoding of: {name}");
        });
    }
}

#[test]
fn responses_encode_to_their_vector_and_decode_from_it() {
    for (name, bytes, vector) in group("responses") {
        with_response(&vector["value"], |response| {
            assert_eq!(response.encode(), bytes, "encoding of: {name}");
            assert_eq!(Response::decode(&bytes).as_ref(), Ok(response), "decoding of: {name}");
        });
    }
}

#[test]
fn what_is_tolerated_decodes_to_its_value() {
    for (name, bytes, vector) in group("requests_tolerated") {
        with_request(&vector["value"], |request| {
            assert_eq!(Request::decode(&bytes).as_ref(), Ok(request), "{name}");
            assert_ne!(request.encode(), bytes, "this is the encoding itself: {name}");
        });
    }
    for (name, bytes, vector) in group("responses_tolerated") {
        with_response(&vector["value"], |response| {
            let decoded = Response::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            match (&decoded.answer, &response.answer) {
                // Its bytes are handed on as they are, so it is their meaning that counts.
                (Answer::Sql(found), Answer::Sql(expected)) => {
                    assert_eq!(sql::shown(found), sql::shown(expected), "{name}");
                }
                _ => assert_eq!(&decoded, response, "{name}"),
            }
        });
    }
}

#[test]
fn what_is_wrong_is_refused_for_its_reason() {
    for (name, bytes, vector) in group("requests_refused") {
        let error = Request::decode(&bytes).expect_err(&name);
        assert_eq!(kind(error), vector["error"], "{name}: {error}");
    }
    for (name, bytes, vector) in group("responses_refused") {
        let error = sql::decode_whole(&bytes).expect_err(&name);
        assert_eq!(kind(error), vector["error"], "{name}: {error}");
    }
}

#[test]
fn every_code_has_a_vector() {
    let named: Vec<_> = group("responses")
        .iter()
        .filter_map(|(_, _, vector)| Some(vector["value"]["error"]["code"].as_str()?.to_lowercase()))
        .collect();
    for code in Code::ALL {
        assert!(named.iter().any(|name| name == code.as_str()), "no vector for {code}");
    }
}

#[test]
fn every_kind_has_a_vector() {
    let named: Vec<_> = group("responses")
        .iter()
        .filter_map(|(_, _, vector)| Some(sql::kind(vector["value"]["error"]["kind"].as_str()?)))
        .collect();
    for kind in Kind::ALL {
        assert!(named.contains(&kind), "no vector for {kind:?}");
    }
}

#[test]
fn replies_of_sql_read_as_their_vector() {
    let mut read = 0;
    for (name, bytes, vector) in group("responses") {
        let Answer::Sql(reply) = Response::decode(&bytes).unwrap().answer else { continue };
        assert_eq!(sql::shown(reply), sql::described(&vector["value"]["sql"]), "{name}");
        read += 1;
    }
    assert!(read > 5);
}
