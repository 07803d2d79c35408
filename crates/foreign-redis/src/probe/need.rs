//! What the grants of a resource need of the server's user, and the user that has no more.

use std::collections::BTreeSet;
use std::fmt::Write;

use agw_config::{Grant, GrantedCommands, RedisAddress, Resource};
use agw_redis_commands::{Command, Keys, all, lookup};

use super::acl::Permissions;

/// Names that are listed at most.
const LISTED_MAX: usize = 20;
/// Of these the one that not every server has.
pub(super) const LATEST: &str = "client|setinfo";
/// What the gateway sends by itself, whatever is granted.
const OWN: [&str; 6] = [LATEST, "client|setname", "discard", "exec", "multi", "ping"];

/// What all grants need together, and each by itself.
pub(super) struct Need {
    own: BTreeSet<String>,
    grants: Vec<Scope>,
}

/// What one grant needs.
#[derive(Debug, PartialEq, Eq)]
struct Scope {
    commands: BTreeSet<String>,
    /// As a rule has it: `~rl:*`, or `%R~rl:*` for one that only reads.
    keys: String,
    channels: Option<String>,
    runs_scripts: bool,
}

impl Need {
    pub(super) fn of(resource: &Resource) -> Self {
        let mut own: BTreeSet<String> = OWN.iter().map(|name| (*name).to_owned()).collect();
        if resource.redis.database != 0 {
            own.insert("select".to_owned());
        }
        let of_the_mode: &[&str] = match &resource.redis.address {
            RedisAddress::Sentinel(_) => &["role", "info"],
            RedisAddress::Cluster(_) => &["cluster|slots", "asking", "readonly", "info"],
            RedisAddress::Tcp { .. } | RedisAddress::Memory { .. } => &[],
        };
        own.extend(of_the_mode.iter().map(|name| (*name).to_owned()));
        let grants = resource.grants.values().map(|grant| Scope::of(resource, grant)).collect();
        Need { own, grants }
    }

    /// Leaves out what the server does not have: a rule that names it would be refused as a whole.
    pub(super) fn keep(&mut self, known: Option<&BTreeSet<String>>, has_latest: bool) {
        if !has_latest {
            self.own.remove(LATEST);
        }
        let Some(known) = known else { return };
        for grant in &mut self.grants {
            grant.commands.retain(|name| known.contains(name.split('|').next().unwrap_or_default()));
        }
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let scripts = self.grants.iter().any(|grant| grant.runs_scripts);
        let note =
            "scripts run as the user: the commands that their texts call by name are among the lines above";
        scripts.then(|| note.to_owned()).into_iter().collect()
    }

    /// The command that makes the least user. It can be run again.
    pub(super) fn set_user(&self, name: &str) -> String {
        let mut line = format!("ACL SETUSER {} reset on >PASSWORD", quoted(name));
        if let [only] = self.grants.as_slice() {
            let commands = only.commands.union(&self.own).map(String::as_str);
            only.put(&mut line, commands);
            return line;
        }
        let _ = write!(line, " -@all");
        for command in &self.own {
            let _ = write!(line, " +{command}");
        }
        for grant in &self.grants {
            line.push_str(" (");
            let mut selector = String::new();
            grant.put(&mut selector, grant.commands.iter().map(String::as_str));
            line.push_str(selector.trim_start());
            line.push(')');
        }
        line
    }

    /// What the user may do and no grant needs.
    pub(super) fn excess(&self, permissions: &Permissions) -> Vec<String> {
        let needs = |command: &String| {
            self.own.contains(command) || self.grants.iter().any(|grant| grant.commands.contains(command))
        };
        let (dangerous, others): (Vec<_>, Vec<_>) = permissions
            .commands
            .iter()
            .filter(|command| !needs(command))
            // A container says it for its subcommands.
            .filter(|command| {
                !command.split_once('|').is_some_and(|(name, _)| permissions.commands.contains(name))
            })
            .partition(|command| permissions.dangerous.contains(*command));
        let mut excess = Vec::new();
        if !dangerous.is_empty() {
            excess.push(format!("commands that the server calls dangerous: {}", listed(&dangerous)));
        }
        if !others.is_empty() {
            excess.push(format!("commands that no grant names: {}", listed(&others)));
        }
        let patterns: Vec<&String> = self.grants.iter().map(|grant| &grant.keys).collect();
        let channels: Vec<&String> = self.grants.iter().filter_map(|grant| grant.channels.as_ref()).collect();
        for (what, has, needs) in
            [("keys", &permissions.keys, patterns), ("channels", &permissions.channels, channels)]
        {
            let more: Vec<_> = has.iter().filter(|pattern| !needs.contains(pattern)).collect();
            if !more.is_empty() {
                let needs = if needs.is_empty() { "none".to_owned() } else { listed(&needs) };
                excess.push(format!("{what} {} (the grants need {needs})", listed(&more)));
            }
        }
        excess
    }

