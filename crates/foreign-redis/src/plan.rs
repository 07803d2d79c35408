//! From a guest's batch to the bytes that go out: every command checked against the grant, keys prefixed.

use std::sync::Arc;
use std::time::Duration;

use agw_redis_commands::{Admitted, Blocking, HASH_TAG, Refusal, ReplyRule, Rules};
use agw_telemetry::{CallTrace, Stage, StageTimer};
use agw_wire::{CallError, Code, RedisBatch, RedisCommand};

use crate::error::invalid;
use crate::reply::Shape;
use crate::scripts::{Script, Scripts};

/// What a plugin may send.
pub(crate) struct Policy {
    pub(crate) rules: Rules,
    /// Scripts that the grant names.
    pub(crate) scripts: Vec<String>,
    pub(crate) batch_max: usize,
    /// Keys are spread over the nodes of a cluster.
    pub(crate) sharded: bool,
    /// Its number, for spans.
    pub(crate) database: Arc<str>,
}

/// A batch that may go out.
pub(crate) struct Plan {
    /// Encoded, `MULTI` and `EXEC` included.
    pub(crate) commands: Vec<u8>,
    pub(crate) shape: Shape,
    /// It calls scripts, which the server must know.
    pub(crate) scripts: ScriptUse,
    /// It needs a connection of its own.
    pub(crate) leased: bool,
    /// What it leaves behind on its connection.
    pub(crate) watching: Watching,
    /// It changes nothing, so that a replica can answer it.
    pub(crate) reads: bool,
    /// In a cluster: what of it may go to which node. An atomic batch is one part. Otherwise empty.
    pub(crate) parts: Vec<Part>,
    /// The call's span, if its request is recorded.
    pub(crate) trace: Option<CallTrace>,
}

/// Commands that stay together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where it ends in the plan's commands; it begins where the one before ends.
    pub(crate) end: usize,
    /// The hash slot of its keys; `None` without keys: any node will do.
    pub(crate) slot: Option<u16>,
}

/// Scripts in a plan.
pub(crate) enum ScriptUse {
    None,
    /// The only command is this script's call: tried, and loaded if the server does not know it.
    Only(Arc<Script>),
    /// Some of several commands: the scripts are loaded ahead.
    Among,
}

/// Whether keys are watched after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watching {
    AsBefore,
    Yes,
    No,
}

// === impl Plan ===

impl Plan {
    /// Checks a batch. `remaining` is the time until the call's deadline: a command that might block longer is
    /// refused. Shortening its timeout instead would change what it means without a word, and once the deadline
    /// is past an element that it pops would be lost.
    ///
    /// # Errors
    /// `denied`, `invalid` or `too_large`, each naming the command by its place in the batch.
    pub(crate) fn new(
        batch: &RedisBatch<'_>,
        policy: &Policy,
        scripts: &Scripts,
        remaining: Duration,
    ) -> Result<Plan, CallError> {
        let count = batch.commands.len();
        if count == 0 {
            return Err(invalid("the batch has no command"));
        }
        if count > policy.batch_max {
            let message = format!("the batch has {count} commands, the resource takes {}", policy.batch_max);
            return Err(CallError::new(Code::TooLarge, message));
        }
        let mut building = Building::new(policy, scripts, batch);
        if batch.atomic {
            building.out.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
        }
        let single = match &*batch.commands {
            [command] if !batch.atomic => Some(building.put(command).map_err(|error| error.refused(None))?),
            _ => None,
        };
        let shape = match single {
            Some(rule) => Shape::Single(rule),
            None => building.put_all(batch)?,
        };
        if batch.atomic {
            building.out.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
            building.watching = Watching::No;
        }
        building.check_blocking(remaining)?;
        let parts = building.parts(batch.atomic)?;
        let scripts = match (building.script, &shape) {
            (None, _) => ScriptUse::None,
            (Some(script), Shape::Single(_)) => ScriptUse::Only(script),
            (Some(_), _) => ScriptUse::Among,
        };
        let Building { out: commands, leased, watching, writes, .. } = building;
        Ok(Plan { commands, shape, scripts, leased, watching, reads: !writes, parts, trace: None })
    }

    /// Adds the time until what is returned is dropped to the span's stage, if there is a span.
    pub(crate) fn time(&self, stage: Stage) -> Option<StageTimer> {
        self.trace.as_ref().map(|trace| trace.time(stage))
    }

    /// Where the part at `place` is in the commands.
    pub(crate) fn range(&self, place: usize) -> std::ops::Range<usize> {
        let end = |place: usize| self.parts.get(place).map_or(0, |part| part.end);
        place.checked_sub(1).map_or(0, end)..end(place)
    }
}

/// A plan in the making.
struct Building<'p> {
    policy: &'p Policy,
    scripts: &'p Scripts,
    out: Vec<u8>,
    leased: bool,
    writes: bool,
    watching: Watching,
    script: Option<Arc<Script>>,
    blocks: Duration,
    blocks_for_ever: bool,
    /// One for each command, in a cluster.
    parts: Vec<Part>,
}

/// Why a command is not in the plan.
enum Refused {
    Rule(Refusal),
    UnknownScript,
    /// More keys than arguments, of which there are so many.
    ScriptKeys(usize),
}

