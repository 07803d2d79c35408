use super::*;
use crate::results::sample::{measured, results};

fn verdict<'a>(verdicts: &'a [Verdict], what: &str) -> &'a Verdict {
    verdicts.iter().find(|verdict| verdict.what.starts_with(what)).unwrap()
}

#[test]
fn a_ratio_is_of_the_medians_and_its_range_of_the_rounds() {
    let rounds = [(1, 12.0, 10.0), (2, 11.0, 11.0), (3, 13.0, 9.0)];
    let measured = rounds.iter().flat_map(|(round, ours, theirs)| {
        [measured("agw", *round, *ours, 1.0), measured("nginx", *round, *theirs, 1.0)]
    });
    let verdicts = judge(&results(measured.collect()));
    let plain = verdict(&verdicts, "CPU per request, plain");
    assert_eq!(plain.outcome, Outcome::Met);
    let value = plain.value.unwrap();
    assert_eq!((value.median, value.min), (1.2, 1.0));
    assert!((value.max - 13.0 / 9.0).abs() < 1e-9);
}

#[test]
fn further_filters_share_what_they_add() {
    let all = [("agw", 10.0), ("agw-filter", 12.5), ("agw-filter-16", 42.5)];
    let verdicts = judge(&results(all.map(|(name, cpu)| measured(name, 1, cpu, 1.0)).to_vec()));
    assert_eq!(verdict(&verdicts, "CPU that the first filter adds").value.unwrap().median, 2.5);
    let further = verdict(&verdicts, "CPU that each further filter adds");
    assert_eq!((further.value.unwrap().median, further.outcome), (2.0, Outcome::Missed));
}

#[test]
fn every_target_has_a_verdict_and_what_is_missing_is_said() {
    let verdicts = judge(&results(vec![measured("agw", 1, 10.0, 1.0)]));
    let targets: Vec<char> = verdicts.iter().map(|verdict| verdict.target).collect();
    assert_eq!(targets, ['a', 'b', 'b', 'b', 'b', 'c', 'c', 'd', 'e']);
    assert!(verdicts.iter().all(|verdict| verdict.outcome == Outcome::NotMeasured));
}

#[test]
fn bounds_hold_at_the_bound_and_a_quarter_beyond_is_close() {
    let most = Bound::AtMost(2.0);
    assert_eq!(
        [1.0, 2.0, 2.4, 2.6, f64::NAN].map(|value| most.outcome(value)),
        [Outcome::Met, Outcome::Met, Outcome::Close, Outcome::Missed, Outcome::Missed]
    );
    let least = Bound::AtLeast(2.0);
    assert_eq!(
        [3.0, 2.0, 1.6, 1.4].map(|value| least.outcome(value)),
        [Outcome::Met, Outcome::Met, Outcome::Close, Outcome::Missed]
    );
}
