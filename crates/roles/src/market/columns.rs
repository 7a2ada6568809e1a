//! Which column of a file is which of our fields: by name, with the names that
//! exporters use, or as the config maps them.
//!
//! Not here: what the cells mean.

use std::collections::{BTreeMap, HashMap};

/// A field that a row may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Event time; of a bar, the end that `bar_time` names.
    Time,
    /// The instrument.
    Symbol,
    /// Price of a trade.
    Price,
    /// What was traded.
    Volume,
    /// First price of a bar.
    Open,
    /// Highest price of a bar.
    High,
    /// Lowest price of a bar.
    Low,
    /// Last price of a bar.
    Close,
    /// Best bid.
    Bid,
    /// Best ask.
    Ask,
    /// Quantity at the bid.
    BidSize,
    /// Quantity at the ask.
    AskSize,
    /// Whether a bar is complete.
    Final,
}

/// What a row says, by `Field as usize`.
pub(super) type Cells<T> = [Option<T>; Field::COUNT];

impl Field {
    /// How many there are.
    pub const COUNT: usize = 13;

    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Time,
        Self::Symbol,
        Self::Price,
        Self::Volume,
        Self::Open,
        Self::High,
        Self::Low,
        Self::Close,
        Self::Bid,
        Self::Ask,
        Self::BidSize,
        Self::AskSize,
        Self::Final,
    ];

    /// The name in `columns`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Symbol => "symbol",
            Self::Price => "price",
            Self::Volume => "volume",
            Self::Open => "open",
            Self::High => "high",
            Self::Low => "low",
            Self::Close => "close",
            Self::Bid => "bid",
            Self::Ask => "ask",
            Self::BidSize => "bid_size",
            Self::AskSize => "ask_size",
            Self::Final => "final",
        }
    }

    /// Column names that mean it, the likeliest first, as [`plain`] writes them.
    const fn synonyms(self) -> &'static [&'static str] {
        match self {
            Self::Time => &[
                "timestamp",
                "time",
                "datetime",
                "ts",
                "date",
                "opentime",
                "eventtime",
                "tradetime",
                "timestampms",
                "timems",
                "unixtime",
                "unix",
                "epoch",
                "localtime",
                "gmttime",
                "t",
            ],
            Self::Symbol => &["symbol", "ticker", "instrument", "pair", "market", "security", "contract", "sym", "s"],
            Self::Price => &["price", "last", "lastprice", "tradeprice", "px", "rate", "mid", "p"],
            Self::Volume => {
                &["volume", "vol", "qty", "quantity", "size", "amount", "lastqty", "basevolume", "volumebase", "v", "q"]
            }
            Self::Open => &["open", "openprice", "o"],
            Self::High => &["high", "highprice", "h"],
            Self::Low => &["low", "lowprice", "l"],
            Self::Close => &["close", "closeprice", "c"],
            Self::Bid => &["bid", "bidprice", "bestbid", "bestbidprice", "bidpx", "b"],
            Self::Ask => &["ask", "askprice", "offer", "bestask", "bestaskprice", "askpx", "a"],
            Self::BidSize => {
                &["bidsize", "bidqty", "bidquantity", "bidvolume", "bidamount", "bestbidsize", "bestbidqty"]
            }
            Self::AskSize => &[
                "asksize",
                "askqty",
                "askquantity",
                "askvolume",
                "askamount",
                "offersize",
                "bestasksize",
                "bestaskqty",
            ],
            Self::Final => &["final", "isfinal"],
        }
    }

    /// The field of this name in `columns`; its synonyms are taken as well.
    ///
    /// # Errors
    /// No such field; the text names the nearest.
    pub fn named(name: &str) -> Result<Self, String> {
        let wanted = plain(name);
        let known = |field: &Self| plain(field.name()) == wanted || field.synonyms().contains(&wanted.as_str());
        Self::ALL.into_iter().find(known).ok_or_else(|| {
            let near = nearest(name, Self::ALL.iter().map(|field| field.name()));
            let all = Self::ALL.map(Self::name).join(", ");
            format!("there is no field `{name}`{near}; the fields are {all}")
        })
    }
}

/// ` (did you mean …?)` with the name that is nearest, where one is near.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    // Below this likeness a suggestion misleads more than it helps.
    const LIKE: f64 = 0.6;
    let scored = names.map(|known| (strsim::jaro_winkler(name, known), known));
    match scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, known)) if score >= LIKE => format!(" (did you mean `{known}`?)"),
        _ => String::new(),
    }
}

/// A column name without case, spaces, dashes, underscores and brackets.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The JSON keys that mean a field, and how likely: 0 as mapped (the key as it
/// stands), from 1 on by name (the key as [`plain`] writes it).
pub(super) fn keys(columns: &BTreeMap<String, String>) -> HashMap<String, (Field, usize)> {
    let mapped: Vec<Field> = columns.keys().filter_map(|ours| Field::named(ours).ok()).collect();
    let mut keys = HashMap::new();
    for field in Field::ALL.into_iter().filter(|field| !mapped.contains(field)) {
        let ranked = field.synonyms().iter().enumerate();
        keys.extend(ranked.map(|(rank, name)| ((*name).to_owned(), (field, rank + 1))));
    }
    let exact = columns.iter().filter_map(|(ours, theirs)| Some((theirs.clone(), (Field::named(ours).ok()?, 0))));
    keys.extend(exact);
    keys
}

