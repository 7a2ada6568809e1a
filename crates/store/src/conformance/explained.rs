//! Explained decisions: rows, chains, sums and offsets in one act, each decision
//! once, and every question that is asked of them.
//!
//! Not here: what records say, and how hashes are made: these are made up.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tapedeck_contracts::{
    Dec, Timestamp,
    events::{Action, ExecType, ExecutionReport, OrderStatus, Reason, decision::Outcome},
};

use super::{
    Open,
    samples::{GROUP, START, TOPIC, at, dec, moved, new_order, reports, row, rows, trade},
};
use crate::{
    ChainHead, Explained, ExplainedBatch, ExplainedQuery, Importance, OrdersQuery, Origin, Retention, Store, StoreError,
};

const DAY_MS: i64 = 86_400_000;
const SET: [u8; 16] = [7; 16];
const SYMBOLS: [&str; 3] = ["BTCUSDT", "ETHUSDT", "SOLUSDT"];

/// The n-th decision, n seconds after the start: record n / 2 of chain n % 2.
pub fn explained(n: u64) -> Explained {
    let place = usize::try_from(n).expect("a small number");
    Explained {
        origin: Origin { topic: Arc::from("trading_decisions"), partition: u32::from(n % 2 == 1), offset: n / 2 },
        decision_id: format!("{:08x}-0000-4000-8000-{n:012x}", n.wrapping_mul(2_654_435_761) % (1 << 32)),
        timestamp: at(i64::try_from(n).expect("a small number")),
        symbol: SYMBOLS[place % 3].into(),
        account: [None, Some("ACC-1".to_owned()), Some("ACC-2".to_owned())][place / 3 % 3].clone(),
        action: [Action::Buy, Action::Sell, Action::Hold][place / 9 % 3],
        outcome: [Outcome::Accepted, Outcome::Rejected][place / 2 % 2],
        chain: u32::from(n % 2 == 1),
        index: n / 2,
        hash: hash(n),
        feature_set: SET,
        record: Bytes::from(vec![u8::try_from(n % 251).expect("a byte"); 40]),
    }
}

fn hash(n: u64) -> [u8; 32] {
    let mut hash = [9; 32];
    hash[..8].copy_from_slice(&n.to_le_bytes());
    hash
}

/// A batch of these rows with the heads that they lead to and their feature set.
pub fn batch_of(rows: Vec<Explained>) -> ExplainedBatch {
    let mut heads: Vec<ChainHead> = Vec::new();
    for row in &rows {
        heads.retain(|head| head.chain != row.chain);
        let (records, hash) = (row.index + 1, row.hash);
        heads.push(ChainHead { chain: row.chain, records, hash, anchored: None, begins: None });
    }
    ExplainedBatch {
        group: GROUP.into(),
        rows,
        feature_sets: vec![(SET, Bytes::from_static(b"a feature set"))],
        importance: Vec::new(),
        heads,
        offsets: Vec::new(),
        ingested_at_ms: START.millis(),
    }
}

fn numbered(numbers: impl IntoIterator<Item = u64>) -> ExplainedBatch {
    batch_of(numbers.into_iter().map(explained).collect())
}

fn keep(store: &dyn Store, batch: &ExplainedBatch) {
    assert_eq!(store.apply_explained(batch).expect("apply"), [0_usize; 0], "nothing is held");
}

fn all(store: &dyn Store) -> Vec<Explained> {
    let query = ExplainedQuery { limit: 10_000, ..ExplainedQuery::default() };
    store.explanations(&query).expect("explanations").into_iter().map(|(_, row)| row).collect()
}

fn next(store: &dyn Store) -> Option<u64> {
    store.resume(GROUP, &[(Arc::from(TOPIC), 0)]).expect("resume")[0].next
}

fn sum(hour: i64, symbol: &str, decisions: u64, sums: &[f64]) -> Importance {
    Importance {
        hour: Timestamp::from_micros(hour * 3_600_000_000),
        symbol: symbol.into(),
        feature_set: SET,
        decisions,
        sums: sums.to_vec(),
    }
}

