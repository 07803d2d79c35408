//! What a user of the server may do, by the server's own rules.

use std::collections::BTreeSet;

use agw_foreign::ProbeError;
use agw_wire::resp::{self, Value};

use super::server::{Answer, Asker, parsed, text};

/// A user's rights, its own and those of its selectors together.
pub(super) struct Permissions {
    /// Lower case; a container's subcommands by themselves where the rules name them.
    pub(super) commands: BTreeSet<String>,
    /// Those of them that the server calls dangerous.
    pub(super) dangerous: BTreeSet<String>,
    /// `~rl:*`, `%R~s:*`.
    pub(super) keys: Vec<String>,
    /// `&rl:*`.
    pub(super) channels: Vec<String>,
}

impl Permissions {
    /// `None` if the user may not ask.
    pub(super) async fn of(
        user: &str,
        known: Option<&BTreeSet<String>>,
        asker: &mut Asker,
    ) -> Result<Option<Self>, ProbeError> {
        let reply = asker.ask(&["ACL", "GETUSER", user]).await?;
        let Some(rules) = Rules::read(&reply) else { return Ok(None) };
        // Where the server has no list, the table has what grants can be about.
        let table = || agw_redis_commands::all().iter().map(|command| command.name.to_owned()).collect();
        let all = known.cloned().unwrap_or_else(table);
        let mut commands = BTreeSet::new();
        for scope in &rules.commands {
            let mut own = BTreeSet::new();
            for rule in scope {
                apply(rule, &all, asker, &mut own).await?;
            }
            commands.append(&mut own);
        }
        let dangerous = category("dangerous", asker).await?;
        // Of containers only the subcommands are in a category.
        let is_dangerous = |command: &&String| {
            let within = format!("{command}|");
            dangerous.contains(*command) || dangerous.iter().any(|name| name.starts_with(&within))
        };
        let dangerous = commands.iter().filter(is_dangerous).cloned().collect();
        Ok(Some(Permissions { commands, dangerous, keys: rules.keys, channels: rules.channels }))
    }

    pub(super) fn may(&self, command: &str) -> bool {
        let container = command.split('|').next().unwrap_or(command);
        self.commands.contains(command) || self.commands.contains(container)
    }
}

/// `+@read`, `-get`, `allcommands`: one after another, as the server does.
async fn apply(
    rule: &str,
    all: &BTreeSet<String>,
    asker: &mut Asker,
    commands: &mut BTreeSet<String>,
) -> Result<(), ProbeError> {
    let (adds, what) = match (rule.strip_prefix('+'), rule.strip_prefix('-')) {
        (Some(what), _) => (true, what),
        (_, Some(what)) => (false, what),
        _ => return Ok(()),
    };
    let names = match what.strip_prefix('@') {
        Some("all") => all.clone(),
        Some(name) => category(name, asker).await?,
        None => BTreeSet::from([what.to_ascii_lowercase()]),
    };
    if adds {
        commands.extend(names);
    } else {
        // A container that is taken away takes its subcommands with it.
        commands.retain(|command| {
            !names.contains(command) && !command.split_once('|').is_some_and(|(name, _)| names.contains(name))
        });
    }
    Ok(())
}

/// The names of all commands that the server has; `None` if it does not say, or is older than version 7.
pub(super) async fn known(asker: &mut Asker) -> Result<Option<BTreeSet<String>>, ProbeError> {
    Ok(match parsed(&asker.ask(&["COMMAND", "LIST"]).await?) {
        Answer::List(names) => Some(names.into_iter().map(|name| name.to_ascii_lowercase()).collect()),
        _ => None,
    })
}

/// Whether the server has a subcommand.
pub(super) async fn knows(name: &str, asker: &mut Asker) -> Result<bool, ProbeError> {
    let reply = asker.ask(&["COMMAND", "INFO", name]).await?;
    let values = resp::parse_all(&reply, 1).unwrap_or_default();
    Ok(matches!(values.first(), Some(Value::Array(found)) if matches!(found.as_slice(), [Value::Array(_)])))
}

