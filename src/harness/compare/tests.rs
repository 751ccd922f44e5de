//! Comparisons of made-up runs.

use super::*;
use crate::harness::report::samples;

fn outcome(name: &str, verdict: Verdict, seconds: f64) -> Outcome {
    Outcome { took: Duration::from_secs_f64(seconds), ..samples::outcome(name, verdict) }
}

fn failed(why: &str) -> Verdict {
    Verdict::Failed(why.to_owned())
}

fn skipped() -> Verdict {
    Verdict::Skipped("it is not there".to_owned())
}

/// The changes, with the names that have them.
fn changes(old: Vec<Outcome>, new: Vec<Outcome>) -> Vec<(Change, String)> {
    let comparison = Comparison::of(old, new, Slowness::default());
    comparison.differences.into_iter().map(|it| (it.change, it.name)).collect()
}

/// Would catch a difference that is told as another, or not at all, and one that is none.
#[test]
fn every_change() {
    use Verdict::Passed;
    let hung = || Verdict::Hung("x".to_owned());
    let cases = [
        (Some(Passed), Some(failed("x")), Some(Change::NowFailing)),
        (Some(skipped()), Some(hung()), Some(Change::NowFailing)),
        (Some(Passed), None, Some(Change::Gone)),
        (Some(failed("x")), None, Some(Change::Gone)),
        (Some(Passed), Some(Verdict::Stopped), Some(Change::Gone)),
        (None, Some(failed("x")), Some(Change::NewFailing)),
        (None, Some(Passed), Some(Change::New)),
        (None, Some(Verdict::Stopped), None),
        (Some(failed("x")), Some(failed("y")), Some(Change::FailsOtherwise)),
        (Some(failed("x")), Some(hung()), Some(Change::FailsOtherwise)),
        (Some(failed("x")), Some(failed("x")), None),
        (Some(failed("x")), Some(Passed), Some(Change::NowPassing)),
        (Some(failed("x")), Some(skipped()), Some(Change::NowSkipped)),
        (Some(Passed), Some(skipped()), Some(Change::NowSkipped)),
        (Some(skipped()), Some(Passed), Some(Change::NoLongerSkipped)),
        (Some(Passed), Some(Passed), None),
    ];
    for (old, new, expected) in cases {
        let side = |verdict: &Option<Verdict>| {
            verdict.iter().map(|verdict| outcome("/a/m/t/c", verdict.clone(), 1.0)).collect()
        };
        let found = changes(side(&old), side(&new));
        let expected: Vec<_> = expected.map(|it| (it, "/a/m/t/c".to_owned())).into_iter().collect();
        assert_eq!(found, expected, "{old:?}, {new:?}");
    }
}

/// Would catch two builds whose emulators are taken for two different ones, or two emulators
/// for one.
#[test]
fn emulators_are_the_same_by_their_file_names() {
    let on = |emulator: &str, verdict| Outcome {
        emulator: emulator.to_owned(),
        ..outcome("/a/m/t/c", verdict, 1.0)
    };
    let old = vec![on("/old/qemu-a", Verdict::Passed), on("/old/qemu-b", failed("x"))];
    let new = vec![on("/new/qemu-b", failed("x")), on("/new/qemu-a", Verdict::Passed)];
    let comparison = Comparison::of(old, new, Slowness::default());
    assert_eq!((comparison.common, comparison.same), (2, 2));
    assert!(comparison.differences.is_empty());
    // Both runs have the same program twice.
    let twice = || vec![on("/one/q", Verdict::Passed), on("/two/q", Verdict::Passed)];
    assert_eq!(Comparison::of(twice(), twice(), Slowness::default()).common, 2);
}

/// Would catch a slower machine that is told as a slower path, and a slower path that is not
/// told.
#[test]
fn slower_than_the_others() {
    let run = |times: [f64; 4]| {
        let names = ["/a/m/t/1", "/a/m/t/2", "/a/m/t/3", "/a/m/t/4"].into_iter().zip(times);
        names.map(|(name, time)| outcome(name, Verdict::Passed, time)).collect()
    };
    let all = run([3.0, 30.0, 3.0, 0.3]);
    assert_eq!(changes(run([0.5, 5.0, 0.5, 0.05]), all), []);
    let one = changes(run([0.5, 5.0, 0.5, 0.05]), run([3.1, 5.0, 0.5, 0.9]));
    assert_eq!(one, [(Change::Slower, "/a/m/t/1".to_owned())]);
}

