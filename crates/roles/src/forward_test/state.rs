//! The broker's state as keys and values: what changed, and taking it back.
//!
//! One key each for a source, a symbol, a block of 60 minute closes, an
//! account, a position, an open order, what a strategy holds. Keys name what
//! they are about with `/` and `%` escaped; the values name it again, so that
//! no key is ever parsed. Decimals are texts, floats their bits: both come back
//! exactly.
//!
//! Not here: where the keys are kept.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    account::{Account, AccountState, Holding},
    book::Order,
    money,
    tape::{SourceState, SymbolState, Tape},
    var::{BLOCK, Returns},
};

/// Keys and values; no value deletes.
pub(super) type Changes = Vec<(String, Option<Vec<u8>>)>;

/// A value and what it is about. `owner` is a source or a session.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    owner: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    venue: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    symbol: String,
    #[serde(flatten)]
    value: T,
}

#[derive(Serialize, Deserialize)]
struct Closes {
    /// Number of the first close.
    start: u64,
    closes: Vec<Option<Exact>>,
}

#[derive(Serialize, Deserialize)]
struct Filled {
    strategy: String,
    filled: Exact,
}

#[derive(Serialize, Deserialize)]
struct Ignored {
    ignored: u64,
}

/// Blocks of closes that wait until all keys are there: by place on the tape
/// and number of their first close.
#[derive(Clone, Default)]
pub(super) struct Waiting {
    closes: BTreeMap<usize, BTreeMap<u64, Vec<Option<Decimal>>>>,
}

fn key(kind: &str, parts: &[&str]) -> String {
    let mut key = kind.to_owned();
    for part in parts {
        key.push('/');
        key.push_str(&part.replace('%', "%25").replace('/', "%2F"));
    }
    key
}

fn json<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    Some(serde_json::to_vec(value).expect("the state has text keys and no bare floats"))
}

/// The count of signals of no session.
pub(super) fn ignored_changed(ignored: u64) -> (String, Option<Vec<u8>>) {
    ("ignored".into(), json(&Ignored { ignored }))
}

/// What changed on the tape.
pub(super) fn tape_changed(tape: &mut Tape, changes: &mut Changes) {
    for source in tape.sources.iter_mut().filter(|source| source.dirty) {
        source.dirty = false;
        let kept = Kept {
            owner: source.info.id.clone(),
            venue: String::new(),
            symbol: String::new(),
            value: source.state.clone(),
        };
        changes.push((key("source", &[&kept.owner]), json(&kept)));
    }
    for symbol in &mut tape.symbols {
        let owner = &tape.sources[symbol.source].info.id;
        let kept =
            |value| Kept { owner: owner.clone(), venue: symbol.venue.clone(), symbol: symbol.name.clone(), value };
        let block_key = |block: u64| key("closes", &[owner, &symbol.venue, &symbol.name, &block.to_string()]);
        if std::mem::take(&mut symbol.dirty) {
            changes.push((key("symbol", &[owner, &symbol.venue, &symbol.name]), json(&kept(symbol.state.clone()))));
        }
        let (blocks, gone) = symbol.returns.take_changed();
        for (start, closes) in blocks {
            let closes = closes.into_iter().map(|close| close.map(Exact)).collect();
            let kept = Kept {
                owner: owner.clone(),
                venue: symbol.venue.clone(),
                symbol: symbol.name.clone(),
                value: Closes { start, closes },
            };
            changes.push((block_key(start / BLOCK), json(&kept)));
        }
        changes.extend(gone.map(|block| (block_key(block), None)));
    }
}

/// What changed in an account.
pub(super) fn account_changed(account: &mut Account, tape: &Tape, changes: &mut Changes) {
    let session = account.session.as_str();
    let at = |symbol: usize| (tape.symbols[symbol].venue.clone(), tape.symbols[symbol].name.clone());
    if std::mem::take(&mut account.dirty) {
        let kept = Kept {
            owner: session.to_owned(),
            venue: String::new(),
            symbol: String::new(),
            value: account.state.clone(),
        };
        changes.push((key("account", &[session]), json(&kept)));
    }
    for position in account.positions.iter_mut().filter(|position| position.dirty) {
        position.dirty = false;
        let (venue, symbol) = at(position.symbol);
        let key = key("position", &[session, &venue, &symbol]);
        let kept = Kept { owner: session.to_owned(), venue, symbol, value: position.held.clone() };
        changes.push((key, json(&kept)));
    }
    let order_key = |number: u64| key("order", &[session, &number.to_string()]);
    changes.extend(account.closed_orders.drain(..).map(|number| (order_key(number), None)));
    for order in account.orders.iter_mut().filter(|order| order.dirty) {
        order.dirty = false;
        let (venue, symbol) = at(order.symbol);
        let kept = Kept { owner: session.to_owned(), venue, symbol, value: order.clone() };
        changes.push((order_key(order.number), json(&kept)));
    }
    account.changed_strategies.sort_unstable();
    account.changed_strategies.dedup();
    for (strategy, symbol) in std::mem::take(&mut account.changed_strategies) {
        let filled = account.strategies.get(&(strategy.clone(), symbol)).copied();
        let (venue, symbol) = at(symbol);
        let key = key("strategy", &[session, &strategy, &venue, &symbol]);
        let kept = |filled| Kept {
            owner: session.to_owned(),
            venue,
            symbol,
            value: Filled { strategy, filled: Exact(filled) },
        };
        changes.push((key, filled.and_then(|filled| json(&kept(filled)))));
    }
}