async fn category(name: &str, asker: &mut Asker) -> Result<BTreeSet<String>, ProbeError> {
    Ok(match parsed(&asker.ask(&["ACL", "CAT", name]).await?) {
        Answer::List(names) => names.into_iter().map(|name| name.to_ascii_lowercase()).collect(),
        _ => BTreeSet::new(),
    })
}

/// The fields of `ACL GETUSER`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rules {
    /// Of the user itself, and of each selector.
    commands: Vec<Vec<String>>,
    keys: Vec<String>,
    channels: Vec<String>,
}

impl Rules {
    /// `None` for an error, or for a user that is not there.
    fn read(reply: &[u8]) -> Option<Self> {
        let values = resp::parse_all(reply, 1).ok()?;
        let Some(Value::Array(fields)) = values.first() else { return None };
        let mut rules = Rules::default();
        rules.take(fields);
        Some(rules)
    }

    /// Names and values by turns. Selectors have the same fields as the user itself.
    fn take(&mut self, fields: &[Value<'_>]) {
        for pair in fields.chunks_exact(2) {
            let [name, value] = pair else { continue };
            match (text(name).as_deref(), value) {
                (Some("commands"), value) => self.commands.push(words(value, "")),
                (Some("keys"), value) => self.keys.extend(words(value, "~")),
                (Some("channels"), value) => self.channels.extend(words(value, "&")),
                (Some("selectors"), Value::Array(selectors)) => {
                    for selector in selectors {
                        if let Value::Array(fields) = selector {
                            self.take(fields);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// A text of words (from version 7 on), or a list of patterns without their sign (before that).
fn words(value: &Value<'_>, sign: &str) -> Vec<String> {
    match value {
        Value::Array(items) => {
            items.iter().filter_map(text).map(|pattern| format!("{sign}{pattern}")).collect()
        }
        value => text(value).unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn encoded(parts: &[&str]) -> Vec<u8> {
        let mut reply = Vec::new();
        resp::put_command(&mut reply, &parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>());
        reply
    }

    #[test]
    fn what_is_no_user_has_no_rules() {
        for reply in ["-NOPERM no\r\n", "$-1\r\n", "*-1\r\n", "*", ""] {
            assert_eq!(Rules::read(reply.as_bytes()), None, "{reply}");
        }
    }

    #[test]
    fn the_rules_of_both_forms_are_read() {
        let newer =
            encoded(&["flags", "on", "commands", "-@all +get", "keys", "~a:* %R~b:*", "channels", "&c"]);
        let rules = Rules::read(&newer).expect("rules");
        assert_eq!(rules.commands, [["-@all", "+get"]]);
        assert_eq!((rules.keys, rules.channels), (owned(&["~a:*", "%R~b:*"]), owned(&["&c"])));
        let older = b"*4\r\n$8\r\ncommands\r\n$6\r\n+@read\r\n$4\r\nkeys\r\n*1\r\n$1\r\n*\r\n";
        let rules = Rules::read(older).expect("rules");
        assert_eq!((rules.commands, rules.keys), (vec![owned(&["+@read"])], owned(&["~*"])));
    }

    #[test]
    fn selectors_add_to_what_the_user_may() {
        let reply = b"*4\r\n$8\r\ncommands\r\n$5\r\n-@all\r\n$9\r\nselectors\r\n*1\r\n*4\r\n$8\r\ncommands\r\n$10\r\n-@all +get\r\n$4\r\nkeys\r\n$4\r\n~s:*\r\n";
        let rules = Rules::read(reply).expect("rules");
        assert_eq!(rules.commands, [owned(&["-@all"]), owned(&["-@all", "+get"])]);
        assert_eq!(rules.keys, ["~s:*"]);
    }
}
