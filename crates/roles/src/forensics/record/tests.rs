//! What is promised of a record's bytes, and a typical record for other tests.
//!
//! Not here: chains of records.

#![allow(clippy::print_stdout, reason = "a test prints the size of a typical record")]

use proptest::prelude::*;

use super::*;
use crate::forensics::FeatureSet;

fn names(names: impl IntoIterator<Item = String>) -> Vec<String> {
    names.into_iter().collect()
}

/// The names of [`typical`].
pub(crate) fn typical_set() -> FeatureSet {
    let features = names((0..20).map(|n| format!("feature_{n:02}")));
    let regimes = names(["bear", "bull", "sideways"].map(String::from));
    let specialists = names(["bear_specialist", "bull_specialist", "sideways_specialist"].map(String::from));
    let checks = names(["concentration_ok", "correlation_ok", "position_limit_ok"].map(String::from));
    FeatureSet::new(features, regimes, specialists, checks).unwrap()
}

/// A record of 20 features, one of them missing, and three specialists.
pub(crate) fn typical(chain: u32, index: u64) -> Record {
    let specialist = |version: &str, weight, margin| Specialist { version: version.into(), weight, margin };
    let feature = |n: u32| Feature {
        value: (n != 7).then_some(f64::from(n) / 3.0),
        contribution: (f64::from(n) - 9.4) as f32 * 0.031,
    };
    let features: Vec<Feature> = (0..20).map(feature).collect();
    let sum: f64 = features.iter().map(|feature| f64::from(feature.contribution)).sum();
    Record {
        chain,
        index,
        feature_set: typical_set().id(),
        decision_id: format!("550e8400-e29b-41d4-a716-{index:012x}"),
        correlation_id: Some("a50e8400-e29b-41d4-a716-446655440001".into()),
        time: Timestamp::from_micros(1_761_057_000_000_000 + index as i64),
        account: Some("ACC-1".into()),
        symbol: "BTCUSDT".into(),
        action: Action::Buy,
        outcome: Outcome::Accepted,
        quantity: Decimal::new(125, 3),
        position_before: Some(Decimal::new(-25, 1)),
        confidence: 0.535,
        reasons: vec![],
        regime_probs: vec![0.15, 0.65, 0.2],
        specialists: vec![specialist("v90", 0.1, -0.4), specialist("v127", 0.6, 0.3), specialist("v44", 0.3, 0.02)],
        checks: vec![true, true, true],
        base: -0.12,
        margin: -0.12 + sum,
        features,
        previous: (index > 0).then(|| Previous {
            index: index - 1,
            action: Action::Hold,
            margin: 0.01,
            regime_probs: vec![0.17, 0.61, 0.22],
            weights: vec![0.1, 0.5, 0.4],
            moved: vec![Moved { feature: 3, before: 0.2 }, Moved { feature: 19, before: -0.1 }],
        }),
        failed_checks: Vec::new(),
        signal: None,
    }
}

fn bytes_of(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.write(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_typical_record_comes_back_and_its_size_is_printed() {
    let mut record = typical(3, 1_042);
    let doubles = bytes_of(&record);
    assert_eq!(Record::read(&doubles).unwrap(), record);
    record.features.iter_mut().for_each(|feature| feature.value = feature.value.map(|value| f64::from(value as f32)));
    let singles = bytes_of(&record);
    assert_eq!(Record::read(&singles).unwrap(), record);
    println!(
        "20 features, 3 specialists: {} bytes with values of f64, {} with values that f32 holds exactly",
        doubles.len(),
        singles.len()
    );
    assert_eq!(doubles.len() - singles.len(), 19 * 4 - exact_in_f32());
}

/// How many bytes the typical values save already: every third is whole.
fn exact_in_f32() -> usize {
    (0..20).filter(|n| *n != 7 && n % 3 == 0).count() * 4
}

#[test]
fn a_record_is_of_the_second_version_only_where_it_has_more_than_the_first() {
    let mut record = typical(0, 3);
    assert_eq!(bytes_of(&record)[0], VERSION);
    record.checks[1] = false;
    assert_eq!(bytes_of(&record)[0], VERSION);
    record.failed_checks = vec![FailedCheck { check: 1, value: Decimal::new(12, 1), limit: Decimal::ONE }];
    record.signal = Some(AskingSignal { strategy_id: "sma".into(), action: Action::Sell, confidence: None });
    let bytes = bytes_of(&record);
    assert_eq!((bytes[0], Record::read(&bytes)), (WITH_MORE, Ok(record.clone())));
    record.failed_checks[0].check = 0;
    let error = record.write(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("failed_checks are not checks that failed"), "{error}");
}

#[test]
fn a_number_that_is_not_finite_is_refused_by_name_and_nothing_is_written() {
    let mut record = typical(0, 0);
    record.features[4].contribution = f32::NAN;
    let mut out = vec![1, 2, 3];
    let error = record.write(&mut out).unwrap_err();
    assert_eq!(error.to_string(), "the record cannot be kept: a contribution is not finite");
    assert_eq!(out, [1, 2, 3]);
}

#[test]
fn a_later_version_and_bytes_that_go_on_are_refused() {
    let mut bytes = bytes_of(&typical(0, 5));
    bytes.push(0);
    let error = Record::read(&bytes).unwrap_err();
    assert!(error.to_string().contains("bytes after its end in the end"), "{error}");
    bytes[0] = 7;
    assert_eq!(Record::read(&bytes), Err(RecordError::Version(7)));
    assert!(Record::read(&[]).is_err());
}

#[test]
fn the_additivity_error_is_that_of_the_numbers_as_they_are_kept() {
    let record = typical(0, 0);
    let back = Record::read(&bytes_of(&record)).unwrap();
    assert!(back.additivity_error() < 1e-12, "{}", back.additivity_error());
    let other = Record { margin: record.margin + 0.5, ..record };
    assert!((other.additivity_error() - 0.5).abs() < 1e-12);
}

#[test]
fn writing_into_a_buffer_that_is_large_enough_takes_no_memory() {
    let record = typical(3, 9);
    let mut out = Vec::with_capacity(bytes_of(&record).len());
    let (place, room) = (out.as_ptr(), out.capacity());
    record.write(&mut out).unwrap();
    assert_eq!((out.as_ptr(), out.capacity()), (place, room));
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9é-]{1,40}", any::<u128>().prop_map(|bits| uuid_like(bits, false)), {
        any::<u128>().prop_map(|bits| uuid_like(bits, true))
    }]
}

