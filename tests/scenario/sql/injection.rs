//! Values that look like SQL, bound to placeholders in every kind of statement.

use agw_tests::injection;
use anyhow::Result;

use super::asks::{Answer, Ask, count, outcomes};
use super::server::{KINDS, Kind, Server};
use super::{Size, World};
use crate::verdict::Verdict;

const SEED: u64 = 20_270_601;

pub(crate) fn run(verdict: &mut Verdict, size: Size) -> Result<()> {
    let payloads = size.of(10_000, 400);
    for kind in KINDS {
        let world = World::start(kind, 100)?;
        let before = world.server.fingerprint()?;
        let parts = kind.parts();
        println!("     seed {SEED}, for example {:?}", injection::payload(parts, SEED, 7));
        let ad_hoc = world.server.ad_hoc();
        let answers = world.ask(8, payloads, move |number| {
            let value = hex(&injection::payload(parts, SEED, number as u64));
            let path = ["/a/text/show", "/a/ad-hoc/show", "/a/text/find", "/a/text/keep", "/a/text/change"]
                [number % 5];
            Ask {
                path: path.to_owned(),
                headers: vec![("x-value", value), ("x-statement", ad_hoc.to_owned())],
                ..Ask::default()
            }
        })?;
        println!("     {:?}", outcomes(&answers));
        let failed = answers.len() - count(&answers, "ok");
        verdict.check("calls that failed", failed == 0, format!("{failed} of {}", answers.len()));
        let right = answers.iter().filter(|answer| came_back(answer, kind)).count();
        verdict.check("values that came back byte for byte, or found nothing", right == payloads, right);
        let after = world.server.fingerprint()?;
        verdict.check("tables, columns and rows are as before", before == after, after.replace('\n', " "));
        kept(&world.server, verdict, kind, payloads)?;
        world.nothing_is_lost(verdict)?;
    }
    Ok(())
}

/// What the answer has to be: the value itself, or no row where the statement finds none by it.
fn came_back(answer: &Answer, kind: Kind) -> bool {
    let value = injection::payload(kind.parts(), SEED, answer.number as u64);
    match answer.number % 5 {
        0 | 1 | 3 => answer.body == value,
        2 => answer.body == "0",
        _ => answer.body.is_empty(),
    }
}

/// What was to be kept is there, and nothing else.
fn kept(server: &Server, verdict: &mut Verdict, kind: Kind, payloads: usize) -> Result<()> {
    let mut expected: Vec<String> = (0..payloads)
        .filter(|number| number % 5 == 3)
        .map(|number| hex(&injection::payload(kind.parts(), SEED, number as u64)))
        .collect();
    expected.sort_unstable();
    let mut found: Vec<String> = server.inbox()?.lines().map(str::to_lowercase).collect();
    found.sort_unstable();
    verdict.check("rows that were inserted, each its own value", found == expected, found.len());
    Ok(())
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
