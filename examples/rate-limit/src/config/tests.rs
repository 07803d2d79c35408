use super::*;

fn problem(json: &str) -> String {
    match Config::parse(json.as_bytes()) {
        Err(problem) => problem.to_string(),
        Ok(config) => panic!("{json} was read as {config:?}"),
    }
}

#[test]
fn each_mistake_is_named_with_its_field() {
    let cases = [
        ("", "configuration: limit: it is missing"),
        ("{", "configuration: not JSON"),
        ("[]", "configuration: write an object"),
        (r#"{"window": 10}"#, "configuration: limit: it is missing"),
        (r#"{"limit": 5}"#, "configuration: window: it is missing"),
        (r#"{"limit": "5", "window": 10}"#, "configuration: limit: write a whole number from 1 to"),
        (r#"{"limit": 0, "window": 10}"#, "configuration: limit: write a whole number"),
        (r#"{"limit": 1.5, "window": 10}"#, "configuration: limit: write a whole number"),
        (r#"{"limit": 1e300, "window": 10}"#, "configuration: limit: write a whole number"),
        (r#"{"limit": 5, "window": -1}"#, "configuration: window: write a whole number"),
        (r#"{"limit": 5, "window": 10, "limits": 1}"#, "configuration: limits: there is no such field"),
        (r#"{"limit": 5, "window": 10, "on_error": "ask"}"#, "configuration: on_error: write open or closed"),
        (r#"{"limit": 5, "window": 10, "shadow": "yes"}"#, "configuration: shadow: write true or false"),
        (r#"{"limit": 5, "window": 10, "name": "a \"b"}"#, "configuration: name: write at most 64 letters"),
        (r#"{"limit": 5, "window": 10, "resource": ""}"#, "configuration: resource: write a text"),
        (r#"{"limit": 5, "window": 10, "key": []}"#, "configuration: key: write a list"),
        (r#"{"limit": 5, "window": 10, "key": [{}]}"#, "configuration: key[0]: write one of"),
        (
            r#"{"limit": 5, "window": 10, "key": [{"path": true}, {"ip": true}]}"#,
            "configuration: key[1].ip: there is no such field",
        ),
        (
            r#"{"limit": 5, "window": 10, "key": [{"header": "x y"}]}"#,
            "configuration: key[0].header: this is not a name",
        ),
        (
            r#"{"limit": 5, "window": 10, "key": [{"address": false}]}"#,
            "configuration: key[0].address: write true",
        ),
        (
            r#"{"limit": 5, "window": 10, "key": [{"address": true, "path": true}]}"#,
            "configuration: key[0]: write one of",
        ),
    ];
    for (json, expected) in cases {
        let problem = problem(json);
        assert!(problem.starts_with(expected), "{json}: {problem}");
    }
    assert!(Config::parse(b"{\"limit\": \xff}").is_err());
}

#[test]
fn what_is_left_out_has_a_default() {
    let config = Config::parse(br#"{"limit": 5, "window": 10}"#).unwrap();
    let expected = Config {
        name: "default".into(),
        limit: 5,
        window: 10,
        key: vec![Source::Address],
        resource: "limits".into(),
        on_error: OnError::Open,
        shadow: false,
    };
    assert_eq!(config, expected);
}

#[test]
fn every_field_is_read() {
    let json = br#"{
        "name": "per-key", "limit": 999999999999999, "window": 31622400, "resource": "r", "on_error": "closed",
        "shadow": true,
        "key": [{"header": "X-Api-Key"}, {"cookie": "Sid"}, {"address": true}, {"path": true}]
    }"#;
    let expected = Config {
        name: "per-key".into(),
        limit: 999_999_999_999_999,
        window: 31_622_400,
        key: vec![
            Source::Header("x-api-key".into()),
            Source::Cookie("Sid".into()),
            Source::Address,
            Source::Path,
        ],
        resource: "r".into(),
        on_error: OnError::Closed,
        shadow: true,
    };
    assert_eq!(Config::parse(json), Ok(expected));
}