fn uuid_like(bits: u128, upper: bool) -> String {
    let hex = format!("{bits:032x}");
    let text = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    if upper { text.to_uppercase() } else { text }
}

fn decimal() -> impl Strategy<Value = Decimal> {
    ((-(1_i128 << 96) + 1)..(1 << 96), 0_u32..=28)
        .prop_map(|(digits, scale)| Decimal::from_i128_with_scale(digits, scale))
}

fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL,
        (-99_i32..99).prop_map(f64::from)
    ]
}

fn single() -> impl Strategy<Value = f32> {
    prop::num::f32::NORMAL | prop::num::f32::ZERO
}

prop_compose! {
    fn specialist()(version in id(), weight in finite(), margin in single()) -> Specialist {
        Specialist { version, weight, margin }
    }
}

prop_compose! {
    fn previous(regimes: usize, specialists: usize, features: usize)(
        back in 1_u64..5, action in action(), margin in single(),
        regime_probs in prop::collection::vec(single(), if regimes > 2 { 0 } else { regimes }),
        weights in prop::collection::vec(single(), specialists),
        moved in prop::collection::vec((0..features.max(1), single()), if features == 0 { 0..=0 } else { 0..=MAX_MOVED }),
    ) -> Previous {
        let moved = moved.into_iter().map(|(feature, before)| Moved { feature, before }).collect();
        Previous { index: back, action, margin, regime_probs, weights, moved }
    }
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Action::Buy), Just(Action::Sell), Just(Action::Hold)]
}

/// What a record lists, and the decision before it, whose lists are as long.
type Lists = (Vec<f64>, Vec<Specialist>, Vec<bool>, Vec<Feature>, Option<Previous>);

fn lists() -> impl Strategy<Value = Lists> {
    let feature =
        (prop::option::of(finite()), single()).prop_map(|(value, contribution)| Feature { value, contribution });
    (
        prop::collection::vec(finite(), 0..5),
        prop::collection::vec(specialist(), 0..4),
        prop::collection::vec(any::<bool>(), 0..20),
        prop::collection::vec(feature, 0..12),
    )
        .prop_flat_map(|(probs, specialists, checks, features)| {
            let previous = prop::option::of(previous(probs.len(), specialists.len(), features.len()));
            (Just(probs), Just(specialists), Just(checks), Just(features), previous)
        })
}

prop_compose! {
    pub(crate) fn any_record()(
        (regime_probs, specialists, checks, features, previous) in lists(),
        (chain, index, feature_set, time) in (any::<u32>(), 5_u64.., any::<[u8; 16]>(), any::<i64>()),
        (decision_id, symbol, account, correlation) in (id(), id(), prop::option::of(id()), prop::option::of(prop::option::of(id()))),
        (action, rejected, quantity, position_before) in (action(), any::<bool>(), decimal(), prop::option::of(decimal())),
        (confidence, base, margin) in (finite(), finite(), finite()),
        reasons in prop::collection::vec("[a-z_]{0,20}", 0..4),
        numbers in prop::collection::vec(prop::option::of((decimal(), decimal())), 20),
        signal in prop::option::of((id(), action(), prop::option::of(finite()))),
    ) -> Record {
        let outcome = if rejected { Outcome::Rejected } else { Outcome::Accepted };
        let correlation_id = correlation.map(|other| other.unwrap_or_else(|| decision_id.clone()));
        let time = Timestamp::from_micros(time);
        let failed = (0..).zip(numbers.into_iter().zip(&checks)).filter(|(_, (_, passed))| !**passed);
        let failed_checks = failed.filter_map(|(check, (numbers, _))| numbers.map(|(value, limit)| FailedCheck { check, value, limit })).collect();
        let signal = signal.map(|(strategy_id, action, confidence)| AskingSignal { strategy_id, action, confidence });
        let previous = previous.map(|previous| Previous { index: index - previous.index, ..previous });
        let feature_set = FeatureSetId(feature_set);
        Record {
            chain, index, feature_set, decision_id, correlation_id, time, account, symbol, action, outcome, quantity,
            position_before, confidence, reasons, regime_probs, specialists, checks, base, margin, features, previous,
            failed_checks, signal,
        }
    }
}

proptest! {
    #[test]
    fn any_record_comes_back_as_it_was(record in any_record()) {
        prop_assert_eq!(Record::read(&bytes_of(&record)).unwrap(), record);
    }

    #[test]
    fn a_record_cut_anywhere_is_an_error(record in any_record(), at in any::<prop::sample::Index>()) {
        let bytes = bytes_of(&record);
        prop_assert!(Record::read(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn any_bytes_are_a_record_that_gives_the_same_bytes_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(record) = Record::read(&bytes) {
            prop_assert_eq!(bytes_of(&record), bytes);
        }
    }

    #[test]
    fn a_record_with_bytes_changed_gives_the_same_bytes_or_an_error(
        record in any_record(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = bytes_of(&record);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(record) = Record::read(&bytes) {
            prop_assert_eq!(bytes_of(&record), bytes);
        }
    }
}
