use super::*;
use crate::core::tensor::DataType;

fn pairs(ratios: impl IntoIterator<Item = f64>) -> Vec<Pair> {
    let candidate = Duration::from_millis(10);
    ratios.into_iter().map(|ratio| Pair { original: candidate.mul_f64(ratio), candidate }).collect()
}

#[test]
fn the_interval_of_a_median_is_that_of_the_tables() {
    // Conover, table of the binomial distribution: the ranks that leave at most 2.5 % on each side.
    for (count, rank) in [(6, 1), (8, 1), (9, 2), (20, 6), (50, 18), (100, 40)] {
        assert_eq!(low_rank(count), Some(rank), "{count}");
    }
    assert_eq!((low_rank(0), low_rank(5)), (None, None));
    // Where the normal distribution takes over there is no step.
    let (exact, normal) = (low_rank(MANY).unwrap(), low_rank(MANY + 1).unwrap());
    assert!(normal.abs_diff(exact) <= 1, "{exact} {normal}");
}

#[test]
fn a_few_disturbed_pairs_do_not_move_the_speed_up() {
    let steady = speedup(&pairs((0..40).map(|i| 2.0 + f64::from(i % 5) * 0.01))).unwrap();
    let disturbed =
        speedup(&pairs((0..40).map(|i| if i % 10 == 0 { 0.01 } else { 2.0 + f64::from(i % 5) * 0.01 }))).unwrap();
    assert!((steady.median - disturbed.median).abs() < 0.02 && disturbed.low >= 2.0, "{steady} {disturbed}");
    assert!(steady.low <= steady.median && steady.median <= steady.high);
    assert_eq!(steady.to_string(), "2.02 times as fast (2.01 to 2.03)");
}

#[test]
fn what_is_equally_fast_has_one_within_its_interval() {
    let around = |i: i32| 1.0 + 0.1 * f64::from((i * 7) % 11 - 5) / 5.0;
    let found = speedup(&pairs((0..60).map(around))).unwrap();
    assert!(found.low < 1.0 && found.high > 1.0, "{found}");
    assert_eq!(speedup(&pairs([2.0; 5])), None);
    assert_eq!(speedup(&[Pair { original: Duration::ZERO, candidate: Duration::ZERO }; 9]), None);
}

/// One that has nothing against it.
fn good() -> Measured {
    Measured {
        agreement: Some(0.99),
        agreement_text: "the same best class in 99 of 100 rows".to_owned(),
        agreement_target: 0.98,
        speedup: Some(Speedup { median: 2.0, low: 1.9, high: 2.1, pairs: 100 }),
        frames: 100,
        ..Measured::default()
    }
}

const BOUNDS: Bounds = Bounds { min_samples: 32, min_agreement: 0.0, min_speedup: 1.05 };

#[test]
fn one_that_is_right_and_faster_on_enough_frames_is_accepted() {
    assert_eq!(judge(&good(), &BOUNDS), Verdict::Accepted);
    assert_eq!(judge(&Measured { frames: 32, ..good() }, &BOUNDS), Verdict::Accepted);
}

#[test]
fn each_objection_is_told_in_words() {
    let slow = Speedup { median: 1.1, low: 1.0, high: 1.2, pairs: 100 };
    let cases: [(Measured, &str, &str); 8] = [
        (Measured { agreement: Some(0.97), ..good() }, "refused", "agrees to 97.00 %"),
        (Measured { agreement: Some(f64::NAN), ..good() }, "refused", "agrees to NaN %"),
        (Measured { speedup: Some(slow), ..good() }, "refused", "1.10 times as fast (1.00 to 1.20)"),
        (Measured { failed: Some((3, "no memory".to_owned())), ..good() }, "refused", "on 3 of the frames"),
        (Measured { speedup: None, cut_short: true, ..good() }, "unproven", "model.qualify.max_seconds"),
        (Measured { frames: 31, ..good() }, "unproven", "on 31 real frames, and 32"),
        (Measured { frames: 8, frames_used: 92, ..good() }, "unproven", "92 that quantising used left out"),
        (
            Measured { frames: 0, no_frames: Some("no folder".to_owned()), agreement: Some(0.1), ..good() },
            "unproven",
            "made-up inputs only (no folder)",
        ),
    ];
    for (measured, name, words) in cases {
        let verdict = judge(&measured, &BOUNDS);
        assert_eq!(verdict.name(), name, "{words}: {verdict:?}");
        assert!(verdict.objections().contains(words), "{}", verdict.objections());
    }
}

#[test]
fn all_that_stands_against_it_is_told_at_once() {
    let bad = Measured { agreement: Some(0.5), frames: 3, ..good() };
    let Verdict::Refused(all) = judge(&bad, &BOUNDS) else { panic!() };
    assert_eq!(all.len(), 2);
}