// === impl Building ===

impl<'p> Building<'p> {
    fn new(policy: &'p Policy, scripts: &'p Scripts, batch: &RedisBatch<'_>) -> Self {
        Building {
            policy,
            scripts,
            // So that short commands need no more.
            out: Vec::with_capacity(128 * batch.commands.len().min(32)),
            leased: batch.lease.is_some(),
            writes: false,
            watching: Watching::AsBefore,
            script: None,
            blocks: Duration::ZERO,
            blocks_for_ever: false,
            parts: Vec::new(),
        }
    }

    /// Those of the plan: an atomic batch stays together, for a node runs it as one.
    fn parts(&mut self, atomic: bool) -> Result<Vec<Part>, CallError> {
        let parts = std::mem::take(&mut self.parts);
        if !atomic || parts.is_empty() {
            return Ok(parts);
        }
        let mut slots = parts.iter().enumerate().filter_map(|(place, part)| Some((place, part.slot?)));
        let slot = slots.next().map(|(_, slot)| slot);
        if let Some((place, _)) = slots.find(|(_, other)| Some(*other) != slot) {
            return Err(invalid(format!(
                "command {place}: an atomic batch needs all its keys in one hash slot of the cluster; {HASH_TAG}"
            )));
        }
        Ok(vec![Part { end: self.out.len(), slot }])
    }

    fn put_all(&mut self, batch: &RedisBatch<'_>) -> Result<Shape, CallError> {
        let mut rules = Vec::with_capacity(batch.commands.len());
        for (place, command) in batch.commands.iter().enumerate() {
            rules.push(self.put(command).map_err(|refused| refused.refused(Some(place)))?);
        }
        Ok(if batch.atomic { Shape::Atomic(rules) } else { Shape::Batch(rules) })
    }

    fn put(&mut self, command: &RedisCommand<'_>) -> Result<ReplyRule, Refused> {
        let admitted = match command.script {
            "" => self.policy.rules.admit(&command.args, &mut self.out).map_err(Refused::Rule)?,
            name => self.put_script(name, command)?,
        };
        self.leased |= admitted.leased;
        self.writes |= admitted.writes;
        match admitted.blocking {
            Blocking::No => {}
            Blocking::AtMost(time) => self.blocks = self.blocks.saturating_add(time),
            Blocking::Forever => self.blocks_for_ever = true,
        }
        match admitted.command.name {
            "watch" => self.watching = Watching::Yes,
            "unwatch" => self.watching = Watching::No,
            _ => {}
        }
        if self.policy.sharded {
            let slot = self.slot(&admitted, command).map_err(Refused::Rule)?;
            self.parts.push(Part { end: self.out.len(), slot });
        }
        Ok(admitted.reply)
    }

    fn slot(&self, admitted: &Admitted, command: &RedisCommand<'_>) -> Result<Option<u16>, Refusal> {
        let rules = &self.policy.rules;
        match command.script {
            "" => rules.slot(admitted.command, &command.args),
            _ => rules.slot_of_keys(command.args.iter().take(command.script_keys as usize).copied()),
        }
    }

    fn put_script(&mut self, name: &str, command: &RedisCommand<'_>) -> Result<Admitted, Refused> {
        // One answer for both, so that nobody can ask which scripts there are.
        let granted = self.policy.scripts.iter().any(|granted| granted == name);
        let Some(script) = self.scripts.get(name).filter(|_| granted) else {
            return Err(Refused::UnknownScript);
        };
        let Some((keys, args)) = command.args.split_at_checked(command.script_keys as usize) else {
            return Err(Refused::ScriptKeys(command.args.len()));
        };
        let admitted = self.policy.rules.admit_script(&script.sha1, keys, args, &mut self.out);
        self.script = Some(Arc::clone(script));
        admitted.map_err(Refused::Rule)
    }

    fn check_blocking(&self, remaining: Duration) -> Result<(), CallError> {
        if self.blocks_for_ever {
            return Err(invalid(
                "a timeout of 0 blocks for ever; give one that ends before the call's deadline",
            ));
        }
        if self.blocks >= remaining && !self.blocks.is_zero() {
            return Err(invalid(format!(
                "the command may block for {} ms, but only {} ms are left to the deadline; shorten the one or raise \
                 the other (deadline_ms, at most the resource's call_timeout_max)",
                self.blocks.as_millis(),
                remaining.as_millis()
            )));
        }
        Ok(())
    }
}

// === impl Refused ===

impl Refused {
    fn refused(self, place: Option<usize>) -> CallError {
        let (code, text) = match self {
            Refused::Rule(Refusal::Denied(text)) => (Code::Denied, text),
            Refused::Rule(Refusal::Invalid(text)) => (Code::Invalid, text),
            Refused::UnknownScript => (Code::Denied, "no script of this name is granted".into()),
            Refused::ScriptKeys(args) => (Code::Invalid, format!("script_keys is over the {args} arguments")),
        };
        match place {
            Some(place) => CallError::new(code, format!("command {place}: {text}")),
            None => CallError::new(code, text),
        }
    }
}
