//! What a call's span says of its commands: names of the table and of the operator, nothing else.

use std::borrow::Cow;
use std::sync::Arc;

use agw_foreign::Operation;
use agw_redis_commands::lookup;
use agw_wire::{RedisBatch, RedisCommand, Request};

use crate::plan::Policy;

/// By the semantic conventions for Redis: `GET`, `PIPELINE GET`, `MULTI`.
pub(crate) fn operation(request: &Request<'_>, policy: &Policy) -> Operation {
    let mut operation =
        Operation { system: "redis", namespace: Some(Arc::clone(&policy.database)), ..Operation::default() };
    let Some(RedisBatch { commands, atomic, .. }) = &request.redis else { return operation };
    operation.batch = commands.len();
    let Some(first) = commands.first() else { return operation };
    let name = name(first);
    let alike = !name.is_empty() && commands.iter().all(|command| self::name(command) == name);
    operation.name = match (commands.len(), atomic) {
        (1, false) => Cow::Owned(name),
        (_, true) if alike => Cow::Owned(format!("MULTI {name}")),
        (_, true) => Cow::Borrowed("MULTI"),
        (_, false) if alike => Cow::Owned(format!("PIPELINE {name}")),
        (_, false) => Cow::Borrowed("PIPELINE"),
    };
    // A name that the grant does not have is the guest's word.
    let granted = policy.scripts.iter().find(|name| commands.len() == 1 && *name == first.script);
    operation.procedure = granted.map(|name| name.as_str().into());
    operation
}

/// In upper case; empty if the table does not have it.
fn name(command: &RedisCommand<'_>) -> String {
    if !command.script.is_empty() {
        return "EVALSHA".to_owned();
    }
    let name = command.args.first().and_then(|name| lookup(name));
    name.map(|command| command.name.to_ascii_uppercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use agw_redis_commands::{CommandSet, Rules, RulesSpec};

    use super::*;

    fn policy() -> Policy {
        let commands = CommandSet::Named(vec!["get".to_owned()]);
        let spec = RulesSpec { commands, key_prefix: "p:", read_only: false, key_bytes_max: 100 };
        let rules = Rules::new(spec).expect("rules");
        Policy {
            rules,
            scripts: vec!["limit".to_owned()],
            batch_max: 10,
            sharded: false,
            database: "3".into(),
        }
    }

    fn of(commands: Vec<RedisCommand<'_>>, atomic: bool) -> Operation {
        let redis = Some(RedisBatch { commands, atomic, lease: None });
        operation(&Request { redis, ..Request::default() }, &policy())
    }

    fn plain(name: &'static [u8]) -> RedisCommand<'static> {
        RedisCommand::new(vec![name, b"canary"])
    }

    #[test]
    fn commands_have_the_names_of_the_table_and_nothing_of_the_guest() {
        assert_eq!(of(vec![plain(b"gEt")], false).name, "GET");
        assert_eq!(of(vec![plain(b"get"), plain(b"GET")], false).name, "PIPELINE GET");
        assert_eq!(of(vec![plain(b"get"), plain(b"incr")], false).name, "PIPELINE");
        assert_eq!(of(vec![plain(b"get")], true).name, "MULTI GET");
        assert_eq!(of(vec![plain(b"get"), plain(b"incr")], true).name, "MULTI");
        for unknown in [&b"canary"[..], b"", b"\xff"] {
            assert_eq!(of(vec![plain(unknown)], false).name, "", "the guest's own word");
            assert_eq!(of(vec![plain(unknown); 2], false).name, "PIPELINE");
        }
        let operation = of(vec![plain(b"get"); 3], false);
        assert_eq!(
            (operation.system, operation.namespace.as_deref(), operation.batch),
            ("redis", Some("3"), 3)
        );
        assert!(!format!("{operation:?}").contains("canary"));
        assert_eq!(super::operation(&Request::default(), &policy()).name, "");
    }

    #[test]
    fn a_script_has_its_name_if_it_is_granted() {
        let script = |script| RedisCommand { args: vec![b"canary"], script, script_keys: 1 };
        let granted = of(vec![script("limit")], false);
        assert_eq!((&*granted.name, granted.procedure.as_deref()), ("EVALSHA", Some("limit")));
        assert_eq!(of(vec![script("canary")], false).procedure, None);
    }
}