/// Rows, heads, sums and offsets are there after a restart.
pub fn explained_decisions_and_their_offsets_survive_a_restart(open: Open<'_>) {
    let store = open();
    assert_eq!((all(&*store), store.chain_heads().expect("heads")), (vec![], vec![]));
    let mut batch = numbered(0..7);
    batch.heads.iter_mut().for_each(|head| head.anchored = Some((1, hash(head.chain.into()))));
    batch.importance = vec![sum(10, "BTCUSDT", 3, &[0.5])];
    batch.offsets = vec![moved(None, 7)];
    keep(&*store, &batch);
    drop(store);
    let store = open();
    assert_eq!(all(&*store), (0..7).rev().map(explained).collect::<Vec<_>>(), "every field, newest first");
    batch.heads.sort_by_key(|head| head.chain);
    assert_eq!(store.chain_heads().expect("heads"), batch.heads);
    assert_eq!(store.importance(at(-9_999_999), at(9), None).expect("sums"), []);
    let hour = Timestamp::from_micros(36_000_000_000);
    assert_eq!(store.importance(hour, hour.plus_micros(1), None).expect("sums"), batch.importance);
    assert_eq!(store.feature_set(SET).expect("a set").as_deref(), Some(b"a feature set".as_slice()));
    assert_eq!(store.feature_set([8; 16]).expect("none"), None);
    assert_eq!(next(&*store), Some(7));
}

/// Compare and set: who is late learns it, and leaves nothing.
pub fn a_conflict_leaves_no_explanation(open: Open<'_>) {
    let store = open();
    keep(&*store, &ExplainedBatch { offsets: vec![moved(None, 2)], ..numbered(0..2) });
    let (rows, heads) = (all(&*store), store.chain_heads().expect("heads"));
    for wrong in [None, Some(1), Some(3)] {
        let mut late = numbered(2..6);
        late.importance = vec![sum(10, "BTCUSDT", 3, &[0.5])];
        late.feature_sets.push(([8; 16], Bytes::from_static(b"another")));
        late.offsets = vec![moved(wrong, 9)];
        match store.apply_explained(&late) {
            Err(StoreError::Conflict { expected, found, .. }) => assert_eq!((expected, found), (wrong, Some(2))),
            other => panic!("expected a conflict, found {other:?}"),
        }
    }
    assert_eq!((all(&*store), store.chain_heads().expect("heads")), (rows, heads));
    assert_eq!(store.importance(at(-2_000_000_000), at(0), None).expect("sums"), []);
    assert_eq!(store.feature_set([8; 16]).expect("none"), None);
    keep(&*store, &ExplainedBatch { offsets: vec![moved(Some(2), 6)], ..numbered(2..6) });
    assert_eq!(all(&*store).len(), 6, "what was refused is not remembered");
}

/// Decisions that are held are named, wherever they come from, and nothing is kept.
pub fn held_decisions_are_named_and_nothing_is_kept(open: Open<'_>) {
    let store = open();
    keep(&*store, &ExplainedBatch { offsets: vec![moved(None, 4)], ..numbered(0..4) });
    let before = (all(&*store), store.chain_heads().expect("heads"));
    let mut rows: Vec<Explained> = (4..9).map(explained).collect();
    rows[1].decision_id = explained(0).decision_id;
    rows[4].decision_id = explained(3).decision_id;
    let mut again = batch_of(rows);
    again.offsets = vec![moved(Some(4), 9)];
    again.importance = vec![sum(10, "BTCUSDT", 3, &[0.5])];
    drop(store);
    let store = open();
    assert_eq!(store.apply_explained(&again).expect("an answer"), [1, 4]);
    assert_eq!((all(&*store), store.chain_heads().expect("heads")), before);
    assert_eq!((next(&*store), store.importance(at(-2_000_000_000), at(0), None).expect("sums").len()), (Some(4), 0));
    let rest = numbered([4, 6]);
    keep(&*store, &ExplainedBatch { offsets: vec![moved(Some(4), 9)], ..rest });
    assert_eq!((all(&*store).len(), next(&*store)), (6, Some(9)));
}

