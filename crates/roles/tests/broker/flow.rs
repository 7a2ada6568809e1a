//! Properties over random order flow: the books agree with a second, simple
//! accounting made of the raw executions alone, no order is treated worse than
//! it allows, and a broker that is cut at any event goes on as if it had not been.
//!
//! Not here: worked examples.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use rust_decimal::{Decimal, RoundingStrategy};
use tapedeck_contracts::{
    Dec,
    events::{
        Action, ExecType, ExecutionReport, Liquidity, MarketData, MarketKind, OrderStatus, OrderType, Side, Signal,
        TimeInForce, risk::RiskCommandKind,
    },
};
use tapedeck_roles::{forward_test::BrokerSetup, market::config::VolumeUnit};

use crate::desk::{Desk, Said, bar, command, d, dec, instrument, quote, setup, signal, trade};

const SYMBOLS: [&str; 3] = ["A", "B", "C"];

/// Something that happens to a broker.
#[derive(Clone, Debug)]
enum Happening {
    Price { symbol: usize, kind: u8, ticks: u32, wide: u32, volume: u32, after_s: i64 },
    Signal { symbol: usize, strategy: bool, amount: i32, to_target: bool, limit: Option<u32>, lasting: u8 },
    Command { trip: bool, flatten: bool },
}

fn happening() -> impl Strategy<Value = Happening> {
    let price = (0..3_usize, 0..6_u8, 900..1_100_u32, 0..12_u32, 0..60_u32, 0..90_i64).prop_map(
        |(symbol, kind, ticks, wide, volume, after_s)| Happening::Price { symbol, kind, ticks, wide, volume, after_s },
    );
    let limit = proptest::option::of(900..1_100_u32);
    let order = (0..3_usize, any::<bool>(), -3_000..3_000_i32, any::<bool>(), limit, 0..8_u8).prop_map(
        |(symbol, strategy, amount, to_target, limit, lasting)| Happening::Signal {
            symbol,
            strategy,
            amount,
            to_target,
            limit,
            lasting,
        },
    );
    let told = (any::<bool>(), any::<bool>()).prop_map(|(trip, flatten)| Happening::Command { trip, flatten });
    prop_oneof![40 => price, 20 => order, 1 => told]
}

/// Settings that bring every rounding into play.
fn any_setup() -> impl Strategy<Value = BrokerSetup> {
    let fees = (0..3_usize, 0..3_usize, 0..3_usize, 0..3_usize);
    (fees, 0..3_u64, any::<bool>(), any::<bool>(), 0..4_u32).prop_map(
        |((taker, maker, slip, share), latency, unit, ticks, streak)| {
            let mut made = setup();
            made.broker.taker_commission_bps = dec(["0", "4", "3.37"][taker]);
            made.broker.maker_commission_bps = dec(["0", "2", "-0.7"][maker]);
            made.broker.slippage_bps = dec(["0", "1", "7.3"][slip]);
            made.broker.volume_share = dec(["1", "0.1", "0.333"][share]);
            made.broker.latency_ms = latency * 20_000;
            made.sources[0].volume_unit = if unit { VolumeUnit::Quote } else { VolumeUnit::Base };
            if ticks {
                made.instruments = vec![instrument("A", "0.05", "0.01"), instrument("B", "0.3", "0.7")];
            }
            made.sessions[0].starting_equity = dec("3000");
            made.ess.losing_streak = if streak == 2 { 3 } else { 0 };
            made.ess.daily_drawdown_pct = if streak > 1 { 4.5 } else { 0.0 };
            made.ess.stale_data = streak % 2 == 1;
            made.ess.hold_s = 60;
            made.ess.cool_down_s = 120;
            made
        },
    )
}

fn price_event(symbol: usize, kind: u8, ticks: u32, wide: u32, volume: u32, second: i64) -> MarketData {
    // A price with seven decimals that no money of 8 decimals divides evenly.
    let price = |ticks: u32| (Decimal::from(ticks) * d("0.0137931") + d("1")).to_string();
    let volume = Dec(Decimal::from(volume) * d("0.37"));
    let name = SYMBOLS[symbol];
    match kind {
        0..3 => MarketData {
            ask_size: Some(volume),
            bid_size: (volume.0 > Decimal::ONE).then_some(volume),
            ..quote(name, second, &price(ticks - wide), &price(ticks + wide))
        },
        3 => MarketData { volume, ..trade(name, second, &price(ticks)) },
        _ => {
            let [open, high, low, close] = [ticks, ticks + wide * 3, ticks - wide * 2, ticks + wide].map(price);
            MarketData { volume, ..bar(name, second, [&open, &high, &low, &close]) }
        }
    }
}

