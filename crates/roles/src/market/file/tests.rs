//! Files of every form that is read, and what every mistake in one gets.
//!
//! Not here: what other files' tests hold.

use std::path::Path;

use proptest::prelude::*;
use tapedeck_contracts::{
    Event, EventKind,
    events::{Envelope, MarketKind},
};
use tempfile::tempdir;

use super::*;
use crate::market::{
    inspect,
    merge::Merge,
    testing::{file_source, gzip, shared_data, with_columns, write},
};

fn all(path: &Path, config: &SourceConfig) -> Result<Vec<MarketData>, BadInput> {
    let mut file = FileSource::open(path, config, "hash", None)?;
    let mut events = Vec::new();
    while let Some(event) = file.next()? {
        events.push(event.data);
    }
    Ok(events)
}

/// The events of a text, of symbol X where its rows do not say.
fn read(text: &str) -> Result<Vec<MarketData>, BadInput> {
    read_with(text, |source| source)
}

fn read_with(text: &str, change: impl FnOnce(SourceConfig) -> SourceConfig) -> Result<Vec<MarketData>, BadInput> {
    let dir = tempdir().unwrap();
    let path = write(dir.path(), "f.csv", text);
    let mut source = file_source("s", &path);
    source.symbol = Some("X".into());
    all(&path, &change(source))
}

/// The mistake in a text, without the folder.
fn mistake(text: &str) -> String {
    mistake_with(text, |source| source)
}

fn mistake_with(text: &str, change: impl FnOnce(SourceConfig) -> SourceConfig) -> String {
    let text = read_with(text, change).expect_err("the text is wrong").to_string();
    text[text.find("f.csv").expect("the file is named")..].to_owned()
}

const BARS: &str = "\
timestamp,open,high,low,close,volume
2024-01-01 00:00:00,10,12,9,11,5.5
2024-01-01 00:01:00,11,11,11,11.0,0
2024-01-01 00:03:00,11,12,8,9,2
";

#[test]
fn bars_come_at_their_end() {
    let events = read(BARS).unwrap();
    assert_eq!(events.len(), 3);
    let bar = &events[0];
    assert_eq!((bar.kind, bar.is_final, bar.interval.as_deref()), (Some(MarketKind::Bar), Some(true), Some("1m")));
    assert_eq!(bar.timestamp.to_string(), "2024-01-01T00:01:00.000000Z");
    let texts =
        [bar.open, bar.high, bar.low, bar.close, Some(bar.price), Some(bar.volume)].map(|d| d.unwrap().to_string());
    assert_eq!(texts, ["10", "12", "9", "11", "11", "5.5"]);
    assert_eq!((bar.symbol.as_str(), bar.source.as_str(), bar.venue.as_deref()), ("X", "s", Some("SIM")));
}

#[test]
fn the_time_of_a_bar_may_be_its_close() {
    let closes = |mut source: SourceConfig| {
        source.bar_time = BarTime::Close;
        source
    };
    let events = read_with(BARS, closes).unwrap();
    assert_eq!(events[0].timestamp.to_string(), "2024-01-01T00:00:00.000000Z");
    assert_eq!(events[0].interval.as_deref(), Some("1m"));
}

#[test]
fn one_bar_alone_needs_its_length() {
    let one = BARS.lines().take(2).collect::<Vec<_>>().join("\n");
    assert!(mistake(&one).contains("give `interval`"));
    let hourly = |mut source: SourceConfig| {
        source.interval = Some("1h".into());
        source
    };
    assert_eq!(read_with(&one, hourly).unwrap()[0].timestamp.to_string(), "2024-01-01T01:00:00.000000Z");
}

#[test]
fn quotes_have_their_mid_exactly() {
    let events = read("ts;Bid Price;Ask Price;Bid-Size;ask_qty\n1577898000065;1.12120;1.12171;3;4\n").unwrap();
    let quote = &events[0];
    assert_eq!(quote.kind, Some(MarketKind::Quote));
    assert_eq!(quote.price.to_string(), "1.121455");
    assert_eq!(quote.bid_size.unwrap().to_string(), "3");
    assert_eq!(quote.ask_size.unwrap().to_string(), "4");
    assert_eq!(quote.volume.to_string(), "0");
}