/// A decision that comes twice in a batch is named the second time.
pub fn a_decision_that_comes_twice_in_a_batch_is_named(open: Open<'_>) {
    let store = open();
    let mut rows: Vec<Explained> = (0..6).map(explained).collect();
    let other = "an id that is no UUID";
    [1, 4].into_iter().for_each(|at: usize| rows[at].decision_id = other.into());
    rows[3].decision_id = rows[0].decision_id.clone();
    rows[5].decision_id = rows[0].decision_id.clone();
    assert_eq!(store.apply_explained(&batch_of(rows.clone())).expect("an answer"), [3, 4, 5]);
    assert_eq!((all(&*store), store.chain_heads().expect("heads")), (vec![], vec![]));
    keep(&*store, &batch_of(rows[..3].to_vec()));
    assert_eq!(store.explained(other).expect("a row"), Some(rows[1].clone()));
    assert_eq!(store.explained("another id").expect("none"), None);
    assert_eq!(store.explained(&explained(9).decision_id).expect("none"), None);
    assert_eq!(store.explained(&rows[0].decision_id).expect("a row"), Some(explained(0)));
}

/// Rows that do not go on from their chain's head are refused with what to do.
pub fn a_chain_that_is_out_of_step_is_refused(open: Open<'_>) {
    let store = open();
    keep(&*store, &numbered(0..4));
    let mut wrong_head = numbered(4..6);
    wrong_head.heads[0].records += 1;
    let mut wrong_hash = numbered(4..6);
    wrong_hash.heads[1].hash = hash(99);
    let mut old_anchor = numbered([]);
    old_anchor.heads = vec![ChainHead { chain: 1, records: 1, hash: hash(1), anchored: None, begins: None }];
    let mut no_head = numbered(4..6);
    no_head.heads.clear();
    let mut no_features = numbered(4..6);
    no_features.rows[0].feature_set = [8; 16];
    let before = (all(&*store), store.chain_heads().expect("heads"));
    let gaps = [numbered([2]), numbered([6]), numbered([4, 8]), numbered([5, 4, 4])];
    for (at, wrong) in gaps.into_iter().chain([wrong_head, wrong_hash, old_anchor]).enumerate() {
        // The decisions themselves are new: their places in the chain are not.
        let rows = wrong.rows.into_iter().zip(0..);
        let rows = rows.map(|(row, n)| Explained { decision_id: format!("new-{at}-{n}"), ..row }).collect();
        let Err(StoreError::Fatal(text)) = store.apply_explained(&ExplainedBatch { rows, ..wrong }) else {
            panic!("batch {at} must be refused");
        };
        assert!(text.contains("chain ") && text.contains("tapedeck audit verify"), "{text}");
    }
    for (what, wrong) in [("no head", no_head), ("feature set 0808", no_features)] {
        let Err(StoreError::Fatal(text)) = store.apply_explained(&wrong) else { panic!("refused: {what}") };
        assert!(text.contains(what), "{text}");
    }
    assert_eq!((all(&*store), store.chain_heads().expect("heads")), before);
    keep(&*store, &numbered(4..6));
}

/// An anchor is noted without rows; chains go on apart from each other.
pub fn heads_and_the_last_record_of_each_symbol_follow_their_chain(open: Open<'_>) {
    let store = open();
    keep(&*store, &numbered(0..8));
    keep(&*store, &numbered([8, 10]));
    let mut heads = store.chain_heads().expect("heads");
    assert_eq!(
        heads.iter().map(|head| (head.chain, head.records, head.hash)).collect::<Vec<_>>(),
        [(0, 6, hash(10)), (1, 4, hash(7))]
    );
    heads[1].anchored = Some((4, hash(7)));
    keep(&*store, &ExplainedBatch { heads: vec![heads[1]], ..numbered([]) });
    assert_eq!(store.chain_heads().expect("heads"), heads);
    assert_eq!(store.last_of_symbols(0).expect("records"), [0, 6, 10, 4, 2, 8].map(explained), "by symbol and account");
    assert_eq!(store.last_of_symbols(1).expect("records"), [3, 1, 7, 5].map(explained));
    assert_eq!(store.last_of_symbols(2).expect("none"), []);
}

/// What was the last of a symbol is that of its account after an upgrade from the version
/// that had one for all accounts, to which `downgrade` takes the store.
pub fn the_last_of_a_symbol_outlives_an_upgrade(open: Open<'_>, downgrade: impl FnOnce()) {
    let (before, after) = (numbered(0..14), numbered(14..18));
    keep(&*open(), &before);
    downgrade();
    let store = open();
    let of_symbols: BTreeMap<_, _> = before.rows.iter().map(|row| ((row.chain, &row.symbol), row)).collect();
    let key = |row: &Explained| (row.chain, row.symbol.clone(), row.account.clone());
    let mut last: BTreeMap<_, _> = of_symbols.into_values().map(|row| (key(row), row.clone())).collect();
    let found = || [0, 1].map(|chain| store.last_of_symbols(chain).expect("records")).concat();
    assert_eq!(found(), last.values().cloned().collect::<Vec<_>>());
    keep(&*store, &after);
    last.extend(after.rows.iter().map(|row| (key(row), row.clone())));
    assert_eq!(found(), last.into_values().collect::<Vec<_>>());
}

