//! `plugins`: configured uses of a module.

use std::time::Duration;

use crate::field::{Field, Kind};
use crate::problem::{quoted, quoted_path};
use crate::reader::{Fields, Item};
use crate::schema::name::{Mentions, NAME, Unique};
use crate::snapshot::{FailurePolicy, ModuleSource, Plugin, PluginLimits, VmMode, VmPolicy};
use crate::tree::Value;
use crate::units::{Bounds, GIB, HOUR, KIB, MIB, MINUTE, MS, SECOND};

pub(super) const FIELDS: &[Field] = &[
    NAME,
    Field::group("module", MODULE, "Where its wasm module is").required(),
    Field::new("root_id", Kind::AnyText, "What the guest reads as `plugin_root_id`").or("empty"),
    Field::new(
        "configuration",
        CONFIGURATION,
        "What the plugin reads when it is configured: a mapping becomes JSON, a string stays as it is. No place \
         for secrets: `/v1/config` shows it",
    )
    .or("empty"),
    Field::new(
        "vm_configuration",
        CONFIGURATION,
        "What the plugin reads when its VM starts, in the same forms",
    )
    .or("empty"),
    Field::group("vm", VM, "How streams share VMs"),
    Field::group("limits", LIMITS, "What one VM may use"),
    Field::choice(
        "on_failure",
        &["fail_closed", "fail_open"],
        "What a request meets whose plugin failed: `fail_closed` answers 503, `fail_open` goes on without the \
         plugin",
    )
    .or("`fail_closed`"),
    Field::group("reload_backoff", BACKOFF, "How soon a VM that trapped is replaced"),
];
const CONFIGURATION: Kind = Kind::Either(&Kind::Free, &Kind::AnyText);
const MODULE: &[Field] = &[
    Field::text("file", "Path of a wasm module").one_of(),
    Field::text("builtin", "Name of a module inside the binary: `rate-limit` or `api-key-auth`").one_of(),
];
const VM: &[Field] = &[
    Field::choice(
        "mode",
        &["exclusive", "shared"],
        "`exclusive`: a stream has a VM to itself, blocking calls work. `shared`: many streams per VM, blocking \
         calls are refused",
    )
    .or("`exclusive` if a resource grants this plugin access, or else `shared`"),
    Field::number("max", VM_MAX, "Exclusive VMs per worker"),
    Field::number(
        "wait",
        VM_WAIT,
        "How long a stream waits for a VM at that bound; then `on_failure` holds",
    ),
];
const LIMITS: &[Field] = &[
    Field::number("memory", MEMORY, "Linear memory of a VM"),
    Field::number("table_elements", TABLE_ELEMENTS, "Elements of a VM's tables"),
    Field::number("cpu_time", CPU_TIME, "CPU time of one callback, waiting not counted; then it traps"),
    Field::number(
        "foreign_calls",
        FOREIGN_CALLS,
        "Foreign calls under way at once, over all workers; more are `overloaded`",
    ),
    Field::number(
        "calls_per_request",
        CALLS_PER_REQUEST,
        "Foreign calls that the plugin may make for one request; more are `denied`. A call with many commands or \
         statements is one. Calls that belong to no request (of timers, of the plugin's own context) are not counted",
    ),
];
const BACKOFF: &[Field] = &[
    Field::number(
        "base",
        BACKOFF_BASE,
        "Least time between a trap and the next VM; it doubles with each trap",
    ),
    Field::number(
        "max",
        BACKOFF_MAX,
        "The doubling ends here; not less than `base`, and `base` if that is more than the default",
    ),
];

pub(crate) const VM_MAX: Bounds = Bounds::count(1, 1024, 100_000);
pub(crate) const VM_WAIT: Bounds = Bounds::time(0, 100 * MS, MINUTE);
/// From one wasm page to all that a 32-bit module can address.
pub(crate) const MEMORY: Bounds = Bounds::bytes(64 * KIB, 64 * MIB, 4 * GIB);
pub(crate) const TABLE_ELEMENTS: Bounds = Bounds::count(1, 10_000, 10_000_000);
pub(crate) const CPU_TIME: Bounds = Bounds::time(MS, 100 * MS, MINUTE);
pub(crate) const FOREIGN_CALLS: Bounds = Bounds::count(1, 2048, 1_000_000);
pub(crate) const CALLS_PER_REQUEST: Bounds = Bounds::count(1, 64, 1_000_000);
pub(crate) const BACKOFF_BASE: Bounds = Bounds::time(MS, SECOND, 5 * MINUTE);
pub(crate) const BACKOFF_MAX: Bounds = Bounds::time(MS, 30 * SECOND, HOUR);

