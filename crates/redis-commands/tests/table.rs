//! The table, command by command, against what a real server says of itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

#[path = "support/server.rs"]
mod server;
#[path = "support/templates.rs"]
#[allow(dead_code, reason = "the attacks belong to another test")]
mod templates;

use std::collections::{BTreeMap, BTreeSet};

use agw_redis_commands::{Command, CommandSet, Keys, Rules, RulesSpec, all, lookup};
use agw_wire::resp::{self, Value};
use server::{Server, bytes};
use templates::TEMPLATES;

/// What `COMMAND` says of one command or subcommand.
struct Told {
    arity: i64,
    flags: Vec<String>,
    keys: (i64, i64, i64),
}

fn told(server: &Server) -> BTreeMap<String, Told> {
    let reply = server.connect().ask(&[b"COMMAND"]);
    let mut commands = BTreeMap::new();
    collect(&resp::parse(&reply).unwrap().0, &mut commands);
    assert!(commands.len() > 300, "the server told of {} commands", commands.len());
    commands
}

fn collect(list: &Value<'_>, commands: &mut BTreeMap<String, Told>) {
    for item in items(list) {
        let fields = items(item);
        let name = String::from_utf8(bytes(&fields[0]).to_vec()).unwrap();
        let flags = items(&fields[2]).iter().map(|flag| String::from_utf8_lossy(bytes(flag)).into_owned());
        let keys = (int(&fields[3]), int(&fields[4]), int(&fields[5]));
        commands.insert(name, Told { arity: int(&fields[1]), flags: flags.collect(), keys });
        collect(&fields[9], commands);
    }
}

fn items<'v, 'a>(value: &'v Value<'a>) -> &'v [Value<'a>] {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        other => panic!("a list was expected, not {other:?}"),
    }
}

fn int(value: &Value<'_>) -> i64 {
    match value {
        Value::Int(number) => *number,
        other => panic!("a number was expected, not {other:?}"),
    }
}

/// A template with distinct arguments, and where its keys are.
fn expand(template: &str) -> (Vec<String>, Vec<usize>) {
    let mut keys = Vec::new();
    let mut args = Vec::new();
    for (at, word) in template.split(' ').enumerate() {
        match word.as_bytes() {
            [b'@', _] => {
                keys.push(at);
                args.push(format!("key-{at}"));
            }
            b"$" | b"%" => args.push(format!("value-{at}")),
            b"&" => args.push("1".into()),
            _ => args.push(word.into()),
        }
    }
    (args, keys)
}

fn row_of(args: &[String]) -> &'static Command {
    let row = lookup(args[0].as_bytes()).unwrap_or_else(|| panic!("{} is not in the table", args[0]));
    match row.keys {
        Keys::Subcommands => lookup(format!("{}|{}", args[0], args[1]).as_bytes()).unwrap(),
        _ => row,
    }
}

fn byte_args(args: &[String]) -> Vec<&[u8]> {
    args.iter().map(|arg| arg.as_bytes()).collect()
}

#[test]
fn every_command_of_the_server_is_in_the_table() {
    let server = Server::start();
    let told = told(&server);
    let missing: Vec<_> = told.keys().filter(|name| lookup(name.as_bytes()).is_none()).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");

    let reply = server.connect().ask(&[b"COMMAND", b"DOCS"]);
    let docs = resp::parse(&reply).unwrap().0;
    let names: Vec<_> = items(&docs).iter().step_by(2).map(bytes).collect();
    assert!(names.len() > 200);
    for name in names {
        assert!(
            lookup(name).is_some(),
            "COMMAND DOCS has {}, the table has not",
            String::from_utf8_lossy(name)
        );
    }
}

#[test]
fn arity_and_write_flag_are_the_servers_own() {
    let server = Server::start();
    for (name, told) in told(&server) {
        let row = lookup(name.as_bytes()).expect("covered by its own test");
        assert_eq!(i64::from(row.arity), told.arity, "arity of {name}");
        assert_eq!(row.writes, told.flags.iter().any(|flag| flag == "write"), "write flag of {name}");
    }
}

