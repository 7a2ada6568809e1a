//! A broker to try things on: short words for events, and a check that all it
//! says is what the contract takes.
//!
//! Not here: expectations.

use std::collections::HashSet;

use rust_decimal::Decimal;
use tapedeck_contracts::{
    Dec, Event, EventId, Timestamp,
    events::{
        Action, Alert, ExecType, ExecutionReport, ForwardTest, MarketData, MarketKind, OrderType, Portfolio,
        RiskCommand, RiskMetrics, Signal, SignalBody, TimeInForce, TradingDecision,
        risk::RiskCommandKind,
        signal::{SignalMarket, SignalOrder},
    },
};
use tapedeck_roles::{
    forward_test::{
        Broker, BrokerSetup, Cause, Output, SourceInfo,
        config::{BrokerConfig, EssConfig, RiskConfig, SessionConfig, TradeSource},
    },
    instruments::Instrument,
    market::config::VolumeUnit,
};

pub(crate) fn d(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

pub(crate) fn dec(text: &str) -> Dec {
    Dec(d(text))
}

/// Seconds after midnight of Monday 2024-01-01.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_704_067_200_000 + seconds * 1_000)
}

/// One account of 100,000 USD that listens to `feed`; nothing costs anything.
pub(crate) fn setup() -> BrokerSetup {
    BrokerSetup {
        sessions: vec![SessionConfig {
            id: "s1".into(),
            account: "ACC-1".into(),
            currency: "USD".into(),
            starting_equity: dec("100000"),
            source: TradeSource::Signals,
            market_source: "feed".into(),
            fill_on: None,
            max_gross: None,
        }],
        instruments: Vec::new(),
        broker: BrokerConfig {
            latency_ms: 0,
            taker_commission_bps: Dec::ZERO,
            maker_commission_bps: Dec::ZERO,
            slippage_bps: Dec::ZERO,
            volume_share: dec("1"),
            metrics_interval_ms: 1_000,
            join_wait_ms: 1_000,
            batch_max_events: 2_048,
        },
        risk: RiskConfig { zone: "UTC".into(), margin_rate: dec("0.05"), days_per_year: 365 },
        ess: EssConfig { daily_drawdown_pct: 0.0, losing_streak: 0, stale_data: false, hold_s: 300, cool_down_s: 900 },
        sources: vec![SourceInfo { id: "feed".into(), venue: "X".into(), volume_unit: VolumeUnit::Base }],
    }
}

pub(crate) fn instrument(symbol: &str, tick: &str, lot: &str) -> Instrument {
    Instrument {
        venue: "X".into(),
        symbol: symbol.into(),
        quote_currency: "USD".into(),
        tick: Some(dec(tick)),
        lot: dec(lot),
        margin_rate: None,
    }
}

fn blank(symbol: &str, time: Timestamp, price: &str) -> MarketData {
    MarketData::new(symbol, dec(price), dec("1000"), time, "feed")
}

pub(crate) fn trade(symbol: &str, seconds: i64, price: &str) -> MarketData {
    MarketData { kind: Some(MarketKind::Trade), ..blank(symbol, at(seconds), price) }
}

pub(crate) fn quote(symbol: &str, seconds: i64, bid: &str, ask: &str) -> MarketData {
    let mid = ((d(bid) + d(ask)) / Decimal::TWO).to_string();
    MarketData { bid: Some(dec(bid)), ask: Some(dec(ask)), ..blank(symbol, at(seconds), &mid) }
}

/// A one-minute bar that ends at `seconds`.
pub(crate) fn bar(symbol: &str, seconds: i64, ohlc: [&str; 4]) -> MarketData {
    let [open, high, low, close] = ohlc.map(|price| Some(dec(price)));
    MarketData { open, high, low, close, interval: Some("1m".into()), ..blank(symbol, at(seconds), ohlc[3]) }
}

/// A signal of strategy `sma` in session `s1`, made at price 100.
pub(crate) fn signal(symbol: &str, action: Action, quantity: &str) -> Signal {
    Signal {
        session_id: "s1".into(),
        strategy_id: "sma".into(),
        signal: SignalBody {
            action,
            quantity: dec(quantity),
            reason: "test".into(),
            confidence: None,
            target_position: None,
            order: None,
        },
        market_data: SignalMarket { symbol: symbol.into(), price: dec("100") },
    }
}

pub(crate) fn target(symbol: &str, position: &str) -> Signal {
    let action = if d(position).is_sign_negative() { Action::Sell } else { Action::Buy };
    let mut made = signal(symbol, action, "0");
    made.signal.target_position = Some(dec(position));
    made
}

pub(crate) fn with_order(
    mut made: Signal,
    order_type: OrderType,
    limit: Option<&str>,
    time_in_force: TimeInForce,
) -> Signal {
    made.signal.order =
        Some(SignalOrder { order_type, limit_price: limit.map(dec), time_in_force: Some(time_in_force) });
    made
}

pub(crate) fn limit(made: Signal, limit: &str) -> Signal {
    with_order(made, OrderType::Limit, Some(limit), TimeInForce::Gtc)
}

pub(crate) fn command(kind: RiskCommandKind, flatten: bool) -> RiskCommand {
    RiskCommand {
        event_id: "unused".into(),
        timestamp: at(0),
        account: "ACC-1".into(),
        command: kind,
        reason: "looks odd".into(),
        actor: "local".into(),
        flatten: flatten.then_some(true),
    }
}

