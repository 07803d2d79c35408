//! What `agw try` says about a module before it runs it.

use std::fmt::Write;

use agw_config::{Snapshot, VmMode};

use super::Trial;

/// Columns of a line; longer lists are folded.
const WIDTH: usize = 110;

/// Columns before the text of a line.
const INDENT: usize = 16;

/// The whole report, with its last newline.
pub(super) fn text(trial: &Trial, snapshot: &Snapshot, count: u64) -> String {
    let facts = &trial.facts;
    let mut text = format!("{}: {} bytes\n", trial.path.display(), trial.bytes);
    line(&mut text, "ABI", &[abi(&facts.abi)], " ");
    line(&mut text, "hostcalls", &facts.hostcalls, ", ");
    line(&mut text, "WASI", &facts.wasi, ", ");
    if !facts.others.is_empty() {
        line(&mut text, "other imports", &facts.others, ", ");
    }
    line(&mut text, "foreign", &words(&foreign(trial, snapshot)), " ");
    let failing = facts.failing();
    if !failing.is_empty() {
        line(&mut text, "not in AGW", &failing, ", ");
        let why = "these are linked, and each call of one fails; a module may import what it never calls";
        line(&mut text, "", &words(why), " ");
    }
    line(&mut text, "runs", &words(&runs(trial, snapshot, count)), " ");
    text
}

fn abi(markers: &[String]) -> String {
    if markers.is_empty() { "no marker".to_owned() } else { markers.join(", ") }
}

fn foreign(trial: &Trial, snapshot: &Snapshot) -> String {
    let calls = trial.facts.hostcalls.iter().any(|name| name == "proxy_call_foreign_function");
    let (redis, sql) = (!snapshot.resources.is_empty(), !snapshot.sql_resources.is_empty());
    if !calls {
        let useless = if redis || sql { ", so a resource is of no use to it" } else { "" };
        return format!("it calls no foreign functions{useless}");
    }
    let behind = |name: &str, there: bool| {
        if there { format!("the resource \"{name}\"") } else { format!("nothing behind it without --{name}") }
    };
    format!(
        "it calls some, by names that only a call tells; AGW has agw_redis, with {}, and agw_sql, with {}",
        behind("redis", redis),
        behind("sql", sql)
    )
}

fn runs(trial: &Trial, snapshot: &Snapshot, count: u64) -> String {
    let mode = snapshot.plugins.get(&trial.name).map(|plugin| plugin.vm.mode);
    let how = match mode {
        Some(VmMode::Exclusive) => {
            "exclusive: a request has a VM to itself while it lasts, because blocking calls may wait"
        }
        _ => "shared: the requests of a worker share one VM, as in Envoy",
    };
    match count {
        1 => how.to_owned(),
        count => format!("{count} times in a row; {how}"),
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

/// A label and items, folded between items.
fn line<T: AsRef<str>>(text: &mut String, label: &str, items: &[T], separator: &str) {
    let mut column = INDENT;
    // Writing to a string does not fail.
    let _ = write!(text, "  {label:width$}", width = INDENT - 2);
    if items.is_empty() {
        text.push_str("none");
    }
    for (at, item) in items.iter().enumerate() {
        let item = item.as_ref();
        if at > 0 {
            text.push_str(separator.trim_end());
            column += separator.len();
            if column + item.len() > WIDTH {
                let _ = write!(text, "\n{:INDENT$}", "");
                column = INDENT;
            } else {
                text.push(' ');
            }
        }
        text.push_str(item);
        column += item.len();
    }
    text.push('\n');
}
