use anyhow::Result;

use super::Place;

#[test]
fn a_file_that_is_not_there_yet_is_not_made() -> Result<()> {
    let resource = "type: sqlite\nurl: sqlite://new.db\nschema: { source: 'CREATE TABLE t (n)' }\n\
                    grants: [{ plugin: p, ad_hoc: true, read_only: true }]";
    let place = Place::new(resource, &[])?;
    let said = place.test()?;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(said.lines("notes")[0].starts_with("there is no file yet"), "{}", said.text);
    assert!(!place.folder.path().join("new.db").exists());
    Ok(())
}

#[test]
fn a_file_that_is_no_database_is_an_error() -> Result<()> {
    let resource =
        "type: sqlite\nurl: sqlite://no.db\ngrants: [{ plugin: p, ad_hoc: true, read_only: true }]";
    let said = Place::new(resource, &[("no.db", &"x".repeat(5000))])?.test()?;
    assert_eq!(said.code, Some(1));
    assert!(said.word("error").starts_with("the database cannot be used: "), "{}", said.text);
    Ok(())
}

#[test]
fn a_database_in_memory_takes_its_schema_and_its_statements() -> Result<()> {
    let resource = "type: sqlite\nurl: 'sqlite::memory:'\nschema: { source: 'CREATE TABLE t (n)' }\n\
                    statements: { good: 'SELECT n FROM t', bad: 'SELECT m FROM t' }\n\
                    grants: [{ plugin: p, statements: [good] }]";
    let place = Place::new(resource, &[])?;
    let said = place.test()?;
    said.assert_reached();
    assert_eq!(said.code, Some(1));
    assert_eq!(said.lines("refused"), ["statements.bad: no such column: m in SELECT m FROM t at offset 7"]);
    place.write(&resource.replace("bad: 'SELECT m", "bad: 'SELECT n"))?;
    let said = place.test()?;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(said.word("server").starts_with("SQLite 3."), "{}", said.text);
    Ok(())
}