fn signal_event(
    symbol: usize,
    strategy: bool,
    amount: i32,
    to_target: bool,
    limit: Option<u32>,
    lasting: u8,
) -> Signal {
    let quantity = Decimal::from(amount) * d("0.017");
    let action = if amount < 0 { Action::Sell } else { Action::Buy };
    let mut made = signal(SYMBOLS[symbol], action, "0");
    made.strategy_id = if strategy { "one" } else { "two" }.into();
    made.signal.quantity = Dec(quantity.abs() + d("0.0001"));
    made.signal.target_position = to_target.then_some(Dec(quantity));
    made.market_data.price = dec("14.8");
    let time_in_force =
        [TimeInForce::Ioc, TimeInForce::Fok, TimeInForce::Day, TimeInForce::Gtc][lasting.min(3) as usize];
    let order_type = if limit.is_some() { OrderType::Limit } else { OrderType::Market };
    let limit = limit.map(|ticks| (Decimal::from(ticks) * d("0.0137931") + d("1")).to_string());
    crate::desk::with_order(made, order_type, limit.as_deref(), time_in_force)
}

/// Gives a desk what happens; the market's time goes on with every price.
struct Play {
    second: i64,
}

impl Play {
    fn step(&mut self, desk: &mut Desk, happening: &Happening) -> (Said, Option<MarketData>) {
        match *happening {
            Happening::Price { symbol, kind, ticks, wide, volume, after_s } => {
                self.second += after_s;
                let data = price_event(symbol, kind, ticks, wide, volume, self.second);
                (desk.market(data.clone()), Some(data))
            }
            Happening::Signal { symbol, strategy, amount, to_target, limit, lasting } => {
                (desk.signal(signal_event(symbol, strategy, amount, to_target, limit, lasting)), None)
            }
            Happening::Command { trip, flatten } => {
                let kind = if trip { RiskCommandKind::Trip } else { RiskCommandKind::Arm };
                (desk.command(command(kind, trip && flatten)), None)
            }
        }
    }
}

fn money(value: Decimal) -> Decimal {
    value.round_dp_with_strategy(8, RoundingStrategy::MidpointNearestEven)
}

/// The second accounting: what moved, symbol by symbol. No cost, no average.
#[derive(Default)]
struct Ledger {
    cash: Decimal,
    commission: Decimal,
    realized: Decimal,
    /// Signed quantity, price of the last report, unrealized of the last report.
    symbols: BTreeMap<String, (Decimal, Decimal, Decimal)>,
    /// Order id to filled quantity and whether it is over.
    orders: HashMap<String, (Decimal, bool)>,
    executions: u64,
}

impl Ledger {
    fn take(&mut self, report: &ExecutionReport, mark: Option<Decimal>, start: Decimal) {
        let order = &report.order;
        let entry = self.symbols.entry(report.symbol.clone()).or_default();
        let life = self.orders.entry(order.order_id.clone()).or_default();
        assert!(!life.1, "an order that was over went on: {report:?}");
        if let Some(fill) = &report.fill {
            self.executions += 1;
            assert_eq!(fill.execution_number, Some(self.executions));
            assert_eq!(fill.fill_id, format!("F{}", self.executions));
            let signed = if order.side == Side::Buy { fill.last_qty.0 } else { -fill.last_qty.0 };
            self.cash -= money(signed * fill.last_px.0) + report.costs.commission.0;
            self.commission += report.costs.commission.0;
            entry.0 += signed;
            entry.1 = fill.last_px.0;
            life.0 += fill.last_qty.0;
        } else if let Some(mark) = mark {
            entry.1 = mark;
        }
        assert_eq!(order.cum_qty.0, life.0, "{report:?}");
        life.1 = matches!(
            order.status,
            OrderStatus::Filled | OrderStatus::Canceled | OrderStatus::Rejected | OrderStatus::Expired
        );
        self.realized += report.pnl.realized.0;
        entry.2 = report.pnl.unrealized.0;
        let unrealized: Decimal = self.symbols.values().map(|(_, _, unrealized)| unrealized).sum();
        let equity = self.cash + self.symbols.values().map(|(q, price, _)| money(q * price)).sum::<Decimal>();
        assert_eq!(self.realized - self.commission + unrealized, equity, "{report:?} from {start}");
    }
}