/// A chain is read in its order, from any record on.
pub fn a_chain_is_read_in_its_order(open: Open<'_>) {
    let store = open();
    keep(&*store, &numbered(0..20));
    keep(&*store, &numbered([21, 20, 23, 25, 22, 24]));
    let chain = |from, limit| store.chain(1, from, limit).expect("a chain");
    let odd: Vec<Explained> = (0..26).filter(|n| n % 2 == 1).map(explained).collect();
    assert_eq!(chain(0, 1_000), odd);
    assert_eq!(chain(4, 3), odd[4..7]);
    assert_eq!(chain(13, 3), []);
    assert_eq!(store.chain(9, 0, 3).expect("none"), []);
}

/// Sums of an hour grow from batch to batch; other hours, symbols and sets are apart.
pub fn sums_of_importance_grow_by_hour_and_symbol(open: Open<'_>) {
    let store = open();
    let other = Importance { feature_set: [8; 16], ..sum(10, "B", 1, &[4.0]) };
    let mut batch = numbered([]);
    batch.feature_sets.push(([8; 16], Bytes::from_static(b"another")));
    batch.importance =
        vec![sum(11, "B", 1, &[1.0, 2.0]), sum(10, "B", 2, &[0.25, 0.5]), sum(10, "B", 1, &[1.0, 1.0]), other.clone()];
    keep(&*store, &batch);
    batch.importance = vec![sum(10, "A", 1, &[7.0]), sum(10, "B", 5, &[0.1, 0.0])];
    keep(&*store, &batch);
    let hours = |from: i64, to: i64, symbol| {
        let hour = |n: i64| Timestamp::from_micros(n * 3_600_000_000);
        store.importance(hour(from), hour(to), symbol).expect("sums")
    };
    let (a, b) = (sum(10, "A", 1, &[7.0]), sum(10, "B", 8, &[0.25 + 1.0 + 0.1, 1.5]));
    let later = sum(11, "B", 1, &[1.0, 2.0]);
    assert_eq!(hours(0, 99, None), [a.clone(), b.clone(), other.clone(), later.clone()]);
    assert_eq!(hours(10, 11, Some("B")), [b.clone(), other]);
    assert_eq!(hours(11, 12, None), [later]);
    assert_eq!(hours(0, 99, Some("C")), []);
    batch.importance = vec![sum(10, "A", 1, &[1.0, 1.0])];
    assert!(matches!(store.apply_explained(&batch), Err(StoreError::Fatal(text)) if text.contains("features")));
}

/// Every set of filters gives what a plain filter over all gives, page by page.
pub fn every_set_of_filters_finds_its_explanations(open: Open<'_>) {
    let store = open();
    keep(&*store, &numbered(0..40));
    keep(&*store, &numbered(40..108));
    let all = all(&*store);
    assert_eq!(all, (0..108).rev().map(explained).collect::<Vec<_>>(), "newest first");
    for set in 0..64_u32 {
        let wanted = |bit: u32| set & bit != 0;
        let query = ExplainedQuery {
            account: wanted(1).then(|| "ACC-1".to_owned()),
            symbol: wanted(2).then(|| "ETHUSDT".to_owned()),
            action: wanted(4).then_some(Action::Sell),
            outcome: wanted(8).then_some(Outcome::Rejected),
            from: wanted(16).then(|| at(5)),
            to: wanted(32).then(|| at(90)),
            after: None,
            limit: 1_000,
        };
        let expected: Vec<_> = all
            .iter()
            .filter(|row| query.account.is_none() || query.account == row.account)
            .filter(|row| query.symbol.as_ref().is_none_or(|symbol| *symbol == row.symbol))
            .filter(|row| query.action.is_none_or(|action| action == row.action))
            .filter(|row| query.outcome.is_none_or(|outcome| outcome == row.outcome))
            .filter(|row| query.from.is_none_or(|from| row.timestamp >= from))
            .filter(|row| query.to.is_none_or(|to| row.timestamp < to))
            .cloned()
            .collect();
        assert!(!expected.is_empty(), "the sample has rows for each set");
        let mut paged = Vec::new();
        let mut page = ExplainedQuery { limit: 7, ..query.clone() };
        loop {
            let rows = store.explanations(&page).expect("explanations");
            let Some((last, _)) = rows.last() else { break };
            page.after = Some(*last);
            paged.extend(rows.into_iter().map(|(_, row)| row));
        }
        assert_eq!(paged, expected, "{query:?}");
    }
    let nobody = ExplainedQuery { account: Some("NOBODY".into()), limit: 9, ..ExplainedQuery::default() };
    assert_eq!(store.explanations(&nobody).expect("none"), []);
}

