//! The words of the contract as stores keep them: as text, or as the place in
//! their list.
//!
//! Not here: how they are written on the wire, which is the contract's.

use tapedeck_contracts::events::{
    Action, ExecType, Liquidity, OrderStatus, OrderType, Reason, Severity, Side, TimeInForce, decision::Outcome,
};

/// Words and their texts. Their places are stored: append, never reorder.
pub(crate) type Words<T> = [(T, &'static str)];

pub(crate) const EXEC_TYPES: &Words<ExecType> = &[
    (ExecType::New, "NEW"),
    (ExecType::Trade, "TRADE"),
    (ExecType::Canceled, "CANCELED"),
    (ExecType::Replaced, "REPLACED"),
    (ExecType::Rejected, "REJECTED"),
    (ExecType::Expired, "EXPIRED"),
    (ExecType::TradeCorrect, "TRADE_CORRECT"),
    (ExecType::TradeCancel, "TRADE_CANCEL"),
];
pub(crate) const STATUSES: &Words<OrderStatus> = &[
    (OrderStatus::New, "NEW"),
    (OrderStatus::PartiallyFilled, "PARTIALLY_FILLED"),
    (OrderStatus::Filled, "FILLED"),
    (OrderStatus::Canceled, "CANCELED"),
    (OrderStatus::Rejected, "REJECTED"),
    (OrderStatus::Expired, "EXPIRED"),
];
pub(crate) const SIDES: &Words<Side> = &[(Side::Buy, "BUY"), (Side::Sell, "SELL")];
pub(crate) const ORDER_TYPES: &Words<OrderType> = &[
    (OrderType::Market, "MARKET"),
    (OrderType::Limit, "LIMIT"),
    (OrderType::Stop, "STOP"),
    (OrderType::StopLimit, "STOP_LIMIT"),
];
pub(crate) const TIMES_IN_FORCE: &Words<TimeInForce> =
    &[(TimeInForce::Gtc, "GTC"), (TimeInForce::Day, "DAY"), (TimeInForce::Ioc, "IOC"), (TimeInForce::Fok, "FOK")];
pub(crate) const LIQUIDITIES: &Words<Liquidity> = &[(Liquidity::Maker, "MAKER"), (Liquidity::Taker, "TAKER")];
pub(crate) const SEVERITIES: &Words<Severity> = &[
    (Severity::Info, "INFO"),
    (Severity::Warning, "WARNING"),
    (Severity::Error, "ERROR"),
    (Severity::Critical, "CRITICAL"),
];
pub(crate) const ACTIONS: &Words<Action> = &[(Action::Buy, "BUY"), (Action::Sell, "SELL"), (Action::Hold, "HOLD")];
pub(crate) const OUTCOMES: &Words<Outcome> = &[(Outcome::Accepted, "accepted"), (Outcome::Rejected, "rejected")];

/// The place of a word in its list.
pub(crate) fn code<T: PartialEq>(words: &Words<T>, word: &T) -> i64 {
    let at = words.iter().position(|(known, _)| known == word);
    i64::try_from(at.expect("invariant: every word of the contract is listed")).expect("invariant: the lists are short")
}

/// The word at a place.
pub(crate) fn of_code<T: Copy>(words: &Words<T>, code: i64) -> Option<T> {
    usize::try_from(code).ok().and_then(|at| words.get(at)).map(|(word, _)| *word)
}

/// The text of a word.
pub(crate) fn text<T: PartialEq>(words: &Words<T>, word: &T) -> &'static str {
    let found = words.iter().find(|(known, _)| known == word);
    found.expect("invariant: every word of the contract is listed").1
}

/// The word of a text.
pub(crate) fn of_text<T: Copy>(words: &Words<T>, text: &str) -> Option<T> {
    words.iter().find(|(_, known)| *known == text).map(|(word, _)| *word)
}

/// The reason of a report as it is kept.
pub(crate) fn reason(reason: &Reason) -> String {
    serde_json::to_string(reason).unwrap_or_default()
}

/// The reason that was kept; none where nobody gave one.
pub(crate) fn reason_of(kept: Option<&str>) -> Option<Reason> {
    serde_json::from_str(kept?).ok()
}

/// Whether an order in this status is open.
pub(crate) fn is_open(status: OrderStatus) -> bool {
    matches!(status, OrderStatus::New | OrderStatus::PartiallyFilled)
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    fn assert_are_the_contracts<T: Serialize>(words: &Words<T>) {
        for (word, text) in words {
            assert_eq!(serde_json::to_value(word).unwrap(), *text);
        }
    }

    #[test]
    fn the_texts_are_those_of_the_contract() {
        assert_are_the_contracts(EXEC_TYPES);
        assert_are_the_contracts(STATUSES);
        assert_are_the_contracts(SIDES);
        assert_are_the_contracts(ORDER_TYPES);
        assert_are_the_contracts(TIMES_IN_FORCE);
        assert_are_the_contracts(LIQUIDITIES);
        assert_are_the_contracts(SEVERITIES);
        assert_are_the_contracts(ACTIONS);
        assert_are_the_contracts(OUTCOMES);
    }
}