/// What an order allows, whatever the event.
fn fair(report: &ExecutionReport, setup: &BrokerSetup, event: &MarketData) {
    let Some(fill) = &report.fill else { return };
    let (quantity, price) = (fill.last_qty.0, fill.last_px.0);
    if let Some(limit) = report.order.limit_price {
        let worse = if report.order.side == Side::Buy { price > limit.0 } else { price < limit.0 };
        assert!(!worse, "{report:?}");
    }
    if let Some(listed) = setup.instruments.iter().find(|listed| listed.symbol == report.symbol) {
        assert_eq!(price % listed.tick.unwrap().0, Decimal::ZERO, "{report:?}");
        assert_eq!(quantity % listed.lot.0, Decimal::ZERO, "{report:?}");
    }
    assert_eq!(report.symbol, event.symbol);
    let rate = match fill.liquidity {
        Liquidity::Maker => setup.broker.maker_commission_bps,
        Liquidity::Taker => setup.broker.taker_commission_bps,
    };
    assert_eq!(report.costs.commission.0, money(money(quantity * price) * rate.0 / Decimal::from(10_000)));
    if fill.liquidity == Liquidity::Taker {
        let taken = match (event.kind(), report.order.side) {
            (MarketKind::Quote, Side::Buy) => event.ask,
            (MarketKind::Quote, Side::Sell) => event.bid,
            (MarketKind::Bar, _) => event.open,
            (MarketKind::Trade, _) => Some(event.price),
        };
        let better = if report.order.side == Side::Buy { price < taken.unwrap().0 } else { price > taken.unwrap().0 };
        assert!(!better, "a taker got more than there was: {report:?} at {event:?}");
    }
}