/// Takes one key back. Accounts and sources that the config no longer has are
/// passed over: their keys stay as they are until the config has them again.
pub(super) fn restore(
    tape: &mut Tape,
    accounts: &mut [Account],
    ignored: &mut u64,
    waiting: &mut Waiting,
    key: &str,
    value: &[u8],
) -> Result<(), String> {
    let kind = key.split('/').next().unwrap_or_default();
    match kind {
        "ignored" => *ignored = read::<Ignored>(key, value)?.ignored,
        "source" => {
            let kept: Kept<SourceState> = read(key, value)?;
            if let Some(source) = tape.source(&kept.owner) {
                tape.sources[source].state = kept.value;
            }
        }
        "symbol" => {
            let kept: Kept<SymbolState> = read(key, value)?;
            if let Some(source) = tape.source(&kept.owner) {
                let at = tape.symbol_at(source, &kept.venue, &kept.symbol);
                tape.symbols[at].state = kept.value;
            }
        }
        "closes" => {
            let kept: Kept<Closes> = read(key, value)?;
            if let Some(source) = tape.source(&kept.owner) {
                let at = tape.symbol_at(source, &kept.venue, &kept.symbol);
                let closes = kept.value.closes.into_iter().map(|close| close.map(|close| close.0)).collect();
                waiting.closes.entry(at).or_default().insert(kept.value.start, closes);
            }
        }
        "account" | "position" | "order" | "strategy" => return restore_account(tape, accounts, kind, key, value),
        _ => return Err(format!("state key `{key}` is of no kind that this version of the paper broker knows")),
    }
    Ok(())
}

fn restore_account<'a>(
    tape: &mut Tape,
    accounts: &'a mut [Account],
    kind: &str,
    key: &str,
    value: &[u8],
) -> Result<(), String> {
    let of =
        |accounts: &'a mut [Account], session: &str| accounts.iter_mut().find(|account| account.session == session);
    match kind {
        "account" => {
            let kept: Kept<AccountState> = read(key, value)?;
            if let Some(account) = of(accounts, &kept.owner) {
                let (before, now) = (&kept.value.currency, &account.state.currency);
                if before != now {
                    return Err(format!(
                        "session `{}` began in {before} and the config says {now}; set its currency back, or give a new session an account of its own",
                        kept.owner
                    ));
                }
                account.state = kept.value;
            }
        }
        "position" => {
            let kept: Kept<Holding> = read(key, value)?;
            if let Some(account) = of(accounts, &kept.owner) {
                let at = tape.symbol_at(account.source, &kept.venue, &kept.symbol);
                account.position_mut(at, tape).held = kept.value;
            }
        }
        "order" => {
            let kept: Kept<Order> = read(key, value)?;
            if let Some(account) = of(accounts, &kept.owner) {
                let symbol = tape.symbol_at(account.source, &kept.venue, &kept.symbol);
                account.orders.push(Order { symbol, ..kept.value });
            }
        }
        _ => {
            let kept: Kept<Filled> = read(key, value)?;
            if let Some(account) = of(accounts, &kept.owner) {
                let at = tape.symbol_at(account.source, &kept.venue, &kept.symbol);
                account.strategies.insert((kept.value.strategy, at), kept.value.filled.0);
            }
        }
    }
    Ok(())
}

/// Makes what is not kept from what is: order of orders, returns, values.
pub(super) fn finish(tape: &mut Tape, accounts: &mut [Account], waiting: Waiting) -> Result<(), money::Overflow> {
    for (at, blocks) in waiting.closes {
        tape.symbols[at].returns = Returns::restore(blocks.into_iter().collect());
    }
    for account in accounts {
        account.orders.sort_by_key(|order| order.number);
        let held: Vec<usize> = account.positions.iter().map(|position| position.symbol).collect();
        for symbol in held {
            if let Some(mark) = tape.symbols[symbol].state.mark {
                account.revalue(symbol, mark)?;
            }
        }
    }
    Ok(())
}

fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value)
        .map_err(|error| format!("state key `{key}` is not what this version of the paper broker writes: {error}"))
}

/// A decimal in the state: exact, with all digits that a `Decimal` holds.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Exact(#[serde(with = "exact")] Decimal);

/// Decimals as texts of all their digits; the wire's `Dec` takes fewer.
pub(super) mod exact {
    use std::borrow::Cow;

    use rust_decimal::Decimal;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(value: &Decimal, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&value.normalize())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Decimal, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        Decimal::from_str_exact(&text).map_err(|error| D::Error::custom(format_args!("{text:?}: {error}")))
    }
}

/// The same for decimals that may be missing.
pub(super) mod exact_opt {
    use rust_decimal::Decimal;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Exact;

    pub(in super::super) fn serialize<S: Serializer>(value: &Option<Decimal>, to: S) -> Result<S::Ok, S::Error> {
        value.map(Exact).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Decimal>, D::Error> {
        Ok(Option::<Exact>::deserialize(from)?.map(|exact| exact.0))
    }
}

/// Floats as their bits: a text may come back as the float beside it.
pub(super) mod bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        value.to_bits().serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}