#[test]
fn a_grantable_command_is_none_that_the_server_calls_administrative() {
    let server = Server::start();
    for (name, told) in told(&server) {
        let row = lookup(name.as_bytes()).expect("covered by its own test");
        let alarming = ["admin", "no_auth", "no_multi"];
        if let Some(flag) = told.flags.iter().find(|flag| alarming.contains(&flag.as_str())) {
            assert!(!row.grantable(), "{name} has the flag {flag} and may be granted");
        }
        if told.flags.iter().any(|flag| flag == "blocking") && row.grantable() {
            assert_ne!(row.timeout, agw_redis_commands::Timeout::None, "{name} blocks");
        }
    }
}

#[test]
fn fixed_key_positions_are_the_servers_own() {
    let server = Server::start();
    for (name, told) in told(&server) {
        let row = lookup(name.as_bytes()).expect("covered by its own test");
        if let (true, Keys::Range { first, last, step }) = (row.grantable(), row.keys) {
            assert_eq!((first.into(), last.into(), step.into()), told.keys, "keys of {name}");
        }
        if row.grantable() && row.keys == Keys::None {
            assert_eq!(told.keys, (0, 0, 0), "{name} is said to take no keys");
            assert!(!told.flags.iter().any(|flag| flag == "movablekeys"), "{name} is said to take no keys");
        }
    }
}

#[test]
fn every_grantable_command_has_a_template() {
    let covered: BTreeSet<_> = TEMPLATES.iter().map(|template| row_of(&expand(template).0).name).collect();
    for row in all().iter().filter(|row| row.grantable() && row.keys != Keys::Subcommands) {
        assert!(covered.contains(row.name), "no template for {}", row.name);
    }
}

#[test]
fn keys_are_where_the_templates_have_them_and_only_they_get_the_prefix() {
    let rules = Rules::new(RulesSpec {
        commands: CommandSet::AllSafe,
        key_prefix: "p:",
        read_only: false,
        key_bytes_max: 100,
    })
    .unwrap();
    for template in TEMPLATES {
        let (args, keys) = expand(template);
        let args = byte_args(&args);
        let mut out = Vec::new();
        rules.admit(&args, &mut out).unwrap_or_else(|refusal| panic!("{template}: {refusal}"));
        if template.starts_with("scan") {
            continue;
        }
        let sent = resp::parse(&out).unwrap().0;
        for (at, (sent, arg)) in items(&sent).iter().zip(&args).enumerate() {
            let channel = template.split(' ').nth(at) == Some("%");
            let expected = if keys.contains(&at) || channel { [b"p:", *arg].concat() } else { arg.to_vec() };
            assert_eq!(bytes(sent), expected, "{template}, argument {at}");
        }
        assert_eq!(items(&sent).len(), args.len());
    }
}

#[test]
fn the_server_finds_the_same_keys_in_every_template() {
    let server = Server::start();
    let mut connection = server.connect();
    let told = told(&server);
    let mut compared = BTreeSet::new();
    for template in TEMPLATES {
        let (args, keys) = expand(template);
        let row = row_of(&args);
        // `COMMAND GETKEYS` wants at least one argument after the name; without any there is no key.
        if !told.contains_key(row.name) || template.contains('%') || args.len() == 1 {
            continue;
        }
        let args = byte_args(&args);
        let mut line: Vec<&[u8]> = vec![b"COMMAND", b"GETKEYS"];
        line.extend(&args);
        let found = match connection.strings(&line) {
            Ok(found) => found,
            Err(text) if text.contains("no key arguments") => Vec::new(),
            Err(text) => panic!("{template}: {text}"),
        };
        let mut ours: Vec<_> = row.key_positions(&args).unwrap().iter().collect();
        assert_eq!(ours, keys, "{template}");
        let mut theirs: Vec<_> = found
            .iter()
            .map(|key| args.iter().position(|arg| *arg == key.as_slice()).expect("arguments are distinct"))
            .collect();
        ours.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(ours, theirs, "{template}");
        compared.insert(row.name);
    }
    assert!(compared.len() > 170, "only {} commands were compared", compared.len());
}
