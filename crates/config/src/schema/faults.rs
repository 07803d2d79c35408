//! `faults` of a resource: what is made to go wrong, for a rehearsal.

use crate::field::Field;
use crate::reader::Fields;
use crate::snapshot::{FaultPolicy, InjectedError, InjectedFault};
use crate::units::{Bounds, MINUTE};

pub(super) const FIELD: Field = Field::group(
    "faults",
    FAULTS,
    "What is made to go wrong with a share of the calls, [for a rehearsal](#rehearsing-faults); a warning while it is there",
)
.or("none");
const FAULTS: &[Field] = &[
    Field::number("share", SHARE, "Per cent of the calls that are drawn"),
    Field::number("delay", DELAY, "They are held for so long before anything else"),
    Field::choice(
        "error",
        &[
            "timeout_queue",
            "timeout_connect",
            "timeout_io",
            "unavailable",
            "circuit_open",
            "overloaded",
            "auth",
        ],
        "They get this error, and the server is not asked. This, `cut` or neither",
    )
    .or("none"),
    Field::boolean("cut", "The server is asked, and its answer is lost"),
];

pub(crate) const SHARE: Bounds = Bounds::count(1, 10, 100);
pub(crate) const DELAY: Bounds = Bounds::time(0, 0, MINUTE);

pub(super) fn lower(fields: &Fields<'_>) -> Option<FaultPolicy> {
    let item = fields.optional("faults")?;
    let faults = fields.group("faults", FAULTS);
    let share_percent = faults.u32("share", SHARE);
    let delay = faults.duration("delay", DELAY);
    let error = faults.optional("error").and_then(|item| item.choice(&InjectedError::ALL));
    let cut = faults.boolean("cut", false);
    if error.is_some() && cut {
        item.problem("the fields \"error\" and \"cut\" exclude each other", "Keep one of them");
    }
    if delay.is_zero() && faults.optional("error").is_none() && !cut {
        let hint = "Write delay: 50ms, error: unavailable or cut: true, or remove faults";
        item.problem("the faults do nothing", hint);
    }
    item.warning(
        format!("faults are injected into {share_percent} per cent of the calls"),
        "Remove faults from a resource that serves real requests",
    );
    let fault = match error {
        Some(error) => InjectedFault::Error(error),
        None if cut => InjectedFault::Cut,
        None => InjectedFault::None,
    };
    Some(FaultPolicy { share_percent, delay, fault })
}