    /// What grants need and the user may not do. A client's name and library are told if they may be.
    pub(super) fn missing(&self, permissions: &Permissions) -> Vec<String> {
        let optional = |command: &str| command.starts_with("client|");
        let needed = self.own.iter().chain(self.grants.iter().flat_map(|grant| &grant.commands));
        let lacking: BTreeSet<_> =
            needed.filter(|command| !optional(command) && !permissions.may(command)).collect();
        let mut missing = Vec::new();
        if !lacking.is_empty() {
            missing.push(format!("commands: {}", listed(&lacking.into_iter().collect::<Vec<_>>())));
        }
        let uncovered =
            self.grants.iter().map(|grant| &grant.keys).filter(|keys| !covers(&permissions.keys, keys));
        missing.extend(uncovered.map(|keys| format!("keys {keys}")));
        let channels = self.grants.iter().filter_map(|grant| grant.channels.as_ref());
        let uncovered = channels.filter(|channels| !covers(&permissions.channels, channels));
        missing.extend(uncovered.map(|channels| format!("channels {channels}")));
        missing
    }
}

impl Scope {
    fn of(resource: &Resource, grant: &Grant) -> Self {
        let named = |command: &&Command| match &grant.commands {
            GrantedCommands::AllSafe => true,
            // A container is granted with its subcommands.
            GrantedCommands::Named(names) => {
                let container = command.name.split('|').next();
                names.iter().any(|name| name == command.name || Some(name.as_str()) == container)
            }
        };
        // The server's rule for a container would take its refused subcommands in.
        let is_rule = |command: &&Command| command.keys != Keys::Subcommands && command.grantable();
        let mut commands: BTreeSet<String> = all()
            .iter()
            .filter(|command| is_rule(command) && named(command) && !(grant.read_only && changes(command)))
            .map(|command| command.name.to_owned())
            .collect();
        let publishes = commands.iter().any(|name| lookup(name.as_bytes()).is_some_and(Command::publishes));
        let runs_scripts = !grant.scripts.is_empty();
        if runs_scripts {
            commands.extend(["evalsha".to_owned(), "script|load".to_owned()]);
            let texts = grant.scripts.iter().filter_map(|name| resource.scripts.get(name));
            commands.extend(texts.flat_map(|text| called(text)));
        }
        let prefix = escaped(&grant.key_prefix);
        let reads = if grant.read_only { "%R" } else { "" };
        Scope {
            commands,
            keys: format!("{reads}~{prefix}*"),
            channels: publishes.then(|| format!("&{prefix}*")),
            runs_scripts,
        }
    }

    fn put<'a>(&self, line: &mut String, commands: impl Iterator<Item = &'a str>) {
        let _ = write!(line, " {}", quoted(&self.keys));
        if let Some(channels) = &self.channels {
            let _ = write!(line, " {}", quoted(channels));
        }
        line.push_str(" -@all");
        for command in commands {
            let _ = write!(line, " +{command}");
        }
    }
}

fn changes(command: &Command) -> bool {
    command.writes || command.publishes()
}

/// The commands that a Lua script calls by name: `redis.call('incr', ...)`. Names that it puts together are not seen.
fn called(script: &str) -> Vec<String> {
    let after = ["redis.call", "redis.pcall", "server.call", "server.pcall"]
        .iter()
        .flat_map(|call| script.split(call).skip(1));
    let name = |rest: &str| {
        let rest = rest.trim_start().strip_prefix('(')?.trim_start();
        let quote = rest.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let (name, _) = rest.get(1..)?.split_once(quote)?;
        let name = name.to_ascii_lowercase();
        lookup(name.as_bytes()).map(|command| command.name.to_owned())
    };
    after.filter_map(name).collect()
}

/// With what a pattern would take for more than itself.
fn escaped(prefix: &str) -> String {
    prefix.chars().fold(String::new(), |mut escaped, letter| {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(letter);
        escaped
    })
}

