//! Sums: the PnL curve, statistics by symbol, accounts.
//!
//! Not here: lists of single events.

use tapedeck_contracts::{
    Dec,
    events::{ExecType, Side},
};

use super::{
    Open,
    samples::{at, dec, metrics, new_order, reports, row, rows, sale, session_started, trade},
};
use crate::{PnlPoint, PnlQuery, Store};

fn curve(store: &dyn Store, symbol: Option<&str>, from: i64, to: i64, interval_s: i64) -> Vec<[Dec; 3]> {
    points(store, symbol, from, to, interval_s)
        .into_iter()
        .map(|point| [point.realized, point.unrealized, point.fees])
        .collect()
}

fn points(store: &dyn Store, symbol: Option<&str>, from: i64, to: i64, interval_s: i64) -> Vec<PnlPoint> {
    let query = PnlQuery {
        account: "ACC-1".into(),
        symbol: symbol.map(str::to_owned),
        from: at(from),
        to: at(to),
        interval_us: interval_s * 1_000_000,
    };
    store.pnl(&query).expect("pnl")
}

/// Points are cumulative, at the last event of a bucket; empty buckets are left out.
pub fn the_curve_is_cumulative_and_leaves_out_empty_buckets(open: Open<'_>) {
    let store = open();
    let mut other = sale(200, "7");
    other.symbol = "ETHUSDT".into();
    let batch = rows(vec![
        row(0, trade(1)),
        row(1, metrics(2, "ACC-1", Some("500"))),
        row(2, sale(70, "100.00000001")),
        row(3, metrics(71, "ACC-1", None)),
        row(4, other),
        row(5, new_order(300)),
    ]);
    store.apply(&batch).expect("apply");
    let (zero, fee) = (Dec::ZERO, |n: i64| Dec((19 * n).into()));
    let whole = [
        [zero, dec("500"), fee(1)],
        [dec("100.00000001"), zero, fee(2)],
        [dec("107.00000001"), zero, fee(3)],
        [dec("107.00000001"), zero, fee(3)],
    ];
    assert_eq!(curve(&*store, None, 0, 400, 60), whole);
    assert_eq!(curve(&*store, None, 130, 250, 60), whole[2..3], "earlier events are in the sum");
    let btc = [whole[0], whole[1], [dec("100.00000001"), zero, fee(2)]];
    assert_eq!(curve(&*store, Some("BTCUSDT"), 0, 400, 60), btc);
    assert_eq!(curve(&*store, Some("ETHUSDT"), 0, 400, 60), [[dec("7"), zero, fee(1)]]);
    assert_eq!(curve(&*store, Some("NOTHING"), 0, 400, 60), Vec::<[Dec; 3]>::new());
    let starts: Vec<_> = points(&*store, None, 0, 400, 60).iter().map(|point| point.timestamp.micros()).collect();
    assert!(starts.iter().all(|start| start % 60_000_000 == 0) && starts.is_sorted());
    assert_eq!(curve(&*store, None, 0, 400, 86_400).len(), 1);
}

/// Reports that come late are in the sum of the newest bucket.
pub fn late_reports_are_in_the_newest_sum(open: Open<'_>) {
    let store = open();
    store.apply(&reports([sale(100, "5"), sale(40, "3")])).expect("apply");
    store.apply(&rows(vec![row(2, sale(10, "1"))])).expect("apply");
    let last = curve(&*store, None, 0, 200, 1).pop();
    assert_eq!(last, Some([dec("9"), Dec::ZERO, dec("57")]));
}

/// An account's curve is the sum of its symbols' at each time, in whatever order
/// their partitions are applied.
pub fn an_accounts_curve_does_not_depend_on_the_order_of_partitions(open: Open<'_>) {
    let store = open();
    let of = |symbol: &str, at: u64, realized: &str, n: u64| {
        let mut report = sale(at, realized);
        report.event_id = format!("{symbol}-{n}").as_str().into();
        report.symbol = symbol.into();
        if let Some(fill) = &mut report.fill {
            fill.fill_id = format!("{symbol}-{n}");
        }
        report
    };
    store.apply(&reports([of("LATE", 10, "1", 1), of("LATE", 90, "2", 2)])).expect("apply");
    let second = rows(vec![row(2, of("EARLY", 5, "10", 3)), row(3, of("EARLY", 50, "20", 4))]);
    store.apply(&second).expect("apply");
    let realized: Vec<_> = curve(&*store, None, 0, 200, 1).into_iter().map(|point| point[0]).collect();
    assert_eq!(realized, [dec("10"), dec("11"), dec("31"), dec("33")]);
}