#[test]
fn trades_and_symbols_come_from_their_rows() {
    let events =
        read("Time,Ticker,Last,Qty\n2024-01-01T00:00:00Z,AAPL,185.1,100\n2024-01-01T00:00:00Z,MSFT,370,50\n").unwrap();
    let seen: Vec<_> = events.iter().map(|e| (e.symbol.as_str(), e.price.to_string(), e.kind)).collect();
    let trade = Some(MarketKind::Trade);
    assert_eq!(seen, [("AAPL", "185.1".into(), trade), ("MSFT", "370".into(), trade)]);
}

#[test]
fn the_form_of_a_file_does_not_matter() {
    let dir = tempdir().unwrap();
    let config = |path: &Path| {
        let mut source = file_source("s", path);
        source.symbol = Some("X".into());
        source
    };
    let expected = read(BARS).unwrap();
    let headless: String = BARS.lines().skip(1).map(|line| format!("{line}\n")).collect();
    let numbers = [("time", "1"), ("open", "2"), ("high", "3"), ("low", "4"), ("close", "5"), ("volume", "6")];
    let ndjson: String = BARS
        .lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            format!(
                "{{\"t\":\"{}\",\"o\":{},\"h\":\"{}\",\"l\":{},\"c\":{},\"v\":{},\"n\":null,\"x\":{{}}}}\n",
                cells[0], cells[1], cells[2], cells[3], cells[4], cells[5]
            )
        })
        .collect();
    let quoted = BARS.lines().map(|line| format!("\"{}\"\n", line.replace(',', "\",\""))).collect::<String>();
    for (name, bytes) in [
        ("crlf.csv", BARS.replace('\n', "\r\n").into_bytes()),
        ("bom.csv", format!("\u{feff}{BARS}").into_bytes()),
        ("blank.csv", BARS.replace('\n', "\n\n  \n").into_bytes()),
        ("tabs.tsv", BARS.replace(',', "\t").into_bytes()),
        ("quoted.csv", quoted.into_bytes()),
        ("gzip-by-content.csv", gzip(BARS.as_bytes())),
        ("two-members.gz", [gzip(&BARS.as_bytes()[..40]), gzip(&BARS.as_bytes()[40..])].concat()),
        ("lines.json", ndjson.clone().into_bytes()),
        ("lines.ndjson.gz", gzip(ndjson.as_bytes())),
    ] {
        let path = write(dir.path(), name, bytes);
        assert_eq!(all(&path, &config(&path)).unwrap(), expected, "{name}");
    }
    let path = write(dir.path(), "headless.csv", headless);
    assert_eq!(all(&path, &with_columns(config(&path), &numbers)).unwrap(), expected);
}

#[test]
fn columns_are_mapped_by_name() {
    let map = |source| with_columns(source, &[("time", "when"), ("price", "Paid"), ("volume", "3")]);
    let events = read_with("when,paid,lots,price\n2024-01-01,5,7,99\n", map).unwrap();
    assert_eq!((events[0].price.to_string(), events[0].volume.to_string()), ("5".into(), "7".into()));
    let map = |source| with_columns(source, &[("price", "paid.eur")]);
    let events = read_with("{\"time\":\"2024-01-01\",\"paid.eur\":1e1,\"price\":99}\n", map).unwrap();
    assert_eq!(events[0].price.to_string(), "10");
}

#[test]
fn what_tapedeck_wrote_is_read_again() {
    let data = read("time,bid,ask\n2024-01-01,1,2\n").unwrap().remove(0);
    let envelope = Envelope { timestamp: data.timestamp, producer_service: "market".into(), data: data.clone() };
    let again = read(&serde_json::to_string(&envelope).unwrap()).unwrap();
    assert_eq!(again, [data]);
}