/// As redis-cli reads it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "~*&%:._-{}/|@+\\".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether one of the patterns has all that is needed: the same, or what begins alike and ends earlier.
fn covers(has: &[String], needed: &str) -> bool {
    let (read_only, needed) = match needed.strip_prefix("%R") {
        Some(rest) => (true, rest),
        None => (false, needed),
    };
    has.iter().any(|pattern| {
        let pattern = match (pattern.strip_prefix("%RW"), pattern.strip_prefix("%R")) {
            (Some(both), _) => both,
            (None, Some(reads)) if read_only => reads,
            (None, Some(_)) => return false,
            (None, None) => pattern,
        };
        let begins = |beginning: &str| !beginning.contains(['*', '?', '[']) && needed.starts_with(beginning);
        pattern == needed || pattern.strip_suffix('*').is_some_and(begins)
    })
}

fn listed(names: &[&String]) -> String {
    let shown: Vec<&str> = names.iter().take(LISTED_MAX).map(|name| name.as_str()).collect();
    let more = names.len().saturating_sub(LISTED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(keys: &str, commands: &[&str]) -> Scope {
        let commands = commands.iter().map(|name| (*name).to_owned()).collect();
        Scope { commands, keys: keys.to_owned(), channels: None, runs_scripts: false }
    }

    fn permissions(commands: &[&str], keys: &[&str]) -> Permissions {
        Permissions {
            commands: commands.iter().map(|name| (*name).to_owned()).collect(),
            dangerous: commands
                .iter()
                .filter(|name| **name == "flushall")
                .map(|name| (*name).to_owned())
                .collect(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            channels: Vec::new(),
        }
    }

    #[test]
    fn what_a_pattern_leaves_out_is_not_covered() {
        for (has, needed, expected) in [
            ("~*", "~a:*", true),
            ("~a:*", "~a:*", true),
            ("~a*", "~a:*", true),
            ("%RW~a:*", "~a:*", true),
            ("%R~a:*", "%R~a:*", true),
            ("~a:*", "%R~a:*", true),
            ("%R~a:*", "~a:*", false),
            ("~a:b*", "~a:*", false),
            ("~?:*", "~a:*", false),
            ("", "~a:*", false),
        ] {
            assert_eq!(covers(&[has.to_owned()], needed), expected, "{has} for {needed}");
        }
    }

    #[test]
    fn what_is_too_much_and_too_little_is_told_apart() {
        let own = OWN.iter().map(|name| (*name).to_owned()).collect();
        let need = Need { own, grants: vec![scope("~rl:*", &["incr", "get"])] };
        let has = permissions(&["get", "flushall", "keys", "ping", "multi", "exec", "discard"], &["~*"]);
        assert_eq!(
            need.excess(&has),
            [
                "commands that the server calls dangerous: flushall",
                "commands that no grant names: keys",
                "keys ~* (the grants need ~rl:*)"
            ]
        );
        assert_eq!(need.missing(&has), ["commands: incr"]);
        let least = permissions(&["get", "incr", "ping", "multi", "exec", "discard"], &["~rl:*"]);
        assert_eq!((need.excess(&least), need.missing(&least)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn the_least_user_of_one_grant_has_its_rules_and_of_several_a_selector_each() {
        let own: BTreeSet<_> = ["ping".to_owned()].into();
        let need = Need { own: own.clone(), grants: vec![scope("~rl:*", &["incr"])] };
        assert_eq!(need.set_user("agw"), "ACL SETUSER agw reset on >PASSWORD ~rl:* -@all +incr +ping");
        let need = Need { own, grants: vec![scope("~a:*", &["incr"]), scope("%R~b b*", &["get"])] };
        assert_eq!(
            need.set_user("agw"),
            "ACL SETUSER agw reset on >PASSWORD -@all +ping (~a:* -@all +incr) (\"%R~b b*\" -@all +get)"
        );
    }

    #[test]
    fn commands_that_a_script_calls_by_name_are_found() {
        let script = "local n = redis.call('INCR', KEYS[1])\nif n == 1 then redis.pcall( \"pexpire\", KEYS[1], 1) end\n\
                      redis.call(ARGV[1]) redis.call('no_such') redis.call(";
        assert_eq!(called(script), ["incr", "pexpire"]);
    }

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(escaped("a*[b]?\\"), "a\\*\\[b\\]\\?\\\\");
        assert_eq!((quoted("~a*"), quoted("~a\\*")), ("~a*".to_owned(), "~a\\*".to_owned()));
        assert_eq!(quoted("~a\\*\"*"), "\"~a\\\\*\\\"*\"");
    }
}
