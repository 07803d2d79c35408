//! What must hold of a connection, whatever its bytes were.

use agw_tests::{StrictRequest, Verdict};
use anyhow::Result;
use serde::Deserialize;

use super::model::{self, Expected};

/// What the gateway says of one exchange in its access log.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Told {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) details: String,
    pub(crate) request_bytes: u64,
    pub(crate) request_id: String,
    pub(crate) source: String,
}

/// Everything that came of one connection, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// Final statuses that the client got.
    pub(crate) statuses: Vec<u16>,
    /// It got something else.
    pub(crate) noise: bool,
    pub(crate) told: Vec<Told>,
    /// What the connections that were made for it brought to the upstream.
    pub(crate) upstream: Vec<Verdict>,
}

/// The rules that are broken.
pub(crate) fn broken(bytes: &[u8], findings: &Findings) -> Vec<String> {
    let mut broken = Vec::new();
    for verdict in &findings.upstream {
        if let Some(defect) = &verdict.defect {
            broken.push(format!("upstream got what servers read differently: {defect}"));
        }
        if verdict.requests.len() > 1 || verdict.requests.len() == 1 && verdict.part > 0 {
            broken.push(format!("upstream got more than one request at once: {:?}", verdict.requests));
        }
    }
    if findings.noise {
        broken.push("the client got what is no response".to_owned());
    }
    let answered: Vec<_> =
        findings.told.iter().map(|told| told.status).filter(|status| *status != 0).collect();
    if answered != findings.statuses {
        broken.push(format!("the log has the answers {answered:?}"));
    }
    if let Some(own_fault) = answered.iter().find(|status| matches!(status, 500 | 502 | 503)) {
        broken.push(format!("{own_fault} is for faults that are not the client's"));
    }
    broken.extend(matched(&model::read(bytes), findings));
    broken
}

/// Each request upstream is one of the log's, and both are the one that stands at this place in the client's bytes.
fn matched(expected: &[Expected], findings: &Findings) -> Vec<String> {
    let mut broken = Vec::new();
    let mut upstream = findings.upstream.iter().flat_map(|verdict| &verdict.requests).peekable();
    for (index, told) in findings.told.iter().enumerate() {
        if index > 0 && expected.get(index - 1).is_none_or(|before| before.last) {
            broken.push(format!("an exchange after the connection's last request: {told:?}"));
        }
        let Some(request) = upstream.next_if(|request| request.header("x-request-id") == told.request_id)
        else {
            if told.details == "via_upstream" {
                broken.push(format!("answered by the upstream, which has not got it: {told:?}"));
            }
            continue;
        };
        // Whoever is told that the request failed must be able to send it again.
        if told.status != 204 && !told.details.contains("timeout") {
            broken.push(format!("whole upstream, but not told so: {told:?}"));
        }
        match expected.get(index) {
            None => broken.push(format!("no request stands there, but upstream got {request:?}")),
            Some(expected) => broken.extend(differences(expected, told, request)),
        }
    }
    broken.extend(
        upstream.map(|request| format!("upstream got what the gateway does not know of: {request:?}")),
    );
    broken
}

fn differences(expected: &Expected, told: &Told, request: &StrictRequest) -> Option<String> {
    let same_target = request.target == told.path || request.target == format!("/{}", told.path);
    let same_method = request.method == told.method && request.method.as_bytes() == expected.method;
    let same_body = request.body == expected.body;
    // The log of one that ended early has what was read until then.
    let same_length = told.status != 204 || request.body.len() as u64 == told.request_bytes;
    let same = same_target && same_method && same_body && same_length;
    (!same).then(|| format!("not one request: {expected:?} in the bytes, {told:?}, upstream {request:?}"))
}

/// The lines of a gateway's output that are the access log's.
pub(crate) fn told(output: &str) -> Result<Vec<Told>> {
    let lines = output.lines().filter(|line| line.starts_with("{\"time\""));
    lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
}