#[test]
fn events_pass_the_check_of_the_contract() {
    for text in [BARS, "time,bid,ask,volume\n2024-01-01,1,2,3\n", "time,price\n2024-01-01,0.0000000001\n"] {
        for data in read(text).unwrap() {
            let envelope = Envelope { timestamp: data.timestamp, producer_service: "market".into(), data };
            let json = serde_json::to_vec(&envelope).unwrap();
            Event::decode(EventKind::MarketData, &json).unwrap();
        }
    }
}

#[test]
fn a_file_without_a_price_column_is_told_what_is_needed() {
    let text = mistake("time,prise,volume\n2024-01-01,1,2\n");
    assert!(
        text.starts_with("f.csv:1: no column with a price; the file has `time`, `prise`, `volume`: tapedeck needs"),
        "{text}"
    );
    assert!(text.contains("`--columns price=NAME`"), "{text}");
    assert!(mistake("time,open,close\n").contains("(a bar lacks high, low)"));
    assert!(mistake("price\n5\n").contains("no column with the time"));
    let nobody = |source| SourceConfig { symbol: None, ..source };
    assert!(mistake_with("time,price\n", nobody).contains("no column with the symbol"));
    let text = mistake("{\"time\":\"2024-01-01\",\"prise\":1}\n");
    assert!(text.starts_with("f.csv:1: `price`: no price: a row needs"), "{text}");
}

#[test]
fn a_file_without_a_header_is_told_how_to_map() {
    let text = mistake("20200101 170000065,1.1,1.2,0\n");
    assert!(text.starts_with("f.csv:1: the file has no header line"), "{text}");
    assert!(text.contains("`--columns time=1,bid=2,ask=3,volume=4`"), "{text}");
    let named = |source| with_columns(source, &[("time", "when")]);
    assert!(mistake_with("20200101,1.1\n", named).contains("give a number from 1 to 2"));
    let absent = |source| with_columns(source, &[("price", "Pirce")]);
    assert!(mistake_with("time,price\n", absent).contains("no column `Pirce` for `price` (did you mean `price`?)"));
}

#[test]
fn a_time_that_goes_backwards_names_both_times() {
    let text = mistake("time,price\n2024-01-01 00:00:01,1\n2024-01-01 00:00:01,1\n2024-01-01 00:00:00,1\n");
    assert_eq!(
        text,
        "f.csv:4: column 1 `time`: time goes backwards: 2024-01-01T00:00:00.000000Z after \
         2024-01-01T00:00:01.000000Z in line 3; sort the file by time (equal times are fine)"
    );
}

#[test]
fn prices_that_contradict_each_other_are_refused() {
    let bar = |cells: &str| mistake(&format!("time,open,high,low,close\n2024-01-01,1,1,1,1\n2024-01-02,{cells}\n"));
    assert_eq!(bar("2,1,3,2"), "f.csv:3: column 3 `high`: high 1 is below low 3: are the columns swapped?");
    assert_eq!(bar("5,4,1,2"), "f.csv:3: column 2 `open`: open 5 is not between low 1 and high 4");
    assert_eq!(bar("2,4,1,0.5"), "f.csv:3: column 5 `close`: close 0.5 is not between low 1 and high 4");
    assert_eq!(
        mistake("time,bid,ask\n2024-01-01,1.2,1.1\n"),
        "f.csv:2: column 2 `bid`: bid 1.2 is above ask 1.1: are the columns swapped?"
    );
}

