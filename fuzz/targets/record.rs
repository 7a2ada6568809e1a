//! The records of explained decisions and their names: any bytes are refused, or are a
//! record (a feature set) that gives the same bytes when it is written, since a chain of
//! hashes stands on them.
//!
//! Not here: the chain.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapedeck_contracts::{
    Timestamp,
    events::{
        Action,
        decision::{AskingSignal, Outcome},
    },
};
use tapedeck_fuzz::seed;
use tapedeck_roles::forensics::{FailedCheck, Feature, FeatureSet, Moved, Previous, Record, Specialist};

/// Which of the two the bytes are read as stands before them.
const RECORD: u8 = 0;

/// A record with one of everything.
fn whole() -> Record {
    Record {
        chain: 3,
        index: 300,
        decision_id: "550e8400-e29b-41d4-a716-446655440000".into(),
        correlation_id: Some("any text".into()),
        time: Timestamp::from_micros(1_761_057_000_123_456),
        account: Some("ACC-1".into()),
        symbol: "BTCUSDT".into(),
        action: Action::Sell,
        outcome: Outcome::Rejected,
        quantity: "0.125".parse().expect("a decimal"),
        position_before: Some("-2.5".parse().expect("a decimal")),
        confidence: 0.535,
        reasons: vec!["below_lot".into()],
        regime_probs: vec![0.25, 0.75],
        specialists: vec![Specialist { version: "v127".into(), weight: 1.0, margin: 0.5 }],
        checks: vec![true, false, true],
        base: -0.125,
        margin: 0.5,
        features: vec![
            Feature { value: None, contribution: 0.5 },
            Feature { value: Some(0.5), contribution: 0.25 },
            Feature { value: Some(0.1), contribution: -0.125 },
        ],
        previous: Some(Previous {
            index: 299,
            action: Action::Hold,
            margin: 0.25,
            regime_probs: vec![0.5, 0.5],
            weights: vec![1.0],
            moved: vec![Moved { feature: 2, before: 0.5 }],
        }),
        failed_checks: vec![FailedCheck {
            check: 1,
            value: "1.2".parse().expect("a decimal"),
            limit: "1".parse().expect("a decimal"),
        }],
        signal: Some(AskingSignal { strategy_id: "sma".into(), action: Action::Buy, confidence: Some(0.75) }),
        ..Record::default()
    }
}

fn samples() -> Vec<Vec<u8>> {
    let mut plain = whole();
    (plain.correlation_id, plain.account, plain.position_before, plain.previous) = (None, None, None, None);
    (plain.failed_checks, plain.signal) = (Vec::new(), None);
    let record = |record: &Record| {
        let mut bytes = Vec::new();
        record.write(&mut bytes).expect("it is whole");
        [&[RECORD], bytes.as_slice()].concat()
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let set = FeatureSet::new(names(&["macd", "rsi"]), names(&["bull"]), names(&["bull_specialist"]), names(&["ok"]));
    let set = [&[RECORD + 1], set.expect("they are in order").to_bytes().as_slice()].concat();
    vec![record(&whole()), record(&plain), set]
}

fuzz_target!(
    init: seed(samples()),
    |input: &[u8]| {
        let Some((what, bytes)) = input.split_first() else { return };
        if *what == RECORD {
            if let Ok(record) = Record::read(bytes) {
                let mut again = Vec::new();
                record.write(&mut again).expect("what was read can be written");
                assert_eq!(again, bytes, "a record has one form");
                assert!(!record.additivity_error().is_nan());
            }
        } else if let Ok(set) = FeatureSet::from_bytes(bytes) {
            assert_eq!(set.to_bytes(), bytes, "a set has one form");
        }
    }
);