/// A broker whose every word is checked.
pub(crate) struct Desk {
    pub(crate) broker: Broker,
    /// Events given so far: the next cause's number.
    n: u64,
    ids: HashSet<EventId>,
    last: EventId,
}

impl Desk {
    pub(crate) fn new(setup: BrokerSetup) -> Self {
        Self { broker: Broker::new(setup).unwrap(), n: 0, ids: HashSet::new(), last: "none".into() }
    }

    fn next(&mut self) -> EventId {
        self.n += 1;
        self.last = EventId(format!("event-{}", self.n));
        self.last.clone()
    }

    pub(crate) fn market(&mut self, data: MarketData) -> Said {
        let id = self.next();
        let said = self.broker.market(Cause { event_id: &id, seq: Some(self.n) }, &data).unwrap();
        self.check(said)
    }

    /// A signal of the newest market event: no desk's time is before `at(0)`.
    pub(crate) fn signal(&mut self, signal: Signal) -> Said {
        self.signal_at(signal, at(0), false)
    }

    /// A signal with a time of its own.
    pub(crate) fn signal_at(&mut self, signal: Signal, time: Timestamp, late: bool) -> Said {
        let id = self.next();
        let said = self.broker.signal(Cause { event_id: &id, seq: Some(self.n) }, &signal, time, late).unwrap();
        self.check(said)
    }

    /// A decision of the newest market event.
    pub(crate) fn decision(&mut self, decision: TradingDecision, late: bool) -> Said {
        let id = self.next();
        let cause = Cause { event_id: &id, seq: Some(self.n) };
        let said = self.broker.decision(cause, &decision, at(0), late).unwrap();
        self.check(said)
    }

    pub(crate) fn command(&mut self, command: RiskCommand) -> Said {
        let id = self.next();
        let said = self.broker.command(Cause { event_id: &id, seq: None }, &command).unwrap();
        self.check(said)
    }

    pub(crate) fn gap(&mut self, from: u64, to: u64) -> Said {
        let id = self.last.clone();
        let said = self.broker.note_gap("feed", from, to, Cause { event_id: &id, seq: None }, at(7));
        self.check(said)
    }

    pub(crate) fn end(&mut self) -> Said {
        let id = self.last.clone();
        let said = self.broker.end_of_input("feed", Cause { event_id: &id, seq: Some(self.n) }).unwrap();
        self.check(said)
    }

    /// Another broker with the state of this one, and nothing else of it.
    pub(crate) fn cut(&mut self, setup: &BrokerSetup, state: &mut std::collections::BTreeMap<String, Vec<u8>>) {
        for (key, value) in self.broker.take_changed() {
            match value {
                Some(value) => state.insert(key, value),
                None => state.remove(&key),
            };
        }
        self.broker = Broker::new(setup.clone()).unwrap();
        for (key, value) in state {
            self.broker.restore(key, value).unwrap();
        }
    }

    /// Everything that is said can be read by its readers, under an id of its own.
    fn check(&mut self, said: Vec<Output>) -> Said {
        for output in &said {
            let json = output.event.to_json().unwrap();
            if let Err(error) = Event::decode(output.event.kind(), &json) {
                panic!("{error}: {}", String::from_utf8_lossy(&json));
            }
            if let Some(id) = output.event.event_id() {
                assert_eq!(*id, output.id);
            }
            assert!(self.ids.insert(output.id.clone()), "the id of {output:?} was given before");
        }
        Said(said)
    }
}

/// What the broker said of one event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Said(pub(crate) Vec<Output>);

impl Said {
    pub(crate) fn reports(&self) -> Vec<&ExecutionReport> {
        self.0.iter().filter_map(|o| if let Event::ExecutionReport(r) = &o.event { Some(&**r) } else { None }).collect()
    }

    pub(crate) fn report(&self) -> &ExecutionReport {
        let reports = self.reports();
        assert_eq!(reports.len(), 1, "{reports:?}");
        reports[0]
    }

    /// (quantity, price) of the fills.
    pub(crate) fn fills(&self) -> Vec<(String, String)> {
        let fills = self.reports().into_iter().filter_map(|report| report.fill.as_ref());
        fills.map(|fill| (fill.last_qty.to_string(), fill.last_px.to_string())).collect()
    }

    pub(crate) fn ended(&self) -> Vec<(ExecType, String)> {
        let ended = self.reports().into_iter().filter(|r| r.exec_type != ExecType::New && r.fill.is_none());
        ended.map(|r| (r.exec_type, r.reason.clone().map(|reason| reason.code).unwrap_or_default())).collect()
    }

    pub(crate) fn metrics(&self) -> Option<&RiskMetrics> {
        self.0.iter().find_map(|o| if let Event::RiskMetrics(m) = &o.event { Some(&**m) } else { None })
    }

    pub(crate) fn portfolio(&self) -> Option<&Portfolio> {
        self.0.iter().find_map(|o| if let Event::Portfolio(p) = &o.event { Some(&p.data) } else { None })
    }

    pub(crate) fn sessions(&self) -> Vec<&ForwardTest> {
        self.0.iter().filter_map(|o| if let Event::ForwardTest(f) = &o.event { Some(&f.data) } else { None }).collect()
    }

    pub(crate) fn alerts(&self) -> Vec<&Alert> {
        self.0.iter().filter_map(|o| if let Event::Alert(a) = &o.event { Some(&**a) } else { None }).collect()
    }

    pub(crate) fn codes(&self) -> Vec<&str> {
        self.alerts().into_iter().map(|alert| alert.code.as_str()).collect()
    }
}
