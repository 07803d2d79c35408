use agw_tests::{Script, Upstream};

use super::*;

#[test]
fn names_are_unique_and_an_unknown_one_is_answered_with_them() -> Result<()> {
    for subject in SUBJECTS {
        assert_eq!(Subject::named(subject.name)?.about, subject.about);
    }
    let error = Subject::named("agv").expect_err("there is no such subject");
    assert!(error.to_string().contains("agw-rate-limit"), "{error:#}");
    Ok(())
}

#[test]
fn a_subject_that_does_not_do_its_work_is_not_measured() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok(nginx::BODY))?;
    let around = Surroundings { upstream: upstream.address(), redis: None };
    let unfiltered = Subject { shows: FILTER_HEADERS, ..Subject::named("agw")? };
    let error = unfiltered.start(&around).expect_err("it has no filter");
    assert!(format!("{error:#}").contains("lacks the header x-served-by"), "{error:#}");

    let other = Upstream::start(|_| Script::ok("something else"))?;
    let around = Surroundings { upstream: other.address(), redis: None };
    let error = Subject::named("agw")?.start(&around).expect_err("it is another answer");
    assert!(format!("{error:#}").contains("was answered 200"), "{error:#}");
    Ok(())
}