/// Sums keep every digit over many reports.
pub fn sums_keep_every_digit(open: Open<'_>) {
    let store = open();
    let many = (1..=300).map(|n| {
        let mut report = sale(n, "0.1");
        report.costs.commission = dec("0.0000000001");
        if n == 1 {
            report.pnl.realized = dec("99999999999999999");
        }
        report
    });
    store.apply(&reports(many)).expect("apply");
    let last = curve(&*store, None, 0, 400, 86_400).pop().expect("a point");
    assert_eq!(last[0].to_string(), "100000000000000028.9");
    assert_eq!(last[2].to_string(), "0.00000003");
}

/// A commission in another currency is apart, and in no sum.
pub fn a_commission_in_another_currency_is_apart(open: Open<'_>) {
    let store = open();
    let mut in_bnb = trade(2);
    in_bnb.costs.currency = "BNB".into();
    in_bnb.costs.commission = dec("0.01");
    let batch = rows(vec![row(0, session_started("ACC-1")), row(1, in_bnb), row(2, trade(3))]);
    store.apply(&batch).expect("apply");
    let stats = store.symbol_stats(Some("ACC-1")).expect("stats").remove(0);
    assert_eq!((stats.currency.as_str(), stats.fees), ("USDT", dec("19")));
    assert_eq!(stats.other_fees, [("BNB".to_owned(), dec("0.01"))]);
    assert_eq!(curve(&*store, None, 0, 10, 86_400), [[Dec::ZERO, Dec::ZERO, dec("19")]]);
}

/// Round trips end flat or at a flip, and win net of fees.
pub fn round_trips_end_flat_or_at_a_flip(open: Open<'_>) {
    let store = open();
    let mut flip = sale(4, "-100");
    flip.fill.as_mut().expect("a fill").last_qty = dec("1");
    let mut cover = sale(5, "50");
    cover.order.side = Side::Buy;
    let batch = [
        trade(1),
        sale(2, "38"), // 38 realised less 38 of fees: not won
        trade(3),
        flip,  // lost, and short from here
        cover, // flat: 50 less 19 of fees is won
    ];
    store.apply(&reports(batch)).expect("apply");
    let stats = store.symbol_stats(None).expect("stats").remove(0);
    assert_eq!((stats.fills, stats.round_trips, stats.round_trips_won), (5, 3, 1));
    assert_eq!((stats.volume, stats.turnover), (dec("3"), dec("285000")));
    assert_eq!((stats.realized, stats.fees), (dec("-12"), dec("95")));
    assert_eq!(stats.slippage_bps, Some(0.5));
}

/// A cancel takes its fill out of the statistics, a correction replaces it.
pub fn corrections_replace_what_they_name(open: Open<'_>) {
    let store = open();
    let mut correction = trade(3);
    correction.exec_type = ExecType::TradeCorrect;
    correction.fill.as_mut().expect("a fill").last_qty = dec("0.25");
    correction.fill.as_mut().expect("a fill").ref_fill_id = Some("F1".into());
    correction.costs.commission = dec("-9.5");
    let mut cancel = trade(4);
    cancel.exec_type = ExecType::TradeCancel;
    cancel.fill.as_mut().expect("a fill").ref_fill_id = Some("F2".into());
    cancel.costs.commission = dec("-19");
    store.apply(&reports([trade(1), trade(2)])).expect("apply");
    store.apply(&rows(vec![row(2, correction), row(3, cancel)])).expect("apply");
    let stats = store.symbol_stats(None).expect("stats").remove(0);
    assert_eq!((stats.fills, stats.volume, stats.turnover), (1, dec("0.25"), dec("23750")));
    assert_eq!(stats.fees, dec("9.5"));
}

/// An account is what its session, its metrics and its reports say.
pub fn an_account_stands_as_its_events_say(open: Open<'_>) {
    let store = open();
    store.apply(&rows(vec![row(0, session_started("ACC-1"))])).expect("apply");
    let account = store.accounts().expect("accounts").remove(0);
    assert_eq!((account.starting_equity, account.equity), (Some(dec("100000")), Some(dec("100000"))));
    let mut foreign = trade(3);
    foreign.account = "ABROAD".into();
    foreign.costs.currency = "EUR".into();
    let batch = rows(vec![row(1, metrics(5, "ACC-1", Some("500"))), row(2, trade(7)), row(3, foreign)]);
    store.apply(&batch).expect("apply");
    let accounts = store.accounts().expect("accounts");
    let names: Vec<_> = accounts.iter().map(|account| account.account.as_str()).collect();
    assert_eq!(names, ["ABROAD", "ACC-1"]);
    assert_eq!((accounts[0].currency.as_deref(), accounts[0].equity), (Some("EUR"), None));
    let own = &accounts[1];
    assert_eq!((own.currency.as_deref(), own.session_id.as_deref()), (Some("USDT"), Some("S1")));
    assert_eq!((own.source.as_deref(), own.equity), (Some("signals"), Some(dec("100481"))));
    assert_eq!(own.as_of, at(7));
    let stats = store.symbol_stats(Some("ACC-1")).expect("stats").remove(0);
    assert_eq!(stats.unrealized, dec("500"));
}