pub(super) fn lower(item: &Item<'_>, unique: &mut Unique, mentions: &Mentions) -> Option<Plugin> {
    let fields = item.fields(FIELDS)?;
    let name = unique.name(&fields);
    if !mentions.routed_plugins.contains(&name) {
        item.warning("no route uses this plugin", "Name it in a route's plugins, or remove it");
    }
    let module = fields.required("module", "{ file: plugin.wasm }").and_then(|item| module(&item));
    let builtin = matches!(module, Some(ModuleSource::Builtin(_)));
    let vm = vm(&fields, mentions.granted_plugins.contains(&name), builtin);
    let limits = fields.group("limits", LIMITS);
    let failure = [("fail_closed", FailurePolicy::FailClosed), ("fail_open", FailurePolicy::FailOpen)];
    let on_failure = fields.optional("on_failure").and_then(|item| item.choice(&failure));
    let (reload_backoff, reload_backoff_max) = reload_backoff(&fields);
    Some(Plugin {
        name,
        root_id: text_or_empty(&fields, "root_id"),
        configuration: fields.optional("configuration").map(|item| configuration(&item)).unwrap_or_default(),
        vm_configuration: fields
            .optional("vm_configuration")
            .map(|item| configuration(&item))
            .unwrap_or_default(),
        vm,
        limits: PluginLimits {
            memory_bytes_max: limits.usize("memory", MEMORY),
            table_elements_max: limits.usize("table_elements", TABLE_ELEMENTS),
            cpu_time: limits.duration("cpu_time", CPU_TIME),
        },
        on_failure: on_failure.unwrap_or(FailurePolicy::FailClosed),
        reload_backoff,
        reload_backoff_max,
        foreign_calls_max: limits.usize("foreign_calls", FOREIGN_CALLS),
        calls_per_request_max: limits.u32("calls_per_request", CALLS_PER_REQUEST),
        module: module?,
    })
}

fn text_or_empty(fields: &Fields<'_>, name: &'static str) -> String {
    fields.optional(name).and_then(|item| item.text_or_empty()).unwrap_or_default().to_owned()
}

fn module(item: &Item<'_>) -> Option<ModuleSource> {
    let (field, item) = item.fields(MODULE)?.one_of(&["file", "builtin"], "module: { file: plugin.wasm }")?;
    let text = item.text()?;
    if field == "builtin" {
        let known = item.context.files.builtin_modules();
        if !known.contains(&text) {
            let hint = item.suggest(text, known.iter().copied());
            item.problem(format!("no module {} is built in", quoted(text)), hint);
        }
        return Some(ModuleSource::Builtin(text.to_owned()));
    }
    let path = item.context.resolve(text);
    if !item.context.files.has_module(&path) {
        let message = format!("there is no file {}", quoted_path(&path));
        item.problem(
            message,
            "Build the module, or correct the path; it is relative to the document's folder",
        );
    }
    Some(ModuleSource::File(path))
}

fn vm(fields: &Fields<'_>, granted: bool, builtin: bool) -> VmPolicy {
    let vm = fields.group("vm", VM);
    let mode = vm.optional("mode");
    let chosen = mode
        .as_ref()
        .and_then(|item| item.choice(&[("exclusive", VmMode::Exclusive), ("shared", VmMode::Shared)]));
    // Nobody can see from outside whether a module blocks; of those in the binary it is known that they do not.
    if let (Some(item), Some(VmMode::Shared), true) = (&mode, chosen, granted && !builtin) {
        item.warning(
            "a resource grants this plugin access, and blocking calls are refused in shared VMs",
            "Use callbacks for every call, or write mode: exclusive",
        );
    }
    let usual = if granted { VmMode::Exclusive } else { VmMode::Shared };
    VmPolicy {
        mode: chosen.unwrap_or(usual),
        max: vm.usize("max", VM_MAX),
        wait: vm.duration("wait", VM_WAIT),
    }
}

fn reload_backoff(fields: &Fields<'_>) -> (Duration, Duration) {
    let backoff = fields.group("reload_backoff", BACKOFF);
    let base = backoff.u64("base", BACKOFF_BASE);
    let max = backoff.u64("max", BACKOFF_MAX.or(base.max(BACKOFF_MAX.default)));
    if max < base {
        backoff.item.problem("max is less than base", "Raise max, or lower base");
    }
    (Duration::from_millis(base), Duration::from_millis(max))
}

/// A mapping becomes JSON, a string stays as it is.
fn configuration(item: &Item<'_>) -> Vec<u8> {
    match &item.node.value {
        Value::Text(text) => text.clone().into_bytes(),
        Value::Mapping(_) => json(item).to_string().into_bytes(),
        other => {
            let message = format!("expected a mapping or a string, found {}", other.kind());
            item.problem(message, "Write a mapping, which the plugin reads as JSON, or a string");
            Vec::new()
        }
    }
}

/// The recursion is as deep as the document, which is bounded when it is parsed.
fn json(item: &Item<'_>) -> serde_json::Value {
    match &item.node.value {
        Value::Null => serde_json::Value::Null,
        Value::Boolean(value) => (*value).into(),
        Value::Integer(value) => match serde_json::Number::from_i128(*value) {
            Some(number) => number.into(),
            None => {
                item.problem("the number does not fit into 64 bits", "Put it in quotes");
                serde_json::Value::Null
            }
        },
        Value::Float(value) => (*value).into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(_) => item.list().iter().map(json).collect(),
        Value::Mapping(_) => item
            .entries()
            .iter()
            .map(|(key, item)| ((*key).to_owned(), json(item)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}
