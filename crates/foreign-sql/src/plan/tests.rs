use agw_wire::sql::Cells;

use super::*;

fn policy() -> Policy {
    let named = |text: &str, kind, read_only| Named { text: text.into(), kind, read_only, pipelined: false };
    Policy {
        dialect: Dialect::Sqlite,
        statements: [
            ("find".to_owned(), named("SELECT 1", Kind::Reads, true)),
            ("sneaky".to_owned(), named("SELECT f()", Kind::Reads, false)),
            ("touch".to_owned(), named("UPDATE t SET a = 1", Kind::Writes, false)),
        ]
        .into(),
        ad_hoc: true,
        read_only: false,
        caps: Caps { rows: 100, response_bytes: 1000, cell_bytes: 1000 },
        batch_max: 3,
    }
}

fn call<'a>(mode: Mode, statements: &[(&'a str, &'a str)]) -> Call<'a> {
    let statement = |(name, text): &(&'a str, &'a str)| Statement { name, text, params: Cells::default() };
    Call { mode, statements: statements.iter().map(statement).collect(), ..Call::default() }
}

fn plan(call: &Call<'_>, policy: &Policy) -> Result<Plan, (Code, String)> {
    Plan::new(call, policy, Instant::now()).map_err(|error| (error.code, error.message))
}

fn work_of(call: &Call<'_>, policy: &Policy) -> Work {
    match plan(call, policy) {
        Ok(Plan::Run(work)) => work,
        other => panic!("{other:?}"),
    }
}

fn code(call: &Call<'_>, policy: &Policy) -> Code {
    plan(call, policy).expect_err("it is refused").0
}

#[test]
fn what_is_not_granted_is_denied_and_unknown_names_look_alike() {
    let policy = policy();
    let unknown = plan(&call(Mode::Query, &[("nothing", "")]), &policy).unwrap_err();
    let other_plugins = plan(&call(Mode::Query, &[("other", "")]), &policy).unwrap_err();
    assert_eq!(unknown, other_plugins);
    assert_eq!(unknown.0, Code::Denied);
    let named_only = Policy { ad_hoc: false, ..policy };
    assert_eq!(code(&call(Mode::Query, &[("", "SELECT 1")]), &named_only), Code::Denied);
    assert!(plan(&call(Mode::Query, &[("find", "")]), &named_only).is_ok());
}

#[test]
fn a_read_only_grant_admits_nothing_that_writes_in_any_mode() {
    let policy = Policy { read_only: true, ..policy() };
    for text in [
        "DELETE FROM t",
        "WITH a AS (SELECT 1) DELETE FROM t",
        "COMMIT",
        "SET TRANSACTION READ WRITE",
        "PRAGMA query_only = 0",
        "SELECT 1; DELETE FROM t",
        "/* SELECT */ DELETE FROM t",
        "CREATE TABLE t (a)",
    ] {
        for mode in [Mode::Query, Mode::QueryOne, Mode::QueryOptional, Mode::Execute, Mode::Batch, Mode::Page]
        {
            assert_eq!(code(&call(mode, &[("", text)]), &policy), Code::Denied, "{mode:?} {text}");
        }
        let hidden = call(Mode::Batch, &[("", "SELECT 1"), ("", text)]);
        let (code, message) = plan(&hidden, &policy).unwrap_err();
        assert_eq!(code, Code::Denied);
        assert!(message.starts_with("statement 1: "), "{message}");
    }
    assert_eq!(code(&call(Mode::Execute, &[("touch", "")]), &policy), Code::Denied);
    assert!(work_of(&call(Mode::Query, &[("", "SELECT 1")]), &policy).read_only);
    assert!(work_of(&call(Mode::Query, &[("sneaky", "")]), &policy).read_only, "the grant wins");
}

#[test]
fn work_is_read_only_as_the_operator_said_of_its_statements() {
    let policy = policy();
    assert!(work_of(&call(Mode::Query, &[("find", "")]), &policy).read_only);
    assert!(!work_of(&call(Mode::Query, &[("sneaky", "")]), &policy).read_only);
    assert!(!work_of(&call(Mode::Batch, &[("find", ""), ("touch", "")]), &policy).read_only);
    assert!(!work_of(&call(Mode::Query, &[("", "SELECT 1")]), &policy).read_only);
}

#[test]
fn a_transaction_is_where_something_may_have_to_be_undone() {
    let policy = policy();
    let needs = |mode, text| work_of(&call(mode, &[("", text)]), &policy).needs_transaction();
    assert!(needs(Mode::Query, "DELETE FROM t RETURNING a"));
    assert!(!needs(Mode::Query, "SELECT 1"));
    assert!(!needs(Mode::Execute, "DELETE FROM t"));
    assert!(needs(Mode::Batch, "SELECT 1"));
}

#[test]
fn a_call_that_makes_no_sense_is_invalid() {
    let policy = policy();
    let one: &[(&str, &str)] = &[("find", "")];
    for wrong in [
        call(Mode::Query, &[]),
        call(Mode::Query, &[("find", ""), ("find", "")]),
        call(Mode::Batch, &[]),
        call(Mode::Fetch, &[]),
        Call { cursor: 1, ..call(Mode::Fetch, one) },
        Call { cursor: 1, ..call(Mode::Query, one) },
        Call { page_rows: 1, ..call(Mode::Query, one) },
        call(Mode::Query, &[("", "")]),
        call(Mode::Query, &[("find", "SELECT 1")]),
        call(Mode::Query, &[("", " ; ")]),
        call(Mode::Query, &[("", "SELECT 'a")]),
        call(Mode::Page, &[("", "DELETE FROM t")]),
    ] {
        assert_eq!(code(&wrong, &policy), Code::Invalid, "{wrong:?}");
    }
    assert_eq!(code(&call(Mode::Batch, &[one[0]; 4]), &policy), Code::TooLarge);
    let mysql = Policy { dialect: Dialect::Mysql, ..policy };
    assert_eq!(code(&call(Mode::Batch, &[("", "DROP TABLE t")]), &mysql), Code::Invalid);
}

#[test]
fn a_page_is_never_larger_than_the_cap() {
    let policy = policy();
    for (asked, given) in [(0, 100), (7, 7), (100_000, 100)] {
        let page = Call { page_rows: asked, ..call(Mode::Page, &[("find", "")]) };
        assert_eq!(work_of(&page, &policy).mode, RunMode::Page(given));
        let fetch = Call { page_rows: asked, cursor: 3, ..call(Mode::Fetch, &[]) };
        let Ok(Plan::Fetch { cursor: 3, page }) = plan(&fetch, &policy) else { panic!("no fetch") };
        assert_eq!(page.rows, given);
    }
}
