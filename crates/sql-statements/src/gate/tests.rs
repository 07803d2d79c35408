use proptest::prelude::*;

use super::*;

const ALL: [Dialect; 3] = [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite];

#[track_caller]
fn is_kind(text: &str, dialects: &[Dialect], kind: Kind) {
    for dialect in dialects {
        assert_eq!(check(text, *dialect), Ok(kind), "{dialect:?}: {text}");
    }
}

#[track_caller]
fn is_refused(text: &str, dialects: &[Dialect]) {
    for dialect in dialects {
        assert!(check(text, *dialect).is_err(), "{dialect:?} passes: {text}");
    }
}

#[test]
fn what_begins_with_a_reading_word_reads_whatever_stands_before_it() {
    for text in [
        "SELECT 1",
        "select 1;",
        "  \t\r\n\x0c\x0bSeLeCt 1 ; ;; -- done",
        "-- a\n/* b */ select 1",
        "/* DELETE FROM t; */ SELECT 1",
        "(SELECT 1) UNION (SELECT 2)",
        "((select 1))",
        "VALUES (1), (2)",
        "TABLE t",
        "WITH a AS (SELECT 1), b (x, y) AS (SELECT 2, 3) SELECT * FROM a, b",
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "WITH replace AS (SELECT 1), delete AS (SELECT 2) SELECT * FROM replace",
        "SELECT (replace(a, '-', '')), 'DELETE; DROP' FROM t WHERE x = ';' AND (update) IS NULL",
        "SELECT \"a;b\" FROM t",
        "SELECT 'it''s; fine'",
        "SELECT deleted, updated_at, inserted FROM t",
    ] {
        is_kind(text, &ALL, Kind::Reads);
    }
}

#[test]
fn writing_and_defining_statements_are_told_apart_from_reading_ones() {
    for text in [
        "UPDATE t SET a = 1 RETURNING a",
        "DELETE FROM t",
        "MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE",
        "WITH a AS (SELECT 1), b AS (SELECT 2) /* x */ DELETE FROM t",
        "/**/WITH a AS (SELECT 1)UPDATE t SET a = 1",
        "WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d",
        "WITH d AS ( /* quiet */ UPDATE t SET a = 1 RETURNING *) SELECT * FROM d",
        "WITH d AS (\x0bINSERT INTO t VALUES (1)) SELECT 1",
        "SELECT * INTO copy_of_t FROM t",
    ] {
        is_kind(text, &ALL, Kind::Writes);
    }
    for text in ["CREATE TABLE temp (a int)", "ALTER TABLE t ADD b int", "drop table t", "TRUNCATE t"] {
        is_kind(text, &ALL, Kind::Defines);
    }
    for text in [
        "INSERT INTO t VALUES (1)",
        "insert into \"t\" select * from u",
        "REPLACE INTO t VALUES (1)",
        "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
    ] {
        is_kind(text, &ALL, Kind::Inserts);
    }
    is_kind("INSERT INTO `t` VALUES (1)", &[Dialect::Mysql, Dialect::Sqlite], Kind::Inserts);
}

#[test]
fn a_second_statement_is_refused_wherever_it_hides() {
    for text in [
        "SELECT 1; DROP TABLE t",
        "SELECT 1;DROP TABLE t;",
        "SELECT 1;;;SELECT 2",
        "SELECT ';'; DELETE FROM t",
        "SELECT 1 /* ; */ ; DELETE FROM t",
        "SELECT 1 -- ;\n; DELETE FROM t",
        "SELECT ''';' ; DELETE FROM t",
        "SELECT \"\"\";\" ; DELETE FROM t",
        "VALUES (1); COMMIT",
    ] {
        is_refused(text, &ALL);
        assert!(matches!(check(text, Dialect::Sqlite), Err(Refusal::Several { .. })), "{text}");
    }
    assert_eq!(check("SELECT 1; SELECT 2", Dialect::Postgres), Err(Refusal::Several { at: 8 }));
}

