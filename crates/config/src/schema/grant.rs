//! `grants` of a resource: what one plugin may do with it.

use std::collections::{BTreeMap, BTreeSet};

use crate::field::{ANY, Field, Kind};
use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::command;
use crate::schema::name::{Mentions, check_reference};
use crate::snapshot::{CallRate, Grant, GrantedCommands};
use crate::tree::Value;
use crate::units::{Bounds, KIB};

pub(super) const FIELDS: &[Field] = &[
    PLUGIN,
    Field::new(
        "commands",
        Kind::Either(&Kind::List(&Kind::Text, 0, ANY), &Kind::Choice(&["all_safe"])),
        "Names of commands in any case (`xgroup` with its subcommands, `xgroup|create` alone), or `all_safe`: each \
         that is not refused",
    ),
    Field::new(
        "key_prefix",
        Kind::AnyText,
        "The gateway puts this before every key; the plugin never sees it",
    )
    .or("empty, with a warning")
    .within("256 bytes, printable"),
    Field::boolean("read_only", "Refuse whatever writes or publishes"),
    Field::new("scripts", Kind::List(&Kind::Name, 0, ANY), "Names of scripts of this resource"),
    Field::number("key_bytes", KEY_BYTES, "Size of a key, prefix not counted"),
    Field::number(
        "share",
        SHARE,
        "Per cent of `limits.in_flight` that the plugin may have under way at once; one call at least. [See \
         below](#fairness-between-plugins)",
    ),
    RATE_FIELD,
];
pub(super) const RATE_FIELD: Field =
    Field::group("rate", RATE, "How fast the plugin may ask; `{}` for the values below").or("no such bound");
const RATE: &[Field] = &[
    Field::number(
        "per_second",
        RATE_PER_SECOND,
        "Calls per second in the long run, over all workers; more are `overloaded`, and say after which time to try again",
    ),
    Field::number("burst", RATE_BURST, "Calls that may come at the same moment, after a while without any"),
];
pub(super) const PLUGIN: Field =
    Field::new("plugin", Kind::Name, "Name of the plugin; one grant each").required();

pub(crate) const KEY_BYTES: Bounds = Bounds::bytes(1, 512, 64 * KIB);
pub(crate) const SHARE: Bounds = Bounds::count(1, 100, 100);
pub(crate) const RATE_PER_SECOND: Bounds = Bounds::count(1, 1000, 1_000_000);
pub(crate) const RATE_BURST: Bounds = Bounds::count(1, 100, 1_000_000);

const PREFIX_BYTES_MAX: usize = 256;

/// The plugin's name and its grant.
pub(super) fn lower(
    item: &Item<'_>,
    scripts: &BTreeMap<String, String>,
    mentions: &Mentions,
) -> Option<(String, Grant)> {
    let fields = item.fields(FIELDS)?;
    let plugin = plugin(&fields, mentions);
    let read_only = fields.boolean("read_only", false);
    let commands = commands(&fields, read_only);
    let known: BTreeSet<String> = scripts.keys().cloned().collect();
    let listed = fields.optional("scripts").map(|item| unique_texts(&item)).unwrap_or_default();
    for (item, name) in &listed {
        check_reference(item, name, "script of this resource", &known);
    }
    let written = fields.optional("commands").is_some_and(|item| item.node.value != Value::List(Vec::new()));
    if !written && listed.is_empty() {
        item.problem(
            "the grant allows nothing",
            "Write commands: [get, ...], commands: all_safe or scripts: [NAME]",
        );
    }
    let grant = Grant {
        commands,
        key_prefix: key_prefix(&fields),
        read_only,
        scripts: listed.into_iter().map(|(_, name)| name.to_owned()).collect(),
        key_bytes_max: fields.usize("key_bytes", KEY_BYTES),
        share_percent: fields.u32("share", SHARE),
        rate: rate(&fields),
    };
    Some((plugin?, grant))
}

/// A plugin that may only read, on a connection whose user may write: then the gateway's word is the only one.
///
/// `grants` says of each plugin whether it may only read.
pub(super) fn check_role<'g>(
    fields: &Fields<'_>,
    has_user: bool,
    grants: impl Iterator<Item = (&'g String, bool)> + Clone,
) {
    let Some(item) = fields.optional("grants") else { return };
    let reader = grants.clone().find_map(|(plugin, read_only)| read_only.then_some(plugin));
    let writer = grants.clone().find_map(|(plugin, read_only)| (!read_only).then_some(plugin));
    match (reader, writer) {
        (Some(reader), Some(writer)) => item.warning(
            format!(
                "the plugin {} may only read, but with a user that may write, because {} does",
                quoted(reader),
                quoted(writer)
            ),
            "Grant it on a resource of its own, whose user may only read",
        ),
        (Some(reader), None) if !has_user => item.warning(
            format!("the plugin {} may only read, but the default user may write", quoted(reader)),
            "Write username: NAME of a user that may only read; agw resource test says what it needs",
        ),
        _ => {}
    }
}

pub(super) fn rate(fields: &Fields<'_>) -> Option<CallRate> {
    fields.optional("rate")?;
    let rate = fields.group("rate", RATE);
    let (per_second, burst) = (rate.u32("per_second", RATE_PER_SECOND), rate.u32("burst", RATE_BURST));
    Some(CallRate { per_second, burst })
}

pub(super) fn plugin(fields: &Fields<'_>, mentions: &Mentions) -> Option<String> {
    let item = fields.required("plugin", "NAME")?;
    let name = item.text()?;
    check_reference(&item, name, "plugin", &mentions.plugins);
    Some(name.to_owned())
}

fn commands(fields: &Fields<'_>, read_only: bool) -> GrantedCommands {
    let none = GrantedCommands::Named(Vec::new());
    let Some(item) = fields.optional("commands") else { return none };
    if let Value::Text(_) = item.node.value {
        return item.choice(&[("all_safe", ())]).map_or(none, |()| GrantedCommands::AllSafe);
    }
    let mut named = Vec::new();
    for (item, text) in unique_texts(&item) {
        let name = text.to_ascii_lowercase();
        if let Err((message, hint)) = command::check(&item, &name, read_only) {
            item.problem(message, hint);
        }
        named.push(name);
    }
    GrantedCommands::Named(named)
}

fn key_prefix(fields: &Fields<'_>) -> String {
    let Some(item) = fields.optional("key_prefix") else {
        fields.item.warning(
            "the plugin may touch every key",
            "Write key_prefix: \"NAME:\" to confine it, or key_prefix: \"\" to say so on purpose",
        );
        return String::new();
    };
    let prefix = item.text_or_empty().unwrap_or_default();
    if prefix.len() > PREFIX_BYTES_MAX || prefix.chars().any(char::is_control) {
        item.problem(
            "this is not a key prefix",
            format!("Use at most {PREFIX_BYTES_MAX} bytes of printable characters, such as \"rl:\""),
        );
    }
    prefix.to_owned()
}

pub(super) fn unique_texts<'a>(list: &Item<'a>) -> Vec<(Item<'a>, &'a str)> {
    let mut seen = BTreeSet::new();
    let texts = list.texts();
    for (item, text) in &texts {
        if !seen.insert(text.to_ascii_lowercase()) {
            item.problem(format!("{} is listed twice", quoted(text)), "Remove one of the two");
        }
    }
    texts
}
