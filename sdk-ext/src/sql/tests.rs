use std::time::Duration;

use agw_wire::sql::{Mode, ReplyWriter, put_cell};
use agw_wire::{CallError, Code, Kind};
use proxy_wasm::types::Status;

use super::*;
use crate::transport::fake;

fn users() -> Sql<'static> {
    crate::sql("users").unwrap()
}

/// A result of these columns and rows.
fn result(reply: &mut ReplyWriter, columns: &[&str], rows: &[&[Cell<'_>]]) {
    for name in columns {
        reply.column(&Column { name, ..Column::default() });
    }
    for row in rows {
        row.iter().for_each(|cell| reply.cell(*cell));
        reply.end_row();
    }
    reply.end_result(0, 0);
}

fn reply(columns: &[&str], rows: &[&[Cell<'_>]], cursor: u32) -> Vec<u8> {
    let mut reply = ReplyWriter::new();
    result(&mut reply, columns, rows);
    response(&reply.finish(cursor))
}

fn response(reply: &[u8]) -> Vec<u8> {
    Response { answer: Answer::Sql(reply), lease: 0 }.encode()
}

fn will_reply(columns: &[&str], rows: &[&[Cell<'_>]]) {
    fake::will_answer(Ok(Some(reply(columns, rows, 0))));
}

fn keys() {
    will_reply(&["user_id", "tier"], &[&[Cell::Int(42), Cell::Text("pro")], &[Cell::Int(43), Cell::Null]]);
}

/// The calls so far, as text: mode, statements with parameters, cursor and rows of a page.
fn sent() -> Vec<String> {
    let requests = fake::take_requests();
    let told = requests.iter().map(|bytes| {
        let request = Request::decode(bytes).unwrap();
        assert_eq!((request.resource, fake::function()), ("users", AGW_SQL));
        let call = request.sql.unwrap();
        let statements = call.statements.iter().map(|statement| {
            let params: Vec<_> = statement.params.map(|cell| format!("{:?}", cell.unwrap())).collect();
            format!(" {}{}({})", statement.name, statement.text, params.join(", "))
        });
        let statements: String = statements.collect();
        format!("{:?}{statements} {} {}", call.mode, call.cursor, call.page_rows)
    });
    told.collect()
}

crate::row! {
    #[derive(Debug, PartialEq)]
    struct Key {
        r#type: String,
        user_id: i64,
    }
}

#[test]
fn a_handle_asks_nobody_and_what_is_empty_is_refused() {
    assert!(matches!(crate::sql(""), Err(Error::Invalid(_))));
    assert!(matches!(users().named("").execute(), Err(Error::Invalid(_))));
    assert!(matches!(users().statement("").start_execute(), Err(Error::Invalid(_))));
    assert!(matches!(users().batch().run(), Err(Error::Invalid(_))));
    assert!(matches!(users().batch().start(), Err(Error::Invalid(_))));
    let bad = users().named("n").bind(Decimal("1; DROP TABLE users")).bind(1);
    assert!(matches!(bad.execute(), Err(Error::Invalid(_))));
    assert!(matches!(users().batch().then(bad).run(), Err(Error::Invalid(_))));
    assert!(fake::take_requests().is_empty());
}

#[test]
fn a_host_without_agw_shows_at_the_first_call() {
    fake::will_answer(Err(Status::NotFound));
    assert_eq!(users().named("find").query::<(i64,)>(), Err(Error::Unsupported));
    for answer in [Answer::Resp(b"+OK\r\n"), Answer::CallId(1)] {
        fake::will_respond(Response { answer, lease: 0 });
        assert!(matches!(users().named("find").rows(), Err(Error::Host(_))));
    }
}

#[test]
fn what_the_server_refused_can_be_told_apart() {
    let taken = CallError::new(Code::Server, "unique violation").server_code("23505");
    fake::will_fail(taken.kind(Kind::UniqueViolation).server_errno(2067));
    let error = users().named("add").execute().unwrap_err();
    assert_eq!(error.kind(), Some(Kind::UniqueViolation));
    assert_eq!(error.to_string(), "server: 23505: unique violation");
    assert!(matches!(error, Error::Server { errno: 2067, .. }));
}

#[test]
fn a_missing_column_and_a_wrong_type_say_which_and_where() {
    keys();
    let rows = users().named("find").rows().unwrap();
    let row = rows.iter().nth(1).unwrap();
    let said = |error: Error| error.to_string();
    assert_eq!(
        said(row.get::<i64>("user").unwrap_err()),
        "no_column: wanted \"user\", found \"user_id\", \"tier\""
    );
    assert_eq!(
        said(row.get::<i64>(2).unwrap_err()),
        "no_column: wanted column 2, found \"user_id\", \"tier\""
    );
    assert_eq!(
        said(row.get::<&str>("tier").unwrap_err()),
        "wrong_type: column \"tier\" of row 1: expected text, found NULL"
    );
    assert_eq!(
        said(row.get::<u8>(0).and_then(|_| row.get::<i8>(1).map(|_| ())).unwrap_err()),
        "wrong_type: column \"tier\" of row 1: expected an integer that fits i8, found NULL"
    );
    let pair = rows.all::<(i64, String)>().unwrap_err();
    assert_eq!(said(pair), "wrong_type: column \"tier\" of row 1: expected text, found NULL");
    let three = rows.all::<(i64, String, i64)>().unwrap_err();
    assert_eq!(said(three), "no_column: wanted 3 columns, found \"user_id\", \"tier\"");
    assert!(matches!(rows.all::<(i64,)>(), Err(Error::NoColumn { .. })), "none is left out silently");
    assert_eq!(
        said(row.read::<Key>().unwrap_err()),
        "no_column: wanted \"type\", found \"user_id\", \"tier\""
    );
}

#[test]
fn rows_are_read_in_place() {
    keys();
    let rows = users().named("find").bind("ab12").bind(7).rows().unwrap();
    assert_eq!(sent(), ["Query find(Text(\"ab12\"), Int(7)) 0 0"]);
    let tiers: Vec<Option<&str>> = rows.iter().map(|row| row.get("tier").unwrap()).collect();
    assert_eq!(tiers, [Some("pro"), None]);
    assert_eq!((rows.len(), rows.is_empty()), (2, false));
    assert_eq!(rows.columns().map(|column| column.name).collect::<Vec<_>>(), ["user_id", "tier"]);
    let first = rows.iter().next().unwrap();
    assert_eq!((first.get(0), first.get("user_id")), (Ok(42u8), Ok(Cell::Int(42))));
}

#[test]
fn rows_become_tuples_and_structs() {
    keys();
    let all = users().statement("SELECT 1").query();
    assert_eq!(all, Ok(vec![(42i64, Some("pro".to_owned())), (43, None)]));
    will_reply(&["user_id", "more", "type"], &[&[Cell::Int(1), Cell::Null, Cell::Text("x")]]);
    let key = users().named("find").bind(None::<i64>).query_optional();
    assert_eq!(key, Ok(Some(Key { r#type: "x".into(), user_id: 1 })));
    will_reply(&["user_id"], &[]);
    assert_eq!(users().named("find").query_optional::<Key>(), Ok(None));
    will_reply(&["n"], &[&[Cell::Int(3)]]);
    assert_eq!(users().named("count").query_one(), Ok((3u64,)));
    let calls = [
        "Query SELECT 1() 0 0",
        "QueryOptional find(Null) 0 0",
        "QueryOptional find() 0 0",
        "QueryOne count() 0 0",
    ];
    assert_eq!(sent(), calls);
}

#[test]
fn a_host_that_sends_several_rows_for_one_is_not_believed() {
    for rows in [&[][..], &[&[Cell::Int(1)][..], &[Cell::Int(2)]]] {
        will_reply(&["n"], rows);
        let one = users().named("count").query_one::<(i64,)>();
        assert!(matches!(one, Err(Error::WrongType { expected: "one row", .. })), "{one:?}");
    }
    fake::will_answer(Ok(Some(response(b""))));
    assert!(matches!(users().named("count").rows(), Err(Error::Host(_))));
}

#[test]
fn a_change_tells_what_it_changed() {
    for (affected, id, last_insert_id) in [(3, 0, None), (1, 7, Some(7))] {
        let mut reply = ReplyWriter::new();
        reply.end_result(affected, id);
        fake::will_answer(Ok(Some(response(&reply.finish(0)))));
        assert_eq!(users().named("add").execute(), Ok(Executed { affected, last_insert_id }));
    }
}

#[test]
fn a_batch_is_one_call_with_a_result_for_each_statement() {
    let mut two = ReplyWriter::new();
    two.end_result(1, 9);
    result(&mut two, &["n"], &[&[Cell::Int(5)]]);
    let two = response(&two.finish(0));
    fake::will_answer(Ok(Some(two.clone())));
    let batch = users().batch().then(users().named("add").bind("x")).then(users().statement("SELECT 2"));
    let results = batch.run().unwrap();
    assert_eq!(sent(), ["Batch add(Text(\"x\")) SELECT 2() 0 0"]);
    assert_eq!(results.result(0).unwrap().executed().last_insert_id, Some(9));
    assert_eq!(results.result(1).unwrap().one(), Ok((5i64,)));
    assert!(matches!(results.result(2), Err(Error::Invalid(_))));
    fake::will_answer(Ok(Some(two)));
    let one = users().batch().then(users().named("add")).run();
    assert!(matches!(one, Err(Error::Host(_))), "a result too many");
}

#[test]
fn pages_follow_each_other_under_the_first_ones_columns() {
    fake::will_answer(Ok(Some(reply(&["n"], &[&[Cell::Int(1)], &[Cell::Int(2)]], 7))));
    fake::will_answer(Ok(Some(reply(&[], &[&[Cell::Int(3)]], 0))));
    let mut numbers = Vec::new();
    for page in users().named("all").bind(true).pages(2) {
        let page = page.unwrap();
        numbers.extend(page.iter().map(|row| row.get::<i64>("n").unwrap()));
    }
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(sent(), ["Page all(Bool(true)) 0 2", "Fetch 7 2"]);
}

#[test]
fn pages_that_are_dropped_are_closed_and_an_error_ends_them() {
    fake::will_answer(Ok(Some(reply(&["n"], &[&[Cell::Int(1)]], 7))));
    let mut pages = users().named("all").pages(1);
    assert!(pages.next().unwrap().is_ok());
    fake::will_answer(Ok(Some(response(b""))));
    drop(pages);
    assert_eq!(sent(), ["Page all() 0 1", "Close 7 0"]);

    fake::will_answer(Ok(Some(reply(&["n"], &[&[Cell::Int(1)]], 7))));
    fake::will_fail(CallError::new(Code::TimeoutIo, ""));
    let pages: Vec<_> = users().named("all").pages(1).collect();
    assert!(pages.len() == 2 && matches!(pages[1], Err(Error::Timeout(_))), "{pages:?}");
    assert_eq!(sent(), ["Page all() 0 1", "Fetch 7 1"], "the host has closed it");
    drop(users().named("all").pages(1));
    assert!(sent().is_empty());
}

#[test]
fn callback_style_gives_the_same_answers_later() {
    fake::will_respond(Response { answer: Answer::CallId(7), lease: 0 });
    let call = users().named("find").bind("x").start_query_optional::<(i64,)>().unwrap();
    assert!(call.matches(7) && !call.matches(8) && call.number() == 7);
    let request = fake::take_requests().remove(0);
    let request = Request::decode(&request).unwrap();
    assert_eq!((request.style, request.sql.unwrap().mode), (Style::Callback, Mode::QueryOptional));
    will_reply(&["n"], &[&[Cell::Int(3)]]);
    assert_eq!(call.answer(usize::MAX), Ok(Some((3,))));

    fake::will_fail(CallError::new(Code::Overloaded, ""));
    assert!(matches!(users().named("find").start_execute(), Err(Error::Overloaded(_))));
    fake::will_answer(Ok(Some(response(b""))));
    assert!(matches!(users().named("find").start_rows(), Err(Error::Host(_))));
}

#[test]
fn a_started_call_can_be_given_up() {
    fake::will_respond(Response { answer: Answer::CallId(7), lease: 0 });
    let call = users().named("find").start_rows().unwrap();
    fake::take_requests();
    fake::will_respond(Response { answer: Answer::CallId(7), lease: 0 });
    assert_eq!(call.cancel(), Ok(()));
    assert_eq!(Request::decode(&fake::take_requests()[0]).unwrap(), Request::cancel(7));
    assert_eq!(fake::function(), AGW_SQL);
    let cancelled = Response::from(CallError::new(Code::Cancelled, "")).encode();
    assert!(matches!(call.decode(&cancelled), Err(Error::Cancelled(_))));
}

#[test]
fn pages_come_in_callback_style_too() {
    fake::will_respond(Response { answer: Answer::CallId(1), lease: 0 });
    let call = users().named("all").start_page(2).unwrap();
    fake::will_answer(Ok(Some(reply(&["n"], &[&[Cell::Int(1)]], 9))));
    let cursor = call.answer(usize::MAX).unwrap().cursor.unwrap();
    fake::will_respond(Response { answer: Answer::CallId(2), lease: 0 });
    let call = cursor.start(&users(), 3).unwrap();
    fake::will_answer(Ok(Some(reply(&[], &[&[Cell::Int(2)]], 9))));
    let page = call.answer(usize::MAX).unwrap();
    assert_eq!(page.rows.iter().next().unwrap().get("n"), Ok(2i64));
    fake::will_respond(Response { answer: Answer::CallId(3), lease: 0 });
    page.cursor.unwrap().close(&users()).unwrap();
    assert_eq!(sent(), ["Page all() 0 2", "Fetch 9 3", "Close 9 0"]);
}

#[test]
fn a_deadline_is_rounded_up_and_never_nothing() {
    let deadline_ms = |deadline| {
        keys();
        users().deadline(deadline).named("find").rows().unwrap();
        Request::decode(&fake::take_requests().remove(0)).unwrap().deadline_ms
    };
    assert_eq!(deadline_ms(Duration::ZERO), 1);
    assert_eq!(deadline_ms(Duration::from_micros(1500)), 2);
    assert_eq!(deadline_ms(Duration::MAX), u32::MAX);
}

#[test]
fn an_answer_cut_or_changed_at_any_byte_is_no_panic() {
    let whole = reply(&["user_id", "tier"], &[&[Cell::Int(42), Cell::Text("pro")]], 0);
    for end in 0..whole.len() {
        fake::will_answer(Ok(Some(whole[..end].to_vec())));
        let cut = users().named("find").query::<(i64, String)>();
        assert!(cut.is_err(), "cut at {end}: {cut:?}");
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] = value;
            fake::will_answer(Ok(Some(changed)));
            if let Ok(rows) = users().named("find").rows() {
                for row in &rows {
                    let _ = (row.get::<i64>("user_id"), row.get::<&str>(1), row.read::<(i64, String)>());
                }
            }
        }
    }
}

#[test]
fn a_row_with_too_few_or_broken_cells_is_the_hosts_fault() {
    let mut writer = ReplyWriter::new();
    writer.column(&Column { name: "a", ..Column::default() });
    put_cell(writer.row(), Cell::Text("whole"));
    writer.row().extend_from_slice(&[7, 200]);
    writer.end_row();
    writer.end_result(0, 0);
    fake::will_answer(Ok(Some(response(&writer.finish(0)))));
    let rows = users().named("find").rows().unwrap();
    let row = rows.iter().next().unwrap();
    assert_eq!(row.get("a"), Ok("whole"));
    assert!(matches!(row.get::<&str>(1), Err(Error::Host(_))));
}