#[test]
fn numbers_that_are_none_name_their_column() {
    let row = |cells: &str| mistake(&format!("time,price,volume\n2024-01-01,{cells}\n"));
    assert_eq!(row("abc,1"), "f.csv:2: column 2 `price`: \"abc\" is not a decimal such as `1234.5`");
    assert_eq!(row("NaN,1"), "f.csv:2: column 2 `price`: \"NaN\" is not a decimal such as `1234.5`");
    assert_eq!(row(",1"), "f.csv:2: column 2 `price`: is empty");
    assert_eq!(row("0,1"), "f.csv:2: column 2 `price`: 0 is not above 0, as a price must be");
    assert_eq!(row("1,-1"), "f.csv:2: column 3 `volume`: -1 is below 0, which a quantity cannot be");
    assert!(row("0.12345678901,1").contains("more than 18 significant digits or 10 decimals: round it in the file"));
    assert_eq!(
        row("1"),
        "f.csv:2: 2 columns, where the first line has 3: the line is cut off or has a separator too many"
    );
    assert!(mistake("time,price\nsoon,1\n").starts_with("f.csv:2: column 1 `time`: \"soon\" is not a time"));
    let text = mistake("{\"time\":\"2024-01-01\",\"price\":\"abc\"}");
    assert_eq!(text, "f.csv:1: `price`: \"abc\" is not a decimal such as `1234.5`");
    assert!(mistake("{\"time\":\"2024-01-01\",\"price\":[1]}").contains("`price`: expected a number or a text"));
    assert!(mistake("{\"time\":\"2024-01-01\",\"price\":1}\n{oops\n").starts_with("f.csv:2: not a JSON object"));
}

#[test]
fn the_noise_of_floats_is_rounded_off_volumes_and_never_off_prices() {
    let events =
        read("time,price,volume\n2024-01-01,1,218102.59507500002\n2024-01-01,1,123456789012.34567891\n").unwrap();
    assert_eq!(events[0].volume.to_string(), "218102.595075");
    assert_eq!(events[1].volume.to_string(), "123456789012.345679");
    assert!(mistake("time,price\n2024-01-01,218102.59507500002\n").contains("round it in the file"));
    assert!(mistake("time,price,volume\n2024-01-01,1,1e40\n").contains("column 3 `volume`"));
}

#[test]
fn what_is_no_such_file_is_named() {
    let dir = tempdir().unwrap();
    let open = |path: &Path| all(path, &file_source("s", path)).unwrap_err().to_string();
    assert!(open(&dir.path().join("none.csv")).contains("no such file"));
    assert!(open(dir.path()).contains("is a folder"));
    let file = |bytes: &[u8]| open(&write(dir.path(), "f", bytes));
    assert!(file(b"").contains("is empty"));
    assert!(file(b"PK\x03\x04....").contains("a zip archive"));
    assert!(file(b"\xff\xfet\0").contains("UTF-16"));
    assert!(file(b"[{\"time\":1}]").contains("write one object a line"));
    assert!(file(b"time,price,symbol\n2024-01-01,\xff,X\n").contains(":2: byte 12 of the line is not UTF-8"));
    assert!(file(b"time,price,symbol\n\"2024-01-01,1,X\n").contains("a quote is opened"));
    let prices = (100..400).map(|price| format!("2024-01-01,{price}.{},X\n", price * 7919 % 1000)).collect::<String>();
    let zipped = gzip(format!("time,price,symbol\n{prices}").as_bytes());
    assert!(file(&zipped[..zipped.len() / 2]).contains("the gzip ends in the middle"));
    assert!(file(&vec![b'x'; 3 << 20]).contains("a line of more than 1 MB"));
}

#[test]
fn files_merge_by_time_symbol_file_and_line() {
    let dir = tempdir().unwrap();
    let texts = [
        "time,symbol,price\n2024-01-01,B,1\n2024-01-02,B,2\n2024-01-02,A,3\n2024-01-02,B,4\n",
        "time,symbol,price\n2024-01-02,A,5\n2024-01-02,B,6\n2024-01-03,A,7\n",
    ];
    let open = |(at, text): (usize, &&str)| {
        let path = write(dir.path(), &at.to_string(), text);
        FileSource::open(&path, &file_source("s", &path), &at.to_string(), None).unwrap()
    };
    let mut merge = Merge::new(texts.iter().enumerate().map(open).collect()).unwrap();
    let mut seen = Vec::new();
    while let Some(event) = merge.next().unwrap() {
        seen.push(format!("{}{}:{}/{}", event.data.symbol, event.data.price, event.input, event.line));
    }
    assert_eq!(seen, ["B1:0/2", "A3:0/4", "A5:1/2", "B2:0/3", "B4:0/5", "B6:1/3", "A7:1/4"]);
}

