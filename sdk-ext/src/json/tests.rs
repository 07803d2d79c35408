use super::*;

fn problem(text: &[u8]) -> &'static str {
    match parse(text) {
        Err(problem) => problem.what,
        Ok(value) => panic!("{} was read as {value:?}", text.escape_ascii()),
    }
}

#[test]
fn what_is_not_json_is_refused() {
    let cases: [(&[u8], &str); 26] = [
        (b"", "a value is missing"),
        (b" \n", "a value is missing"),
        (b"tru", "no value begins like this"),
        (b"'a'", "no value begins like this"),
        (b"\xef\xbb\xbf1", "no value begins like this"),
        (b"1 2", "there is more after the value"),
        (b"01", "there is more after the value"),
        (b"-", "a digit is missing"),
        (b"+1", "no value begins like this"),
        (b".5", "no value begins like this"),
        (b"1.", "a digit is missing"),
        (b"1e", "a digit is missing"),
        (b"[1,]", "no value begins like this"),
        (b"[1 2]", "a comma or a closing bracket is missing"),
        (b"[1", "a comma or a closing bracket is missing"),
        (b"{\"a\" 1}", "a colon is missing"),
        (b"{\"a\":1,}", "a field begins with a quote"),
        (b"{\"a\":1 \"b\":2}", "a comma or a closing brace is missing"),
        (b"{\"a\":1,\"\\u0061\":2}", "this field stands twice"),
        (b"\"a", "the string does not end"),
        (b"\"a\nb\"", "a control character must be escaped"),
        (b"\"\xff\"", "the string is not UTF-8"),
        (b"\"\\x\"", "there is no such escape"),
        (b"\"\\u12g4\"", "four hexadecimal digits are missing"),
        (b"\"\\ud800\"", "half a character is missing"),
        (b"\"\\ud800\\u0041\"", "half a character is missing"),
    ];
    for (text, expected) in cases {
        assert_eq!(problem(text), expected, "{}", text.escape_ascii());
    }
}

#[test]
fn every_kind_of_value_is_read() {
    let text = br#" { "a" : [ 0 , -1.5e+3, true,false ,null ], "" : {}, "s": "\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u00ff" } "#;
    let number = |text: &str| Json::Number(text.into());
    let list = vec![number("0"), number("-1.5e+3"), Json::Bool(true), Json::Bool(false), Json::Null];
    let expected = Json::Object(vec![
        ("a".into(), Json::Array(list)),
        (String::new(), Json::Object(vec![])),
        ("s".into(), Json::String("\"\\/\u{8}\u{c}\n\r\t\u{e9}\u{1f600}\u{ff}".into())),
    ]);
    assert_eq!(parse(text), Ok(expected));
    assert_eq!(parse("\"\u{e9}\u{1f600}\"".as_bytes()), Ok(Json::String("\u{e9}\u{1f600}".into())));
}

#[test]
fn whole_numbers_are_whole() {
    let whole = |text: &[u8]| parse(text).unwrap().whole();
    assert_eq!(whole(b"9223372036854775807"), Some(i64::MAX));
    assert_eq!(whole(b"-9223372036854775808"), Some(i64::MIN));
    assert_eq!(whole(b"9223372036854775808"), None);
    assert_eq!(whole(b"1e3"), None);
    assert_eq!(whole(b"1.0"), None);
}

#[test]
fn deep_nesting_ends_before_the_stack_does() {
    let deep = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
    assert!(parse(&deep(DEPTH_MAX + 1)).is_ok());
    assert_eq!(problem(&deep(DEPTH_MAX + 2)), "this is nested too deep");
    assert_eq!(problem(&b"{\"a\":".repeat(1_000_000)), "this is nested too deep");
}

#[test]
fn a_text_cut_at_any_byte_is_a_problem_with_a_place_in_it() {
    let whole = b"{\n \"a\": [1, \"\\u00e9\", {\"b\": null}]}";
    assert!(parse(whole).is_ok());
    for end in 0..whole.len() {
        let problem = parse(&whole[..end]).unwrap_err();
        assert!(problem.line <= 2 && problem.column <= whole.len() + 1, "cut at {end}: {problem}");
    }
}