#[test]
fn a_second_statement_is_refused_wherever_one_dialect_ends_a_literal_or_comment_earlier() {
    // A backslash is a character like others, so the quote behind it ends the literal.
    is_refused(r"SELECT '\'; DELETE FROM t --'", &[Dialect::Postgres, Dialect::Sqlite]);
    is_kind(r"SELECT '\'; DELETE FROM t --'", &[Dialect::Mysql], Kind::Reads);
    is_refused(r"SELECT '\\'; DELETE FROM t", &ALL);
    is_refused(r"SELECT e'\'' ; DELETE FROM t -- '", &[Dialect::Postgres]);
    is_refused("SELECT E'a'\n'\\'; DELETE FROM t --'", &[Dialect::Postgres]);
    // Comments nest in Postgres alone.
    is_refused("SELECT 1 /* /* */ ; DELETE FROM t -- */", &[Dialect::Mysql, Dialect::Sqlite]);
    is_kind("SELECT 1 /* /* */ ; DELETE FROM t */ */", &[Dialect::Postgres], Kind::Reads);
    // `--` needs a blank in MySQL, and ends at a carriage return in Postgres.
    is_refused("SELECT 1 --1 ; DELETE FROM t", &[Dialect::Mysql]);
    is_refused("SELECT 1 -- \r; DELETE FROM t", &[Dialect::Postgres]);
    // `#` begins a comment in MySQL alone.
    is_refused("SELECT 1 # \n; DELETE FROM t", &ALL);
    is_refused("SELECT 1 # ; DELETE FROM t", &[Dialect::Postgres, Dialect::Sqlite]);
    // Backquotes and brackets are quotes of some.
    is_refused("SELECT `;` ; DELETE FROM t", &ALL);
    is_refused("SELECT `; DELETE FROM t -- `", &[Dialect::Postgres]);
    is_refused("SELECT a[1]; DELETE FROM t", &ALL);
    is_refused("SELECT [; DELETE FROM t -- ]", &[Dialect::Postgres, Dialect::Mysql]);
    // Dollar quotes are Postgres'.
    is_refused("SELECT $$ ; DELETE FROM t -- $$", &[Dialect::Mysql, Dialect::Sqlite]);
    is_kind("SELECT $$ ; DELETE FROM t -- $$, $a$ $$ ; $a$, $1", &[Dialect::Postgres], Kind::Reads);
    is_refused("SELECT $a$ $a$ ; DELETE FROM t -- $a$", &[Dialect::Postgres]);
    is_refused("SELECT $1; DELETE FROM t -- $1$", &[Dialect::Postgres]);
    is_refused("SELECT 1$$ $$ ; DELETE FROM t -- $$ $$", &[Dialect::Postgres]);
    is_kind("SELECT a$$b FROM t", &[Dialect::Postgres], Kind::Reads);
}

#[test]
fn whatever_changes_a_session_or_leaves_the_database_is_refused_everywhere() {
    let words = "BEGIN START COMMIT ROLLBACK END ABORT SAVEPOINT RELEASE SET RESET DO CALL COPY LOAD PRAGMA ATTACH DETACH \
                 VACUUM ANALYZE REINDEX EXPLAIN SHOW USE LOCK UNLOCK PREPARE EXECUTE DEALLOCATE DECLARE FETCH CLOSE LISTEN \
                 UNLISTEN NOTIFY DISCARD GRANT REVOKE XA KILL FLUSH HANDLER INSTALL SHUTDOWN CHECKPOINT CLUSTER SECURITY \
                 REFRESH REASSIGN IMPORT HELP DESCRIBE DESC";
    for word in words.split_whitespace() {
        for text in [
            format!("{word} x"),
            word.to_lowercase(),
            format!("/* */ -- a\n {word}"),
            format!("{word};SELECT 1"),
            format!("({word})"),
        ] {
            is_refused(&text, &ALL);
        }
    }
    for text in ["SET TRANSACTION READ WRITE", "COPY t TO PROGRAM 'id'", "DO $$ BEGIN END $$"] {
        assert!(matches!(check(text, Dialect::Postgres), Err(Refusal::FirstWord { .. })), "{text}");
    }
}

#[test]
fn what_stays_with_the_connection_or_writes_files_is_refused() {
    for text in [
        "CREATE TEMP TABLE t (a int)",
        "CREATE OR REPLACE TEMPORARY VIEW v AS SELECT 1",
        "create /**/ local temporary table t (a int)",
        "DROP TEMPORARY TABLE t",
        "SELECT 1 INTO TEMP t",
        "SELECT 1 INTO OUTFILE '/tmp/x'",
        "SELECT 1 INTO/**/dumpfile '/tmp/x'",
        "WITH a AS (SELECT 1) SELECT * FROM a INTO OUTFILE '/tmp/x'",
    ] {
        is_refused(text, &ALL);
    }
    for text in [
        "SELECT 1 INTO @x",
        "SELECT 1 INTO /* a */ @x",
        "(SELECT 1 INTO @x)",
        "WITH a AS (SELECT 1) SELECT 2 INTO @x",
    ] {
        is_refused(text, &[Dialect::Mysql]);
    }
}