#[test]
fn what_stands_before_a_mistake_is_given() {
    let dir = tempdir().unwrap();
    let path = write(dir.path(), "f", "time,symbol,price\n2024-01-01,A,1\n2024-01-02,A,2\n2024-01-03,A,x\n");
    let mut merge = Merge::new(vec![FileSource::open(&path, &file_source("s", &path), "h", None).unwrap()]).unwrap();
    assert!(merge.next().unwrap().is_some());
    assert!(merge.next().unwrap().is_some());
    assert!(merge.next().unwrap_err().to_string().contains(":4: column 3 `price`"));
}

#[test]
fn a_file_is_summed_up() {
    let dir = tempdir().unwrap();
    let path = write(dir.path(), "f", BARS);
    let mut source = file_source("s", &path);
    source.symbol = Some("X".into());
    let summary = inspect(&path, &source).unwrap();
    assert_eq!((summary.format, summary.kind, summary.events), ("CSV", MarketKind::Bar, Some(3)));
    assert_eq!(summary.last_time.unwrap().to_string(), "2024-01-01T00:04:00.000000Z");
    assert_eq!(summary.symbols, ["X"]);
    assert_eq!(summary.columns[0], ("time", "column 1 `timestamp`".to_owned()));
    assert!(summary.notes.iter().any(|note| note.contains("taken as UTC")), "{:?}", summary.notes);
    let empty = write(dir.path(), "g", "time,price,symbol\n");
    assert!(inspect(&empty, &source).unwrap_err().to_string().contains("no rows"));
}

#[test]
fn recordings_of_real_markets_are_read_as_they_are() {
    if let Some(path) = shared_data("btc-perp-1m-2022-01.csv.gz") {
        let mut source = file_source("s", &path);
        source.symbol = Some("BTC".into());
        let summary = inspect(&path, &source).unwrap();
        assert_eq!((summary.kind, summary.interval.as_deref()), (MarketKind::Bar, Some("1m")));
        assert_eq!(summary.events, Some(45_031));
        assert_eq!(summary.first_time.to_string(), "2021-12-31T23:02:00.000000Z");
    }
    if let Some(path) = shared_data("eurusd-quotes-2020-01.csv.gz") {
        let mut source = file_source("s", &path);
        source.symbol = Some("EURUSD".into());
        let source = with_columns(source, &[("time", "1"), ("bid", "2"), ("ask", "3"), ("volume", "4")]);
        let summary = inspect(&path, &source).unwrap();
        assert_eq!((summary.kind, summary.events), (MarketKind::Quote, Some(9_500)));
        assert_eq!(summary.first_time.to_string(), "2020-01-01T17:00:00.065000Z");
    }
    if let Some(path) = shared_data("usdjpy-ticks-2013-01.csv") {
        let mut source = file_source("s", &path);
        source.symbol = Some("USDJPY".into());
        let summary = inspect(&path, &source).unwrap();
        assert_eq!((summary.kind, summary.events), (MarketKind::Quote, Some(1_000)));
        assert_eq!(summary.first_time.to_string(), "2013-01-01T22:00:00.295000Z");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), header in any::<bool>()) {
        let dir = tempdir().unwrap();
        let start: &[u8] = if header { b"time,symbol,bid,ask\n" } else { b"{" };
        let path = write(dir.path(), "f", [start, &bytes].concat());
        if let Err(error) = all(&path, &file_source("s", &path)) {
            prop_assert!(!error.detail.is_empty());
        }
    }

    #[test]
    fn any_text_is_a_time_or_is_refused(text in "[0-9TZ:+./ -]{0,30}") {
        let mut reader = super::super::times::TimeReader::new("Europe/Berlin", None).unwrap();
        if let Err(error) = reader.read(&text, None) {
            prop_assert!(!error.is_empty());
        }
    }
}
