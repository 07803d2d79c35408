use super::*;

fn refusal(text: &str) -> Refusal {
    parse(text).expect_err("the text is refused")
}

fn mapping(node: &Node) -> &[Entry] {
    match &node.value {
        Value::Mapping(entries) => entries,
        other => panic!("{other:?} is not a mapping"),
    }
}

#[test]
fn text_that_is_not_yaml_is_refused_with_its_line() {
    let found = refusal("a: 1\nb: [1, 2\nc: 3\n");
    assert!(found.message.starts_with("this is not YAML: "), "{}", found.message);
    assert!(matches!(found.line, Some(2..=4)), "{:?}", found.line);
}

#[test]
fn an_error_does_not_quote_the_text() {
    for text in
        ["password: \"hunter2", "password: [hunter2", "hunter2: hunter2: hunter2", "%hunter2 x\n--- @hunter2"]
    {
        assert!(!refusal(text).message.contains("hunter2"), "{text}");
    }
}

#[test]
fn aliases_cannot_blow_a_small_document_up() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    assert!(refusal(&text).message.contains("too large"));

    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 10_000].join(", "));
    assert!(refusal(&long).message.contains("too large"));
}

#[test]
fn aliases_cannot_nest_deeper_than_the_bound() {
    let mut text = String::from("a0: &a0 [x]\n");
    for level in 1..200 {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(refusal(&text).message.contains("too deeply"));
}

#[test]
fn deep_nesting_is_refused() {
    refusal(&"[".repeat(100_000));
    refusal(&"- ".repeat(100_000));
    refusal(&"{a: ".repeat(100_000));
    refusal(&format!("{}1{}", "[".repeat(200), "]".repeat(200)));
    let steps: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    refusal(&steps);
}

#[test]
fn a_huge_document_is_refused_before_it_is_parsed() {
    assert!(refusal(&"#".repeat(DOCUMENT_BYTES_MAX + 1)).message.contains("4194304"));
}

#[test]
fn what_configuration_does_not_need_is_refused() {
    for text in [
        "a: 1\n---\nb: 2\n",
        "a: !secret x\n",
        "a: &a { x: 1 }\nb: { <<: *a }\n",
        "[a]: 1\n",
        "&a [*a]\n",
        "*a",
    ] {
        refusal(text);
    }
}

#[test]
fn empty_text_is_nothing() {
    for text in ["", "# a comment\n", "---\n"] {
        assert_eq!(parse(text).expect("it parses").value, Value::Null, "{text:?}");
    }
}

#[test]
fn every_node_knows_its_line_and_doubles_are_kept() {
    let root = parse("a:\n  - 1\n  - b: on\nc: 1.5\nc: '2'\n").expect("it parses");
    let entries = mapping(&root);
    let lines: Vec<_> =
        entries.iter().map(|entry| (entry.key.as_str(), entry.line, entry.node.line)).collect();
    assert_eq!(lines, [("a", Some(1), Some(2)), ("c", Some(4), Some(4)), ("c", Some(5), Some(5))]);
    let Value::List(items) = &entries[0].node.value else { panic!("not a list") };
    assert_eq!(items[0].value, Value::Integer(1));
    assert_eq!(mapping(&items[1])[0].node.value, Value::Text("on".to_owned()));
    assert_eq!(entries[2].node.value, Value::Text("2".to_owned()));
}

#[test]
fn an_alias_stands_for_its_anchor() {
    let root = parse("a: &a { x: [1] }\nb: *a\n").expect("it parses");
    assert_eq!(mapping(&root)[0].node, mapping(&root)[1].node);
}

#[test]
fn json_is_yaml() {
    let root = parse("{\"a\": [1, \"x\", null, true, {}], \"b\": \"\\u00e9\\n\"}").expect("it parses");
    assert_eq!(mapping(&root)[1].node.value, Value::Text("é\n".to_owned()));
}
