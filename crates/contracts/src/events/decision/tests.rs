//! That plain decisions are read as the general reader reads them, and the rest left to it.
//!
//! Not here: every refusal, which the contract's own tests hold.

use proptest::prelude::*;

use super::*;

const FULL: &str = include_str!("../../../fixtures/trading_decision/1.0/full.json");
const MINIMAL: &str = include_str!("../../../fixtures/trading_decision/1.0/minimal.json");

#[test]
fn what_we_write_is_read_plainly_and_as_the_general_reader_reads_it() {
    for text in [FULL, MINIMAL] {
        let general: TradingDecision = serde_json::from_str(text).unwrap();
        let written = serde_json::to_string(&general).unwrap();
        assert_eq!(TradingDecision::read_plain(&written), Some(general));
    }
    let mut more: TradingDecision = serde_json::from_str(FULL).unwrap();
    let numbers = |value, limit| CheckNumbers { value: Dec::parse(value).unwrap(), limit: Dec::parse(limit).unwrap() };
    more.risk_checks.insert("position_limit_ok", false);
    more.failed_checks.insert("position_limit_ok", numbers("1.2", "1"));
    for confidence in [None, Some(0.25)] {
        more.signal = Some(AskingSignal { strategy_id: "sma".into(), action: Action::Sell, confidence });
        let written = serde_json::to_string(&more).unwrap();
        assert!(written.contains(r#""failed_checks":{"position_limit_ok":{"value":1.2,"limit":1}}"#), "{written}");
        assert_eq!(serde_json::from_str::<TradingDecision>(&written).unwrap(), more);
        assert_eq!(TradingDecision::read_plain(&written).as_ref(), Some(&more));
        more.validate().unwrap();
    }
    more.failed_checks.insert("correlation_ok", numbers("1", "0.95"));
    assert_eq!(more.validate().unwrap_err().path, "$.failed_checks.correlation_ok");
}

#[test]
fn what_is_not_plain_is_left_to_the_general_reader() {
    let changes = [("\"symbol\"", "\"symbol\":\"A\",\"symbol\""), ("\"symbol\"", "\"new\":1,\"symbol\""), ("}", "} x")];
    for (from, to) in changes {
        assert_eq!(TradingDecision::read_plain(&MINIMAL.replacen(from, to, 1)), None, "{to}");
    }
    assert_eq!(TradingDecision::read_plain(&MINIMAL.replace("\"symbol\"", "\"symb\\u006fl\"")), None);
}

proptest! {
    #[test]
    fn a_body_that_is_read_plainly_is_what_the_general_reader_says(
        is_full in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[-0-9eE.,:{}\\[\\]\" \\\\antrufls]{0,2}", 0..3_usize), 0..3),
    ) {
        let general: TradingDecision = serde_json::from_str(if is_full { FULL } else { MINIMAL }).unwrap();
        let mut text = serde_json::to_string(&general).unwrap();
        for (at, new, gone) in edits {
            let at = at.index(text.len());
            let end = (at + gone).min(text.len());
            if text.is_char_boundary(at) && text.is_char_boundary(end) {
                text.replace_range(at..end, &new);
            }
        }
        if let Some(plain) = TradingDecision::read_plain(&text) {
            prop_assert_eq!(Some(plain), serde_json::from_str(&text).ok(), "{}", text);
        }
    }
}
