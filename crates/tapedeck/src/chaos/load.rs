//! The events of the load: each is named by its key and its number there, and all
//! else follows from that name, so that the ledger need keep no more of it.
//!
//! Not here: sending them (`drive`), and what became of them (`ledger`).

use serde_json::{Value, json};
use tapedeck_contracts::ids::NAMESPACE;
use uuid::Uuid;

/// Alerts are sent under keys that begin so; all others are execution reports.
const ALERTS: char = 'A';
pub(crate) const REPORTS_TOPIC: &str = "exec.reports.v1";
pub(crate) const ALERTS_TOPIC: &str = "alerts.v1";

/// What a client asks to be told: that an event is in the log, or that it is kept
/// to be sent there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Ack {
    Log,
    Spool,
}

impl Ack {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Spool => "spool",
        }
    }
}

/// An event by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    /// The key: a symbol of reports, or a line of alerts.
    pub(crate) key: String,
    /// Its number under the key, from 1 without gaps.
    pub(crate) n: u64,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.key, self.n)
    }
}

impl Name {
    pub(crate) fn new(key: &str, n: u64) -> Self {
        Self { key: key.to_owned(), n }
    }

    /// Reads `KEY-N`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (key, n) = text.rsplit_once('-')?;
        Some(Self { key: key.to_owned(), n: n.parse().ok()? })
    }

    /// Whether it is an alert.
    pub(crate) fn is_alert(&self) -> bool {
        self.key.starts_with(ALERTS)
    }

    /// The id of the event in a run.
    pub(crate) fn event_id(&self, run: &str) -> String {
        Uuid::new_v5(&NAMESPACE, format!("{run}/{self}").as_bytes()).to_string()
    }
}

/// What is wrong with an event that its readers must set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Poison {
    /// The fill of another event, with other contents.
    ChangedFill(Name),
    /// A number that no store can hold.
    HugeNumber,
}

/// A run of the load: who sends, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Its name; its account is named after it.
    pub(crate) id: String,
    /// The time that all its events carry: lists sort by time first, and so show
    /// the order in which events of one time came in.
    pub(crate) time: String,
}

impl Run {
    pub(crate) fn account(&self) -> String {
        format!("CHAOS-{}", self.id)
    }

    /// The body of an event.
    pub(crate) fn body(&self, name: &Name, poison: Option<&Poison>) -> Value {
        if name.is_alert() { self.alert(name) } else { self.report(name, poison) }
    }

    fn alert(&self, name: &Name) -> Value {
        json!({
            "event_id": name.event_id(&self.id), "timestamp": self.time, "severity": "INFO", "code": "REHEARSAL",
            "message": name.to_string(), "context": {}, "source": "chaos", "account": self.account(), "decision_id": null,
        })
    }

    /// A whole fill of an order of its own.
    fn report(&self, name: &Name, poison: Option<&Poison>) -> Value {
        let price = format!("{}.{:02}", 100 + name.n % 50, name.n % 100);
        let fill_id = match poison {
            Some(Poison::ChangedFill(of)) => of.to_string(),
            _ => name.to_string(),
        };
        let mut body = json!({
            "event_id": name.event_id(&self.id), "schema_version": "1.0", "timestamp": self.time,
            "account": self.account(), "venue": "CHAOS", "symbol": name.key, "exec_type": "TRADE",
            "decision_id": null, "strategy_id": null,
            "order": {
                "order_id": name.to_string(), "client_order_id": name.to_string(), "side": "BUY", "type": "MARKET",
                "quantity": "1", "limit_price": null, "time_in_force": "GTC", "status": "FILLED", "cum_qty": "1",
                "leaves_qty": "0", "avg_px": price,
            },
            "fill": { "fill_id": fill_id, "last_qty": "1", "last_px": price, "liquidity": "TAKER" },
            "costs": { "commission": "0.1", "currency": "USD", "slippage_bps": 0.4 },
            "pnl": { "realized": "0", "unrealized": "0" },
        });
        if poison == Some(&Poison::HugeNumber) {
            body["fill"]["execution_number"] = json!(u64::MAX - name.n);
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use tapedeck_contracts::{Event, EventKind};

    use super::*;

    fn run() -> Run {
        Run { id: "r1".into(), time: "2026-01-02T03:04:05Z".into() }
    }

    #[test]
    fn every_event_of_the_load_passes_the_door() {
        let text = |value: Value| serde_json::to_vec(&value).unwrap();
        let report = Name::new("L03", 17);
        for poison in [None, Some(Poison::ChangedFill(Name::new("L03", 16))), Some(Poison::HugeNumber)] {
            Event::decode(EventKind::ExecutionReport, &text(run().body(&report, poison.as_ref()))).unwrap();
        }
        Event::decode(EventKind::Alert, &text(run().body(&Name::new("A00", 1), None))).unwrap();
    }

    #[test]
    fn a_name_is_read_back_and_its_id_is_of_its_run() {
        let name = Name::new("P01", 1_234);
        assert_eq!(Name::read(&name.to_string()), Some(name.clone()));
        assert_eq!(name.event_id("a"), name.event_id("a"));
        assert_ne!(name.event_id("a"), name.event_id("b"));
        assert_eq!(Name::read("P01"), None);
    }

    #[test]
    fn a_changed_fill_bears_the_number_of_another_and_says_something_else() {
        let (good, bad) = (Name::new("L00", 1), Name::new("L00", 2));
        let of_good = run().body(&good, None);
        let of_bad = run().body(&bad, Some(&Poison::ChangedFill(good)));
        assert_eq!(of_good["fill"]["fill_id"], of_bad["fill"]["fill_id"]);
        assert_ne!(of_good["fill"]["last_px"], of_bad["fill"]["last_px"]);
        assert_ne!(of_good["event_id"], of_bad["event_id"]);
    }
}
