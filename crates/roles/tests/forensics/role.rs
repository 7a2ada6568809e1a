//! What the role keeps, once, and what it sets aside.
//!
//! Not here: crashes, and the check of what is kept.

use tapedeck_roles::forensics::{FeatureSet, Head, Record};
use tapedeck_store::Explanations;

use crate::common::*;

#[test]
fn every_decision_of_the_demo_is_explained_once_and_adds_up() {
    let tape = Tape::new();
    let decisions = decisions(&tape.models, 400);
    tape.emit(&decisions);
    tape.settle();
    let rows = tape.rows();
    assert_eq!(rows.len(), decisions.len());
    for decision in &decisions {
        let row = tape.store.explained(decision.decision_id.as_str()).unwrap().unwrap();
        let record = Record::read(&row.record).unwrap();
        assert!(record.additivity_error() < 1e-5, "{}", record.additivity_error());
        let p = 1.0 / (1.0 + (-record.margin).exp());
        assert!((p.max(1.0 - p) - decision.confidence).abs() < 1e-6, "the margin is not the one that decided");
        let set = FeatureSet::from_bytes(&tape.store.feature_set(row.feature_set).unwrap().unwrap()).unwrap();
        assert!(set.is_of(decision));
        assert_eq!(
            (record.action, record.outcome, &record.symbol),
            (decision.action, decision.outcome, &decision.symbol)
        );
    }
    for chain in 0..PARTITIONS {
        let mut head = Head::start(chain);
        for row in tape.store.chain(chain, 0, 1_000).unwrap() {
            assert_eq!((row.index, head.push(&row.record).0), (head.records - 1, row.hash));
        }
    }
}