/// Decisions of one microsecond are apart by their place, and the next is later.
pub fn explanations_of_one_time_are_in_the_order_of_their_places(open: Open<'_>) {
    let store = open();
    let mut rows: Vec<Explained> = (0..6).map(explained).collect();
    rows.iter_mut().for_each(|row| row.timestamp = START);
    rows[2].timestamp = START.plus_micros(1);
    rows[5].timestamp = START.plus_micros(-1);
    keep(&*store, &batch_of(rows.clone()));
    // Partition 1 before partition 0, and each from its end.
    assert_eq!(all(&*store), [2, 3, 1, 4, 0, 5].map(|at: usize| rows[at].clone()));
}

/// The fills of a decision, oldest first; other reports are not among them.
pub fn the_fills_of_a_decision_are_found(open: Open<'_>) {
    let store = open();
    let id = explained(5).decision_id;
    let all = (1..=40).map(|n| {
        let mut report = trade(41 - n);
        report.decision_id = match n % 4 {
            0 => Some(id.clone()),
            1 => Some("another".into()),
            _ => None,
        };
        if n == 8 {
            report.fill = None;
            report.exec_type = tapedeck_contracts::events::ExecType::Canceled;
        }
        report
    });
    store.apply(&reports(all)).expect("apply");
    let fills = |limit| {
        let fills = store.fills_of(&id, limit).expect("fills");
        fills.into_iter().map(|fill| fill.fill_id).collect::<Vec<_>>()
    };
    assert_eq!(fills(100), ["F1", "F5", "F9", "F13", "F17", "F21", "F25", "F29", "F37"]);
    assert_eq!(fills(2), ["F1", "F5"]);
    assert_eq!(store.fills_of("nobody's", 10).expect("none"), []);
}

/// The orders of a decision, oldest first, each with its last status and why it has it.
pub fn the_orders_of_a_decision_stand_as_their_newest_reports_say(open: Open<'_>) {
    let store = open();
    let id = explained(5).decision_id;
    let of = |mut report: ExecutionReport, id: &str| {
        report.decision_id = Some(id.to_owned());
        report
    };
    let mut refused = of(new_order(2), &id);
    refused.exec_type = ExecType::Rejected;
    refused.order.status = OrderStatus::Rejected;
    refused.order.leaves_qty = Dec::ZERO;
    let why = Reason { code: "insufficient_margin".into(), text: "it needs 950 of 12".into() };
    refused.reason = Some(why.clone());
    let all = [of(new_order(3), &id), of(new_order(4), &id), refused, of(new_order(1), "another"), new_order(5)];
    store.apply(&reports(all)).expect("apply");
    let mut filled = of(trade(6), &id);
    filled.order.order_id = "O3".into();
    store.apply(&rows(vec![row(100, filled)])).expect("apply");
    let orders = |limit| store.orders_of(&id, limit).expect("orders");
    let stand: Vec<_> = orders(9).into_iter().map(|order| (order.order_id, order.status, order.reason)).collect();
    let expected = [("O2", OrderStatus::Rejected), ("O3", OrderStatus::Filled), ("O4", OrderStatus::New)];
    let reason = |status| (status == OrderStatus::Rejected).then(|| why.clone());
    assert_eq!(stand, expected.map(|(order, status)| (order.to_owned(), status, reason(status))));
    assert_eq!(orders(9)[1].cum_qty, dec("0.5"));
    assert_eq!(orders(1).len(), 1);
    assert_eq!(store.orders_of("nobody's", 10).expect("none"), []);
    let all = store.orders(&OrdersQuery { limit: 9, ..OrdersQuery::default() }).expect("orders");
    assert_eq!(all.iter().filter(|order| order.reason.as_ref() == Some(&why)).count(), 1, "{all:?}");
}