/// Would catch an order that changes from time to time, or hides what is grave.
#[test]
fn the_gravest_come_first() {
    let run = |verdicts: [Verdict; 3]| {
        let names = ["/a/m/t/3", "/a/m/t/2", "/a/m/t/1"].into_iter().zip(verdicts);
        names.map(|(name, verdict)| outcome(name, verdict, 1.0)).collect()
    };
    let (passed, failed) = (Verdict::Passed, failed("x"));
    let old = run([passed.clone(), failed.clone(), passed.clone()]);
    let new = run([failed.clone(), passed, failed]);
    let expected = [
        (Change::NowFailing, "/a/m/t/1".to_owned()),
        (Change::NowFailing, "/a/m/t/3".to_owned()),
        (Change::NowPassing, "/a/m/t/2".to_owned()),
    ];
    assert_eq!(changes(old, new), expected);
    assert!(Change::ALL.is_sorted());
    for change in Change::ALL {
        assert_eq!(serde_json::to_value(change).unwrap(), change.word());
    }
}

/// Would catch a register that answers otherwise and is not told, one that is told where the
/// other run did not look or twice, and a difference of answers that hides that a path fails now.
#[test]
fn registers_that_answer_otherwise_are_told() {
    let at = |bytes, offset| AnsweringRegister { region: "r".into(), bytes, offset };
    let answering = |verdict, answers: &[(u8, u64, u32, &str)]| {
        let of = |&(bytes, offset, count, text): &(u8, u64, u32, &str)| Answers {
            first: at(bytes, offset),
            count,
            text: text.to_owned(),
        };
        let answers = Some(answers.iter().map(of).collect());
        Outcome { answers, ..outcome("/arm/virt/x/answers", verdict, 1.0) }
    };
    let passed = |answers: &[(u8, u64, u32, &str)]| answering(Verdict::Passed, answers);
    let of = |new| {
        let old = passed(&[(4, 0, 4, "a"), (2, 0, 4, "b")]);
        Comparison::of(vec![old], vec![new], Slowness::default())
    };
    assert_eq!(of(passed(&[(4, 0, 1, "a"), (4, 4, 3, "a"), (2, 0, 4, "b")])).same, 1, "alike");
    let unlooked = Outcome { answers: None, ..passed(&[]) };
    assert_eq!(of(unlooked).same, 1, "nobody looked");
    assert_eq!(of(passed(&[])).count(Change::AnswersOtherwise), 1, "all registers are zero now");
    let new = [(4, 0, 1, "a"), (4, 4, 2, "c"), (4, 12, 1, "a"), (2, 0, 1, "b"), (2, 2, 3, "d")];
    let failing = of(answering(Verdict::Failed("x".into()), &new));
    assert_eq!(failing.differences[0].change, Change::NowFailing);
    let told = of(passed(&new));
    assert_eq!((told.same, told.count(Change::AnswersOtherwise)), (0, 1));
    let changed = |bytes, offset, count, old: Option<&str>, new: Option<&str>| Answers {
        first: at(bytes, offset),
        count,
        text: Otherwise { old: old.map(Into::into), new: new.map(Into::into) },
    };
    // What is at 4 and 6 is a part of what is at 4.
    let expected = [changed(2, 2, 1, Some("b"), Some("d")), changed(4, 4, 2, Some("a"), Some("c"))];
    assert_eq!(told.differences[0].answers, expected);
    let told = of(passed(&[(4, 0, 3, "a"), (4, 16, 1, "e"), (2, 0, 4, "b")]));
    let expected = [changed(4, 12, 1, Some("a"), None), changed(4, 16, 1, None, Some("e"))];
    assert_eq!(told.differences[0].answers, expected);
}