/// An event fills at most its share.
fn within_volume(said: &Said, setup: &BrokerSetup, event: &MarketData) {
    let filled = |side: Option<Side>| -> Decimal {
        let reports = said.reports().into_iter().filter(|report| side.is_none_or(|side| report.order.side == side));
        reports.filter_map(|report| report.fill.as_ref()).map(|fill| fill.last_qty.0).sum()
    };
    let share = setup.broker.volume_share.0;
    if event.kind() == MarketKind::Quote {
        for (side, size) in [(Side::Buy, event.ask_size), (Side::Sell, event.bid_size)] {
            let Some(size) = size.filter(|size| !size.is_zero()) else { continue };
            assert!(filled(Some(side)) <= size.0 * share);
        }
    } else {
        let per = if setup.sources[0].volume_unit == VolumeUnit::Quote { event.price.0 } else { Decimal::ONE };
        assert!(filled(None) * per <= event.volume.0 * share);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_books_agree_with_the_raw_executions_to_the_last_digit(
        setup in any_setup(),
        happenings in proptest::collection::vec(happening(), 1..200),
    ) {
        let mut desk = Desk::new(setup.clone());
        let start = setup.sessions[0].starting_equity.0;
        let (mut ledger, mut play) = (Ledger::default(), Play { second: 0 });
        let mut marks: HashMap<String, Decimal> = HashMap::new();
        for happening in &happenings {
            let (said, event) = play.step(&mut desk, happening);
            let mut priced: Option<Decimal> = None;
            for report in said.reports() {
                match &event {
                    Some(event) => fair(report, &setup, event),
                    None => prop_assert!(report.exec_type != ExecType::Trade, "filled by what caused it"),
                }
                // A report without a fill is told at the price last seen: the mark, a fill of
                // the same event before it, or, when the stop trips, the event's own mark.
                let tripped = report.reason.as_ref().is_some_and(|reason| reason.code == "ess_tripped");
                let new_mark = event.as_ref().filter(|_| tripped).map(|event| event.close.unwrap_or(event.price).0);
                let fill = report.fill.as_ref().map(|fill| fill.last_px.0).or(new_mark);
                let at_event = event.as_ref().is_some_and(|event| event.symbol == report.symbol);
                priced = fill.or(priced);
                let mark = priced.filter(|_| at_event).or_else(|| marks.get(&report.symbol).copied());
                ledger.take(report, mark, start);
            }
            if let Some(event) = &event {
                within_volume(&said, &setup, event);
                marks.insert(event.symbol.clone(), event.close.unwrap_or(event.price).0);
            }
            if let Some(metrics) = said.metrics() {
                let value: Decimal = ledger.symbols.iter().map(|(name, (q, ..))| money(q * marks.get(name).copied().unwrap_or_default())).sum();
                prop_assert_eq!(metrics.equity.0, start + ledger.cash + value);
                prop_assert_eq!(metrics.cash.0, start + ledger.cash);
                let held: BTreeMap<_, _> = metrics.positions.iter().map(|p| {
                    let short = p.side == tapedeck_contracts::events::PositionSide::Short;
                    (p.symbol.clone(), if short { -p.quantity.0 } else { p.quantity.0 })
                }).collect();
                let moved: BTreeMap<_, _> = ledger.symbols.iter().filter(|(_, (q, ..))| !q.is_zero()).map(|(name, (q, ..))| (name.clone(), *q)).collect();
                prop_assert_eq!(held, moved);
                let portfolio = said.portfolio().unwrap();
                prop_assert_eq!(portfolio.realized_pnl.0, ledger.realized);
                prop_assert_eq!(portfolio.realized_pnl.0 - ledger.commission + portfolio.unrealized_pnl.0, portfolio.equity.0 - start);
            }
            prop_assert!(!said.codes().contains(&"PNL_MISMATCH"));
        }
        let open = ledger.orders.values().filter(|(_, over)| !over).count();
        prop_assert_eq!(desk.broker.open_orders(), open);
    }

    #[test]
    fn a_broker_that_is_cut_anywhere_goes_on_as_if_it_had_not_been(
        setup in any_setup(),
        happenings in proptest::collection::vec((happening(), 0..8_u8), 1..200),
    ) {
        let (mut whole, mut cut) = (Desk::new(setup.clone()), Desk::new(setup.clone()));
        let (mut play_whole, mut play_cut) = (Play { second: 0 }, Play { second: 0 });
        let mut state = BTreeMap::new();
        for (happening, chance) in &happenings {
            let (expected, _) = play_whole.step(&mut whole, happening);
            let (said, _) = play_cut.step(&mut cut, happening);
            prop_assert_eq!(said, expected);
            if *chance == 0 {
                cut.cut(&setup, &mut state);
            }
        }
        prop_assert_eq!(cut.end(), whole.end());
        prop_assert_eq!(cut.broker.open_orders(), whole.broker.open_orders());
    }
}

#[test]
fn a_cut_keeps_the_window_of_var_across_blocks() {
    let setup = setup();
    let (mut whole, mut cut) = (Desk::new(setup.clone()), Desk::new(setup.clone()));
    let mut state = BTreeMap::new();
    for minute in 0..1_700_i64 {
        for (name, salt) in [("A", 7_919), ("B", 104_729)] {
            let price = (1_000 + (minute * salt) % 37).to_string();
            let event = bar(name, minute * 60, [&price, &price, &price, &price]);
            prop_equal(&mut whole, &mut cut, |desk| desk.market(event.clone()));
        }
        if minute % 400 == 3 {
            prop_equal(&mut whole, &mut cut, |desk| desk.signal(crate::desk::target("A", "2")));
            prop_equal(&mut whole, &mut cut, |desk| desk.signal(crate::desk::target("B", "-3")));
        }
        if minute % 97 == 0 {
            cut.cut(&setup, &mut state);
        }
    }
    let said = cut.end();
    assert!(said.metrics().unwrap().var_95.unwrap().0 > Decimal::ZERO);
    let blocks = state.keys().filter(|key| key.starts_with("closes/")).count();
    assert!((2 * 24..=2 * 26).contains(&blocks), "{blocks} blocks for two days of closes");
}

fn prop_equal(whole: &mut Desk, cut: &mut Desk, step: impl Fn(&mut Desk) -> Said) {
    assert_eq!(step(cut), step(whole));
}