fn enforce(store: &dyn Store, keep_days: u64, now_ms: i64) -> u64 {
    let rules = [Retention { table: "forensics".into(), keep: Duration::from_secs(keep_days * 86_400) }];
    let mut gone = 0;
    loop {
        match store.enforce_retention(&rules, now_ms).expect("retention") {
            0 => return gone,
            more => gone += more,
        }
    }
}

/// Old records go with their chains' beginnings, which say so; their ids stay.
pub fn old_explanations_go_and_their_chains_say_where_they_begin(open: Open<'_>) {
    let store = open();
    let ingested = |days: i64, batch: ExplainedBatch| {
        let ingested_at_ms = START.millis() + days * DAY_MS;
        keep(&*store, &ExplainedBatch { ingested_at_ms, ..batch });
    };
    ingested(0, numbered(0..11));
    ingested(1, numbered([11, 12, 14]));
    ingested(100, numbered([13, 16]));
    assert_eq!(enforce(&*store, 200, START.millis() + 199 * DAY_MS), 0, "nothing is that old");
    let heads = store.chain_heads().expect("heads");
    assert!(enforce(&*store, 1, START.millis() + DAY_MS + 1) > 0, "those of the first day go");
    assert_eq!(all(&*store), [16, 14, 13, 12, 11].map(explained));
    let begins = |store: &dyn Store| store.chain_heads().expect("heads").into_iter().map(|head| head.begins);
    assert_eq!(begins(&*store).collect::<Vec<_>>(), [Some((6, hash(10))), Some((5, hash(9)))]);
    assert_eq!(store.chain(0, 0, 9).expect("a chain"), [12, 14, 16].map(explained));
    assert!(enforce(&*store, 1, START.millis() + 99 * DAY_MS) > 0);
    drop(store);
    let store = open();
    assert_eq!(all(&*store), [16, 13].map(explained));
    let expected: Vec<_> = [Some((8, hash(14))), Some((6, hash(11)))].into();
    assert_eq!(begins(&*store).collect::<Vec<_>>(), expected);
    let ends = |heads: &[ChainHead]| heads.iter().map(|head| (head.records, head.hash)).collect::<Vec<_>>();
    assert_eq!(ends(&store.chain_heads().expect("heads")), ends(&heads), "the ends stay");
    assert_eq!(store.explained(&explained(3).decision_id).expect("gone"), None);
    assert_eq!(store.last_of_symbols(1).expect("records"), [explained(13)]);
    let mut rows = vec![explained(15), explained(18)];
    rows[1].decision_id = explained(3).decision_id;
    assert_eq!(store.apply_explained(&batch_of(rows)).expect("an answer"), [1], "what went is still known");
    keep(&*store, &numbered([15, 18]));
    assert_eq!(begins(&*store).collect::<Vec<_>>(), expected, "and where it began");
    assert!(enforce(&*store, 1, START.millis() + 400 * DAY_MS) > 0);
    assert_eq!(all(&*store), []);
    assert_eq!(begins(&*store).collect::<Vec<_>>(), [Some((10, hash(18))), Some((8, hash(15)))]);
    keep(&*store, &numbered([17, 20]));
    assert_eq!(store.explained(&explained(17).decision_id).expect("a row"), Some(explained(17)));
    assert_eq!(all(&*store), [20, 17].map(explained));
}

/// A chain that began elsewhere goes on here from where its rows begin.
pub fn a_chain_whose_beginning_is_gone_can_be_kept_again(open: Open<'_>) {
    let store = open();
    let mut batch = numbered([8, 10]);
    batch.heads[0].begins = Some((4, hash(6)));
    keep(&*store, &batch);
    assert_eq!(store.chain_heads().expect("heads"), batch.heads);
    batch = numbered([12]);
    keep(&*store, &batch);
    assert_eq!(store.chain_heads().expect("heads")[0].begins, Some((4, hash(6))));
    assert_eq!(store.chain(0, 0, 9).expect("a chain"), [8, 10, 12].map(explained));
}
