//! What must hold of the gateway's outcome, whatever the bytes were, and for this case.

use crate::case::{Case, Want};
use crate::outcome::Outcome;

/// Every rule that the outcome breaks.
pub(crate) fn broken(case: &Case, id: &str, agw: &Outcome, nginx: &Outcome) -> Vec<String> {
    let mut broken = for_all(agw);
    broken.extend(wanted(case.want, agw).err());
    broken.extend(first_request(case, id, agw));
    let laxer = agw.forwarded() > nginx.forwarded();
    if laxer && case.lax.is_none() {
        broken.push(format!("laxer than nginx ({}) without a reason", nginx.shown()));
    }
    broken
}

/// Reasons that have nothing to excuse.
pub(crate) fn stale(cases: &[Case], agw: &[Outcome], nginx: &[Outcome]) -> Vec<String> {
    let outcomes = cases.iter().zip(agw).zip(nginx);
    let stale =
        outcomes.filter(|((case, agw), nginx)| case.lax.is_some() && agw.forwarded() <= nginx.forwarded());
    stale
        .map(|((case, ..), _)| format!("{} is not laxer than nginx, but has a reason for it", case.name))
        .collect()
}

fn for_all(agw: &Outcome) -> Vec<String> {
    let mut broken = Vec::new();
    for verdict in &agw.upstream {
        if let Some(defect) = &verdict.defect {
            broken.push(format!("sent upstream what servers may read differently: {defect}"));
        }
        let more = verdict.requests.len() > 1 || (verdict.requests.len() == 1 && verdict.part > 0);
        if more {
            broken.push(format!("two requests where the gateway meant one: {:?}", verdict.requests));
        }
    }
    if agw.forwarded() != agw.answered() {
        broken.push(format!("{} requests upstream, {} answers", agw.forwarded(), agw.answered()));
    }
    if agw.noise {
        broken.push("the client got what is no response".to_owned());
    }
    let own_fault = |status: &&u16| matches!(**status, 500 | 502 | 503);
    if let Some(status) = agw.statuses.iter().find(own_fault) {
        broken.push(format!("{status} is for faults that are not the client's"));
    }
    broken
}

fn wanted(want: Want, agw: &Outcome) -> Result<(), String> {
    let refusals = agw.statuses.iter().filter(|status| is_refusal(**status)).count();
    let others = agw.statuses.len() - refusals - agw.answered();
    let holds = match want {
        Want::Any => true,
        Want::Refuse => agw.forwarded() == 0 && others == 0,
        Want::NeverWhole => agw.forwarded() == 0,
        Want::Forward { requests, then_refuse } => {
            agw.forwarded() == requests && others == 0 && (then_refuse || refusals == 0)
        }
        Want::ForwardOrRefuse(requests) => {
            others == 0 && (agw.forwarded() == requests || agw.forwarded() < requests && refusals > 0)
        }
    };
    if holds { Ok(()) } else { Err(format!("wanted {want:?}")) }
}

/// The client's fault, said so: not a time-out, and not the gateway's.
fn is_refusal(status: u16) -> bool {
    matches!(status, 400..=499 | 501 | 505)
}

fn first_request(case: &Case, id: &str, agw: &Outcome) -> Vec<String> {
    let mut broken = Vec::new();
    let Some(request) = agw
        .upstream
        .iter()
        .flat_map(|verdict| &verdict.requests)
        .find(|request| !request.target.contains("two-"))
    else {
        return broken;
    };
    if request.target.contains("smuggled") {
        broken.push(format!("a request that was part of another went upstream: {request:?}"));
    }
    if let Some(body) = case.numbered_body(id)
        && request.body != body
    {
        broken.push(format!("the body upstream is {}", request.body.escape_ascii()));
    }
    if let Some(host) = &case.host
        && request.header("host") != host
    {
        broken.push(format!("Host upstream is {:?}", request.header("host")));
    }
    broken.extend(
        case.present.iter().filter(|name| !request.has(name)).map(|name| format!("no {name} upstream")),
    );
    broken.extend(
        case.absent.iter().filter(|name| request.has(name)).map(|name| format!("{name} went upstream")),
    );
    broken
}
