//! `retry` of a route: when and how often a failed request is tried again.

use std::time::Duration;

use crate::field::{ANY, Field, Kind};
use crate::reader::{Fields, Item};
use crate::snapshot::RetryPolicy;
use crate::units::{Bounds, HOUR, KIB, MIB, MINUTE, MS};

pub(super) const FIELDS: &[Field] = &[
    Field::number("retries", RETRIES, "Tries after the first"),
    Field::new(
        "on",
        Kind::List(&Kind::Choice(&["reset", "timeout"]), 0, ANY),
        "Causes of a retry: `reset`, the connection broke before a response's head; `timeout`, `per_try_timeout` \
         has passed",
    )
    .or("`[reset]`")
    .within("`reset`, `timeout`"),
    Field::new("statuses", Kind::List(&Kind::Number(STATUS), 0, ANY), "Statuses that are causes, too")
        .within("400 to 599 each"),
    Field::number("per_try_timeout", PER_TRY_TIMEOUT, "For one try, up to the response's head")
        .or("the route's `timeout`"),
    Field::group("backoff", BACKOFF, "How long to wait before the next try"),
    Field::boolean(
        "unsafe_methods",
        "Also methods other than GET, HEAD, OPTIONS, TRACE, PUT and DELETE",
    ),
    Field::number(
        "body",
        BODY,
        "Size of a request body that is kept for another try; a longer one is tried once",
    ),
];
const BACKOFF: &[Field] = &[
    Field::number(
        "base",
        BACKOFF_BASE,
        "Mean of the first wait; it doubles with each try, and each wait is a random share of it",
    ),
    Field::number(
        "max",
        BACKOFF_MAX,
        "The doubling ends here; not less than `base`, and `base` if that is more than the default",
    ),
];

pub(crate) const RETRIES: Bounds = Bounds::count(0, 1, 10);
pub(crate) const BACKOFF_BASE: Bounds = Bounds::time(MS, 25 * MS, MINUTE);
pub(crate) const BACKOFF_MAX: Bounds = Bounds::time(MS, 250 * MS, 5 * MINUTE);
pub(crate) const BODY: Bounds = Bounds::bytes(0, 64 * KIB, 16 * MIB);
/// Left out, the route's own time-out is all there is.
const PER_TRY_TIMEOUT: Bounds = Bounds::time(MS, MINUTE, 24 * HOUR);
/// Successes are never tried again.
const STATUS: Bounds = Bounds::count(400, 503, 599);

/// `timeout` is the route's.
pub(super) fn lower(item: &Item<'_>, timeout: Duration) -> Option<RetryPolicy> {
    let fields = item.fields(FIELDS)?;
    let (on_reset, on_timeout) = causes(&fields);
    let per_try_timeout = per_try_timeout(&fields, timeout, on_timeout);
    let (backoff, backoff_max) = backoff(&fields);
    let unsafe_methods = fields.boolean("unsafe_methods", false);
    if let Some(item) = fields.optional("unsafe_methods").filter(|_| unsafe_methods) {
        item.warning(
            "a request that changes something may be carried out twice",
            "Keep it only if the upstream recognises a repetition, or write false",
        );
    }
    Some(RetryPolicy {
        retries: fields.u32("retries", RETRIES),
        on_reset,
        on_timeout,
        on_statuses: statuses(&fields),
        per_try_timeout,
        backoff,
        backoff_max,
        unsafe_methods,
        body_bytes_max: fields.usize("body", BODY),
    })
}

/// Whether a reset and a time-out are causes.
fn causes(fields: &Fields<'_>) -> (bool, bool) {
    let Some(list) = fields.optional("on") else { return (true, false) };
    let (mut reset, mut timeout) = (false, false);
    for item in list.list() {
        let Some(is_timeout) = item.choice(&[("reset", false), ("timeout", true)]) else { continue };
        let cause = if is_timeout { &mut timeout } else { &mut reset };
        if *cause {
            item.problem("the cause is listed twice", "Remove one of the two");
        }
        *cause = true;
    }
    (reset, timeout)
}

fn per_try_timeout(fields: &Fields<'_>, timeout: Duration, on_timeout: bool) -> Option<Duration> {
    let Some(item) = fields.optional("per_try_timeout") else {
        if on_timeout {
            fields.item.problem(
                "a time-out is a cause, but a try has none",
                "Write per_try_timeout: 1s, or take timeout out of on",
            );
        }
        return None;
    };
    let per_try = Duration::from_millis(item.number(PER_TRY_TIMEOUT));
    if per_try >= timeout {
        item.warning(
            "the route's timeout ends first, so this has no effect",
            "Make it shorter than the route's timeout",
        );
    }
    Some(per_try)
}

fn backoff(fields: &Fields<'_>) -> (Duration, Duration) {
    let backoff = fields.group("backoff", BACKOFF);
    let base = backoff.u64("base", BACKOFF_BASE);
    let max = backoff.u64("max", BACKOFF_MAX.or(base.max(BACKOFF_MAX.default)));
    if max < base {
        backoff.item.problem("max is less than base", "Raise max, or lower base");
    }
    (Duration::from_millis(base), Duration::from_millis(max))
}

/// In rising order.
fn statuses(fields: &Fields<'_>) -> Vec<u16> {
    let mut statuses = Vec::new();
    for item in fields.list("statuses") {
        let status = u16::try_from(item.number(STATUS)).unwrap_or(u16::MAX);
        match statuses.binary_search(&status) {
            Err(at) => statuses.insert(at, status),
            // The stand-in of a bad number may be there already.
            Ok(_) if item.node.value == crate::tree::Value::Integer(status.into()) => {
                item.problem(format!("the status {status} is listed twice"), "Remove one of the two");
            }
            Ok(_) => {}
        }
    }
    statuses
}