#[test]
fn a_comment_that_mysql_executes_is_refused_but_not_in_a_literal() {
    for text in [
        "/*!DELETE FROM t*/",
        "SELECT 1 /*!50000 INTO OUTFILE '/tmp/x' */",
        "/*M!100100 SET x = 1 */ SELECT 1",
        "SELECT 1 /* a */ /*! ; DROP TABLE t */",
    ] {
        is_refused(text, &[Dialect::Mysql]);
    }
    is_kind("SELECT '/*! x */' /*+ hint */ /* ! */", &[Dialect::Mysql], Kind::Reads);
}

#[test]
fn letters_that_only_look_alike_and_blanks_that_are_none_begin_no_statement() {
    for text in [
        "\u{feff}SELECT 1",
        "\u{a0}SELECT 1",
        "\u{2028}SELECT 1",
        "\u{200b}DELETE FROM t",
        "ＳＥＬＥＣＴ 1",
        "ſelect 1",
        "SELECT\u{a0}1",
        "SELECTX 1",
        "'SELECT' 1",
        "\"SELECT\" 1",
        ", SELECT 1",
        "@SELECT 1",
        "\\SELECT 1",
        "1 SELECT",
        "SELECT 1\0; DELETE FROM t",
    ] {
        is_refused(text, &ALL);
    }
}

#[test]
fn nothing_and_what_does_not_end_is_refused() {
    for text in [
        "",
        " ",
        ";",
        "-- x",
        "/* x */",
        "()",
        "(((",
        "(SELECT 1",
        "SELECT 1)",
        "SELECT )(",
        "WITH",
        "WITH a AS (SELECT 1)",
    ] {
        is_refused(text, &ALL);
    }
    for text in ["SELECT 'a", "SELECT \"a", "SELECT 'a''"] {
        assert!(matches!(check(text, Dialect::Sqlite), Err(Refusal::Unterminated { .. })), "{text}");
    }
    is_refused("SELECT 1 /* ", &[Dialect::Postgres, Dialect::Mysql]);
    is_kind("SELECT 1 /* ", &[Dialect::Sqlite], Kind::Reads);
    is_refused("SELECT $$a", &[Dialect::Postgres]);
    is_refused("SELECT [a", &[Dialect::Sqlite]);
}

#[test]
fn a_refusal_shows_no_more_of_a_statement_than_a_word() {
    let refusal = check("COMMIT; -- hunter2", Dialect::Postgres).unwrap_err();
    assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
    let refusal = check(&format!("{} x", "x".repeat(1000)), Dialect::Postgres).unwrap_err();
    assert!(refusal.to_string().len() < 250, "{refusal}");
    let refusal = check("\u{1b}[31mSELECT 1", Dialect::Postgres).unwrap_err();
    assert!(!refusal.to_string().contains('\u{1b}'), "{refusal}");
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("'"),
        Just("\""),
        Just("`"),
        Just("["),
        Just("]"),
        Just("$$"),
        Just("$a$"),
        Just("E'"),
        Just("\\"),
        Just("--"),
        Just("-- "),
        Just("/*"),
        Just("*/"),
        Just("#"),
        Just("\n"),
        Just("\r"),
        Just("("),
        Just(")"),
        Just(";"),
        Just(","),
        Just("SELECT "),
        Just(" DELETE "),
        Just("WITH "),
        Just(" INTO "),
        Just("1"),
        Just("é"),
        Just("/*!"),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_it_stumble_and_a_second_statement_never_passes(text in pieces()) {
        for dialect in ALL {
            let passes = check(&text, dialect).is_ok();
            // Whatever passes is over at its end: an added statement is seen for what it is.
            if passes && !text.contains(['#', '-', '/']) {
                let and_another = format!("{text};DELETE FROM t");
                prop_assert!(check(&and_another, dialect).is_err(), "{:?}: {}", dialect, and_another);
            }
        }
    }

    #[test]
    fn a_literal_hides_whatever_is_in_it(inner in ".{0,40}") {
        let inner = inner.replace('\0', "");
        let quoted = format!("SELECT '{}'", inner.replace('\\', "").replace('\'', "''"));
        for dialect in ALL {
            prop_assert_eq!(check(&quoted, dialect), Ok(Kind::Reads));
        }
    }
}