#[test]
fn one_that_is_slower_on_made_up_inputs_is_slower() {
    let slow = Speedup { median: 0.4, low: 0.3, high: 0.5, pairs: 60 };
    assert_eq!(judge(&Measured { frames: 0, speedup: Some(slow), ..good() }, &BOUNDS).name(), "refused");
    // Without a bound on frames made-up inputs prove nothing all the same.
    assert_eq!(judge(&Measured { frames: 0, ..good() }, &Bounds { min_samples: 0, ..BOUNDS }).name(), "unproven");
}

#[test]
fn a_bound_of_the_configuration_goes_before_that_of_the_kind() {
    let bounds = Bounds { min_agreement: 0.995, ..BOUNDS };
    assert_eq!(judge(&good(), &bounds).name(), "refused");
    assert_eq!(
        judge(&Measured { agreement: Some(0.96), ..good() }, &Bounds { min_agreement: 0.9, ..BOUNDS }),
        Verdict::Accepted
    );
}

fn key() -> Key {
    Key {
        original: "a".to_owned(),
        candidate: "b".to_owned(),
        runtime: "1.31.1".to_owned(),
        cpu: "x86_64 avx2".to_owned(),
        threads: 1,
        session: String::new(),
        samples: "c".to_owned(),
    }
}

#[test]
fn a_receipt_stands_for_its_key_only() {
    let stands = |wanted: &Key| stands(&key(), &good(), 60.0, wanted, 60.0);
    assert!(stands(&key()));
    let others = [
        Key { original: "x".to_owned(), ..key() },
        Key { candidate: "x".to_owned(), ..key() },
        Key { runtime: "x".to_owned(), ..key() },
        Key { cpu: "x".to_owned(), ..key() },
        Key { threads: 2, ..key() },
        Key { session: "x".to_owned(), ..key() },
        Key { samples: "x".to_owned(), ..key() },
    ];
    assert!(others.iter().all(|other| !stands(other)));
}

#[test]
fn one_that_was_cut_short_is_made_anew_with_more_time() {
    let short = Measured { cut_short: true, ..good() };
    assert!(stands(&key(), &short, 60.0, &key(), 60.0) && !stands(&key(), &short, 60.0, &key(), 90.0));
    assert!(stands(&key(), &good(), 60.0, &key(), 90.0));
}

fn spec(name: &str, datatype: DataType, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), datatype, shape: shape.to_vec(), optional: false }
}

#[test]
fn a_candidate_takes_and_gives_what_the_original_does() {
    let model = |input: TensorSpec, output: TensorSpec| ModelSpec {
        inputs: vec![input],
        outputs: vec![output],
        ..ModelSpec::default()
    };
    let (x, y) = (spec("x", DataType::Fp32, &[-1, 3]), spec("y", DataType::Fp32, &[-1, 10]));
    let original = model(x.clone(), y.clone());
    assert_eq!(same_interface(&original, &original), Ok(()));
    // One that takes more than the original does is as good, and what an answer will be like need not be known beforehand.
    let fixed = model(spec("x", DataType::Fp32, &[1, 3]), y.clone());
    assert_eq!(same_interface(&fixed, &original), Ok(()));
    assert_eq!(same_interface(&original, &model(x.clone(), spec("y", DataType::Fp32, &[1, 10]))), Ok(()));
    assert_eq!(same_interface(&original, &model(x.clone(), spec("y", DataType::Fp32, &[-1, -1]))), Ok(()));
    let optional = TensorSpec { optional: true, ..spec("z", DataType::Fp32, &[1]) };
    let with_optional =
        ModelSpec { inputs: vec![x.clone(), optional], outputs: vec![y.clone()], ..ModelSpec::default() };
    assert_eq!(same_interface(&original, &with_optional), Ok(()));
    let more = ModelSpec {
        inputs: vec![x.clone(), spec("z", DataType::Fp32, &[1])],
        outputs: vec![y.clone()],
        ..ModelSpec::default()
    };
    assert!(same_interface(&with_optional, &more).unwrap_err().contains("wants an input 'z'"));
    for (other, words) in [
        (fixed, "[1, 3] instead of [-1, 3]"),
        (model(spec("in", DataType::Fp32, &[-1, 3]), y.clone()), "no input 'x'"),
        (model(spec("x", DataType::Uint8, &[-1, 3]), y.clone()), "another type"),
        (model(spec("x", DataType::Fp32, &[-1, 4]), y), "[-1, 4] instead of [-1, 3]"),
        (model(x, spec("out", DataType::Fp32, &[-1, 10])), "no output 'y'"),
        (more, "wants an input 'z'"),
    ] {
        assert!(same_interface(&original, &other).unwrap_err().contains(words), "{words}");
    }
}
