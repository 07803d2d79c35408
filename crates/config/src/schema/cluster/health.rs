//! `health` and `outlier` of a cluster: when an endpoint is left out.

use crate::field::Field;
use crate::reader::{Fields, Item};
use crate::schema::syntax;
use crate::snapshot::{HealthCheck, OutlierPolicy};
use crate::units::{Bounds, HOUR, MINUTE, MS, SECOND};

pub(super) const HEALTH: &[Field] = &[
    Field::text("path", "Path that probes GET").required().within("4096 bytes"),
    Field::text("host", "`Host` that probes send").or("the endpoint's"),
    Field::group("statuses", STATUSES, "Statuses that count as healthy"),
    Field::number("interval", INTERVAL, "Between probes of an endpoint, give or take a tenth"),
    Field::number("timeout", TIMEOUT, "For one probe"),
    Field::number("healthy_after", HEALTHY_AFTER, "Good probes in a row that bring an endpoint back"),
    Field::number("unhealthy_after", UNHEALTHY_AFTER, "Failed probes in a row that take it out"),
];
const STATUSES: &[Field] = &[
    Field::number("from", STATUS_FROM, "Least status that counts as healthy"),
    Field::number(
        "to",
        STATUS_TO,
        "Greatest; not less than `from`, and `from` if that is more than the default",
    ),
];
pub(super) const OUTLIER: &[Field] = &[
    Field::number(
        "consecutive_failures",
        CONSECUTIVE_FAILURES,
        "Failed requests in a row (no connection, a reset, a time-out, a 5xx) that eject an endpoint",
    ),
    Field::number(
        "ejection_time",
        EJECTION_TIME,
        "The first ejection lasts so long, the n-th in a row n times as long",
    ),
    Field::number(
        "ejection_time_max",
        EJECTION_TIME_MAX,
        "But never longer; not less than `ejection_time`, and `ejection_time` if that is more than the default",
    ),
    Field::number(
        "ejected_percent",
        EJECTED_PERCENT,
        "At most so many per cent of the endpoints are out at once; one may be in any case if there are two",
    ),
];

pub(crate) const STATUS_FROM: Bounds = Bounds::count(100, 200, 599);
pub(crate) const STATUS_TO: Bounds = Bounds::count(100, 299, 599);
pub(crate) const INTERVAL: Bounds = Bounds::time(10 * MS, 5 * SECOND, HOUR);
pub(crate) const TIMEOUT: Bounds = Bounds::time(MS, SECOND, MINUTE);
pub(crate) const HEALTHY_AFTER: Bounds = Bounds::count(1, 2, 1000);
pub(crate) const UNHEALTHY_AFTER: Bounds = Bounds::count(1, 3, 1000);

pub(crate) const CONSECUTIVE_FAILURES: Bounds = Bounds::count(1, 5, 100_000);
pub(crate) const EJECTION_TIME: Bounds = Bounds::time(10 * MS, 30 * SECOND, HOUR);
pub(crate) const EJECTION_TIME_MAX: Bounds = Bounds::time(10 * MS, 5 * MINUTE, 24 * HOUR);
pub(crate) const EJECTED_PERCENT: Bounds = Bounds::count(0, 50, 100);

pub(super) fn health(item: &Item<'_>) -> Option<HealthCheck> {
    let fields = item.fields(HEALTH)?;
    let path = fields.required("path", "/healthz").and_then(|item| syntax::path(&item));
    let host = fields.optional("host").and_then(|item| syntax::authority(&item));
    let statuses = statuses(&fields);
    Some(HealthCheck {
        host,
        statuses,
        interval: fields.duration("interval", INTERVAL),
        timeout: fields.duration("timeout", TIMEOUT),
        healthy_after: fields.u32("healthy_after", HEALTHY_AFTER),
        unhealthy_after: fields.u32("unhealthy_after", UNHEALTHY_AFTER),
        path: path?,
    })
}

fn statuses(fields: &Fields<'_>) -> (u16, u16) {
    let statuses = fields.group("statuses", STATUSES);
    let from = statuses.u64("from", STATUS_FROM);
    let to = statuses.u64("to", STATUS_TO.or(from.max(STATUS_TO.default)));
    if to < from {
        statuses.item.problem("to is less than from", "Raise to, or lower from");
    }
    let status = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    (status(from), status(to))
}

pub(super) fn outlier(item: &Item<'_>) -> Option<OutlierPolicy> {
    let fields = item.fields(OUTLIER)?;
    let ejection_time = fields.duration("ejection_time", EJECTION_TIME);
    let millis = u64::try_from(ejection_time.as_millis()).unwrap_or(u64::MAX);
    let ejection_time_max =
        fields.duration("ejection_time_max", EJECTION_TIME_MAX.or(millis.max(EJECTION_TIME_MAX.default)));
    if ejection_time_max < ejection_time {
        item.problem(
            "ejection_time_max is less than ejection_time",
            "Raise ejection_time_max, or lower ejection_time",
        );
    }
    Some(OutlierPolicy {
        consecutive_failures: fields.u32("consecutive_failures", CONSECUTIVE_FAILURES),
        ejection_time,
        ejection_time_max,
        ejected_percent_max: fields.u32("ejected_percent", EJECTED_PERCENT),
    })
}