/// Where each field lies in a line of cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// The column of each field, from 0.
    pub(super) columns: Cells<usize>,
    /// How many cells a line has.
    pub(super) width: usize,
    /// The header's names; empty where there is no header.
    pub(super) names: Vec<String>,
}

impl Layout {
    /// The layout of a file with this header.
    ///
    /// # Errors
    /// A mapped column that is not there.
    pub(super) fn of_header(names: &[String], mapping: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut layout = Self { columns: [None; Field::COUNT], width: names.len(), names: names.to_vec() };
        for (ours, theirs) in mapping {
            let field = Field::named(ours)?;
            let exact = names.iter().position(|name| name == theirs);
            let alike = || names.iter().position(|name| plain(name) == plain(theirs));
            let column = exact.or_else(alike).or_else(|| number(theirs, names.len())).ok_or_else(|| {
                let near = nearest(theirs, names.iter().map(String::as_str));
                format!("no column `{theirs}` for `{}`{near}; the file has {}", field.name(), quoted(names))
            })?;
            layout.columns[field as usize] = Some(column);
        }
        let plain_names: Vec<String> = names.iter().map(|name| plain(name)).collect();
        for field in Field::ALL.into_iter().filter(|field| !mapping.keys().any(|o| Field::named(o) == Ok(*field))) {
            let find = |known: &&str| plain_names.iter().position(|name| name == known);
            let column = field.synonyms().iter().find_map(find);
            layout.columns[field as usize] = column.filter(|column| !layout.columns.contains(&Some(*column)));
        }
        Ok(layout)
    }

    /// The layout of a file without a header, whose lines have `width` cells.
    ///
    /// # Errors
    /// No mapping, a name in it, or a number beyond the line.
    pub(super) fn of_numbers(width: usize, mapping: &BTreeMap<String, String>) -> Result<Self, String> {
        if mapping.is_empty() {
            return Err(format!(
                "the file has no header line, so say which of its {width} columns is which, numbered from 1: \
                 `--columns time=1,bid=2,ask=3,volume=4`, in the config `columns = {{ time = \"1\", bid = \"2\", ask = \"3\", volume = \"4\" }}`"
            ));
        }
        let mut layout = Self { columns: [None; Field::COUNT], width, names: Vec::new() };
        for (ours, theirs) in mapping {
            let field = Field::named(ours)?;
            let column = number(theirs, width).ok_or_else(|| {
                format!(
                    "`{}` is mapped to `{theirs}`, but the file has no header line and {width} columns: give a number from 1 to {width}",
                    field.name()
                )
            })?;
            layout.columns[field as usize] = Some(column);
        }
        Ok(layout)
    }

    /// Whether the fields suffice for a price; the text says what is missing and
    /// how to say it.
    pub(super) fn complain(&self, symbol_known: bool) -> Option<String> {
        let has = |field: Field| self.columns[field as usize].is_some();
        let bars = [Field::Open, Field::High, Field::Low, Field::Close];
        let missing: Vec<_> = bars.into_iter().filter(|field| !has(*field)).map(Field::name).collect();
        let columns =
            if self.names.is_empty() { String::new() } else { format!("; the file has {}", quoted(&self.names)) };
        if !has(Field::Time) {
            return Some(format!(
                "no column with the time{columns}: map it with `--columns time=NAME` or `columns = {{ time = \"NAME\" }}`"
            ));
        }
        if !(missing.is_empty() || has(Field::Bid) && has(Field::Ask) || has(Field::Price)) {
            let start = if missing.len() == bars.len() {
                String::new()
            } else {
                format!(" (a bar lacks {})", missing.join(", "))
            };
            return Some(format!(
                "no column with a price{start}{columns}: tapedeck needs open, high, low and close (bars), bid and ask (quotes) or price (trades): \
                 map it with `--columns price=NAME` or `columns = {{ price = \"NAME\" }}`"
            ));
        }
        if !(symbol_known || has(Field::Symbol)) {
            return Some(format!(
                "no column with the symbol{columns}: name it with `--symbol BTCUSDT` or `symbol = \"BTCUSDT\"`"
            ));
        }
        None
    }

    /// How a message names the column of a field.
    pub(super) fn describe(&self, field: Field) -> String {
        match self.columns[field as usize] {
            Some(at) if at < self.names.len() => format!("column {} `{}`", at + 1, self.names[at]),
            Some(at) => format!("column {} ({})", at + 1, field.name()),
            None => format!("column `{}`", field.name()),
        }
    }
}

fn number(text: &str, width: usize) -> Option<usize> {
    text.parse::<usize>().ok().filter(|n| (1..=width).contains(n)).map(|n| n - 1)
}

fn quoted(names: &[String]) -> String {
    // More names than these would hide the sentence.
    const SHOWN: usize = 20;
    let more = if names.len() > SHOWN { ", …" } else { "" };
    names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ") + more
}
