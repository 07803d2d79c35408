//! From a guest's call to work: every statement checked against the grant and the gate.

use std::collections::BTreeMap;
use std::sync::Arc;

use agw_sql_statements::{Dialect, Kind, Refusal, check};
use agw_wire::sql::{Call, Mode, Statement};
use agw_wire::{CallError, Code};
use tokio::time::Instant;

use crate::engine::{Bound, Caps, Expect, Page, RunMode, Work};
use crate::error::{denied, invalid};

/// What a plugin may run.
pub(crate) struct Policy {
    pub(crate) dialect: Dialect,
    /// Statements that the grant names.
    pub(crate) statements: BTreeMap<String, Named>,
    pub(crate) ad_hoc: bool,
    pub(crate) read_only: bool,
    pub(crate) caps: Caps,
    pub(crate) batch_max: usize,
}

/// A named statement.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) text: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) read_only: bool,
    /// By itself it goes through the pipelined lane.
    pub(crate) pipelined: bool,
}

/// A call that may run.
#[derive(Debug)]
pub(crate) enum Plan {
    Run(Work),
    Fetch { cursor: u32, page: Page },
    Close { cursor: u32 },
}

// === impl Plan ===

impl Plan {
    /// Checks a call.
    ///
    /// # Errors
    /// `denied`, `invalid` or `too_large`, naming the statement of a batch by its place.
    pub(crate) fn new(call: &Call<'_>, policy: &Policy, deadline: Instant) -> Result<Plan, CallError> {
        let count = call.statements.len();
        let expected = match call.mode {
            Mode::Fetch | Mode::Close => 0..=0,
            Mode::Batch => 1..=usize::MAX,
            _ => 1..=1,
        };
        if !expected.contains(&count) {
            let message = format!("the call has {count} statements; {}", wants(call.mode));
            return Err(invalid(message));
        }
        if count > policy.batch_max {
            let message =
                format!("the batch has {count} statements, the resource takes {}", policy.batch_max);
            return Err(CallError::new(Code::TooLarge, message));
        }
        let of_cursor = matches!(call.mode, Mode::Fetch | Mode::Close);
        if of_cursor != (call.cursor != 0) {
            return Err(invalid("a cursor belongs to FETCH and CLOSE, and to nothing else"));
        }
        if call.page_rows != 0 && !matches!(call.mode, Mode::Page | Mode::Fetch) {
            return Err(invalid("page_rows belongs to PAGE and FETCH, and to nothing else"));
        }
        let rows = match call.page_rows as usize {
            0 => policy.caps.rows,
            rows => rows.min(policy.caps.rows),
        };
        match call.mode {
            Mode::Close => Ok(Plan::Close { cursor: call.cursor }),
            Mode::Fetch => {
                let page = Page { rows, caps: policy.caps, deadline };
                Ok(Plan::Fetch { cursor: call.cursor, page })
            }
            mode => work(call, run_mode(mode, rows), policy, deadline).map(Plan::Run),
        }
    }
}

fn run_mode(mode: Mode, rows: usize) -> RunMode {
    match mode {
        Mode::QueryOne => RunMode::Rows(Expect::One),
        Mode::QueryOptional => RunMode::Rows(Expect::Optional),
        Mode::Execute => RunMode::Execute,
        Mode::Batch => RunMode::Batch,
        Mode::Page => RunMode::Page(rows),
        Mode::Query | Mode::Fetch | Mode::Close => RunMode::Rows(Expect::Any),
    }
}

fn wants(mode: Mode) -> &'static str {
    match mode {
        Mode::Fetch | Mode::Close => "FETCH and CLOSE have none",
        Mode::Batch => "a batch has one or more",
        _ => "this mode has one (several belong into a batch)",
    }
}

fn work(call: &Call<'_>, mode: RunMode, policy: &Policy, deadline: Instant) -> Result<Work, CallError> {
    let mut statements = Vec::with_capacity(call.statements.len());
    let mut all_read_only = true;
    let mut pipelined = matches!(mode, RunMode::Rows(_) | RunMode::Execute);
    for (place, statement) in call.statements.iter().enumerate() {
        let place = (mode == RunMode::Batch).then_some(place);
        let named = admit(statement, policy).map_err(|error| at(place, error))?;
        all_read_only &= named.read_only;
        pipelined &= named.pipelined;
        check_kind(named.kind, mode, policy).map_err(|error| at(place, error))?;
        let params = statement.params.as_bytes().to_vec();
        let ad_hoc = statement.name.is_empty();
        statements.push(Bound { text: named.text, params, kind: named.kind, ad_hoc });
    }
    let read_only = policy.read_only || all_read_only;
    Ok(Work { mode, statements, read_only, pipelined, caps: policy.caps, deadline })
}

fn admit(statement: &Statement<'_>, policy: &Policy) -> Result<Named, CallError> {
    match (statement.name, statement.text) {
        ("", "") => Err(invalid("the statement has neither a name nor a text")),
        // One answer for both, so that nobody can ask which statements there are.
        (name, "") => {
            policy.statements.get(name).cloned().ok_or_else(|| denied("no statement of this name is granted"))
        }
        ("", _) if !policy.ad_hoc => Err(denied("only named statements are granted, not ad hoc ones")),
        ("", text) => {
            let kind = check(text, policy.dialect).map_err(|refusal| refused(&refusal))?;
            Ok(Named { text: text.into(), kind, read_only: policy.read_only, pipelined: false })
        }
        _ => Err(invalid("the statement has both a name and a text")),
    }
}

fn check_kind(kind: Kind, mode: RunMode, policy: &Policy) -> Result<(), CallError> {
    if policy.read_only && kind != Kind::Reads {
        return Err(denied("the statement writes, and the grant is read-only"));
    }
    if matches!(mode, RunMode::Page(_)) && kind != Kind::Reads {
        return Err(invalid("only a statement that reads can be asked for in pages"));
    }
    if mode == RunMode::Batch && kind == Kind::Defines && policy.dialect == Dialect::Mysql {
        return Err(invalid("the statement would end the batch's transaction; run it by itself"));
    }
    Ok(())
}

fn refused(refusal: &Refusal) -> CallError {
    match refusal {
        Refusal::Empty | Refusal::Unterminated { .. } | Refusal::Parentheses | Refusal::ZeroByte => {
            invalid(refusal.to_string())
        }
        _ => denied(refusal.to_string()),
    }
}

fn at(place: Option<usize>, error: CallError) -> CallError {
    match place {
        Some(place) => CallError::new(error.code, format!("statement {place}: {}", error.message)),
        None => error,
    }
}

#[cfg(test)]
mod tests;
