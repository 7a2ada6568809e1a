//! Every fixture of the contract through Avro and back, and Avro's own library
//! beside ours.
//!
//! Not here: frames and the registry.

use std::path::{Path, PathBuf};

use apache_avro::{Schema, reader::datum::GenericDatumReader, types::Value as Avro, writer::datum::GenericDatumWriter};
use proptest::prelude::*;
use serde_json::{Value, json};
use tapedeck_contracts::{Event, EventKind};

use super::*;

/// Every fixture of every kind.
fn fixtures() -> Vec<(EventKind, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contracts/fixtures");
    let mut found = Vec::new();
    for kind in EventKind::ALL {
        let mut folders = vec![root.join(kind.name())];
        let before = found.len();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push((*kind, path.clone(), std::fs::read_to_string(path).unwrap())),
                }
            }
        }
        assert!(found.len() > before, "{kind} has a fixture");
    }
    found
}

fn read_by_theirs(schema: &Schema, mut body: &[u8]) -> Avro {
    GenericDatumReader::builder(schema).build().unwrap().read_value(&mut body).unwrap()
}

fn written_by_theirs(schema: &Schema, value: Avro) -> Vec<u8> {
    GenericDatumWriter::builder(schema).build().unwrap().write_value_to_vec(value).unwrap()
}

fn plan_of(schema: &Value) -> Plan {
    Plan::parse(&schema.to_string()).unwrap()
}

fn body_of(plan: &Plan, json: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    plan.write(json, &mut body).unwrap();
    body
}

#[test]
fn every_event_is_the_same_after_a_way_through_avro_to_the_last_digit() {
    for (kind, path, text) in fixtures() {
        let plan = plan_of(&avro_schema(kind));
        let Ok(event) = Event::decode(kind, text.as_bytes()) else { continue };
        let written = event.to_json().unwrap();
        let back = plan.read(&body_of(&plan, &written)).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        let again = Event::decode(kind, &back).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(again, event, "{}", path.display());
        let (written, again) =
            (String::from_utf8(written).unwrap(), String::from_utf8(again.to_json().unwrap()).unwrap());
        assert_eq!(again, written, "{}", path.display());
    }
}

#[test]
fn avros_own_library_reads_what_is_written_and_writes_what_is_read() {
    for (kind, path, text) in fixtures() {
        let Ok(event) = Event::decode(kind, text.as_bytes()) else { continue };
        let (schema, plan) = (Schema::parse(&avro_schema(kind)).unwrap(), plan_of(&avro_schema(kind)));
        let body = body_of(&plan, &event.to_json().unwrap());
        let theirs = read_by_theirs(&schema, &body);
        assert!(theirs.validate(&schema), "{}", path.display());
        let rewritten = written_by_theirs(&schema, theirs);
        assert_eq!(Event::decode(kind, &plan.read(&rewritten).unwrap()).unwrap(), event, "{}", path.display());
    }
}

#[test]
fn the_schema_of_every_event_names_each_record_once_and_lets_absent_fields_be_null() {
    for kind in EventKind::ALL {
        let schema = avro_schema(*kind);
        Schema::parse(&schema).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(schema["namespace"], "tapedeck");
    }
    let report = avro_schema(EventKind::ExecutionReport);
    let field =
        |name: &str| report["fields"].as_array().unwrap().iter().find(|field| field["name"] == name).unwrap().clone();
    assert_eq!(report["name"], "ExecutionReport");
    assert_eq!(field("timestamp")["type"], json!({ "type": "long", "logicalType": "timestamp-micros" }));
    assert_eq!(
        (&field("decision_id")["type"], field("decision_id").get("default")),
        (&json!(["null", "string"]), Some(&Value::Null))
    );
    assert_eq!(avro_schema(EventKind::MarketData)["name"], "MarketDataEnvelope");
}

#[test]
fn a_body_of_another_clients_schema_is_read_by_that_schema() {
    let schema = json!({ "type": "record", "name": "Alert", "namespace": "com.example", "fields": [
        { "name": "event_id", "type": { "type": "fixed", "name": "Id", "size": 16, "logicalType": "uuid" } },
        { "name": "timestamp", "type": { "type": "long", "logicalType": "timestamp-millis" } },
        { "name": "severity", "type": { "type": "enum", "name": "Severity", "symbols": ["INFO", "CRITICAL"] } },
        { "name": "code", "type": "string" }, { "name": "message", "type": "string" }, { "name": "source", "type": "string" },
        { "name": "context", "type": { "type": "map", "values": ["null", "double", "string"] } },
        { "name": "price", "type": { "type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 4 } },
        { "name": "more", "type": ["null", { "type": "array", "items": "com.example.Severity" }], "default": null },
    ]});
    let theirs = Schema::parse(&schema).unwrap();
    let text = |text: &str| Avro::String(text.to_owned());
    let value = Avro::Record(vec![
        ("event_id".into(), Avro::Uuid(uuid_of("550e8400-e29b-41d4-a716-446655440000"))),
        ("timestamp".into(), Avro::TimestampMillis(1_700_000_000_123)),
        ("severity".into(), Avro::Enum(1, "CRITICAL".into())),
        ("code".into(), text("X")),
        ("message".into(), text("größer „als“ \"1\"")),
        ("source".into(), text("risk")),
        ("context".into(), Avro::Map([("a".to_owned(), Avro::Union(1, Box::new(Avro::Double(0.1))))].into())),
        ("price".into(), Avro::Decimal(apache_avro::Decimal::from((-123_456_i64).to_be_bytes()))),
        ("more".into(), Avro::Union(1, Box::new(Avro::Array(vec![Avro::Enum(0, "INFO".into())])))),
    ]);
    let body = written_by_theirs(&theirs, value);
    let read: Value = serde_json::from_slice(&plan_of(&schema).read(&body).unwrap()).unwrap();
    assert_eq!(
        read,
        json!({ "event_id": "550e8400-e29b-41d4-a716-446655440000", "timestamp": "2023-11-14T22:13:20.123000Z",
            "severity": "CRITICAL", "code": "X", "message": "größer „als“ \"1\"", "source": "risk",
            "context": { "a": 0.1 }, "price": "-12.3456", "more": ["INFO"] })
    );
    assert!(Event::decode(EventKind::Alert, read.to_string().as_bytes()).is_ok());
}

fn uuid_of(text: &str) -> apache_avro::Uuid {
    text.parse().unwrap()
}

#[test]
fn a_body_that_does_not_fit_names_the_place_in_it() {
    let plan = plan_of(&avro_schema(EventKind::Alert));
    let body = body_of(&plan, &alert("1"));
    let path_of = |body: &[u8]| plan.read(body).unwrap_err().path;
    assert_eq!(path_of(&body[..0]), "$.account");
    assert!(path_of(&body[..body.len() - 1]).starts_with("$."));
    assert_eq!(path_of(&[&body[..], b"x"].concat()), "$");
    let mut buffer = Vec::new();
    let fault = plan.write(b"{\"account\":7.5e", &mut buffer).unwrap_err();
    assert!(fault.detail.contains("not JSON"), "{fault}");
    let fault = plan.write(br#"{"account":null,"code":["a"]}"#, &mut buffer).unwrap_err();
    assert_eq!((fault.path.as_str(), fault.detail.as_str()), ("$.code", "expected a string, found [\"a\"]"));
    let fault = plan.write(br#"{"code":"a"}"#, &mut buffer).unwrap_err();
    assert_eq!((fault.path.as_str(), fault.detail.as_str()), ("$.event_id", "it is missing"));
}

#[test]
fn a_schema_that_goes_round_and_items_of_no_bytes_come_to_an_end() {
    let round = json!({ "type": "record", "name": "R", "fields": [{ "name": "r", "type": ["null", "R"] }] });
    let deep = vec![2; 1 << 20];
    assert!(plan_of(&round).read(&deep).unwrap_err().detail.contains("levels"));
    let nothing = plan_of(&json!({ "type": "array", "items": "null" }));
    let many = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0];
    assert!(nothing.read(&many).unwrap_err().detail.contains("bytes of JSON"));
    let text = plan_of(&json!("string"));
    assert!(text.read(&many).is_err(), "a length that is said and not there reserves nothing");
}

#[test]
fn a_schema_with_what_no_event_could_hold_is_refused() {
    let odd = json!({ "type": "long", "logicalType": "local-timestamp-micros" });
    assert!(Plan::parse(&odd.to_string()).unwrap_err().contains("Local"), "nobody knows when that was");
    assert!(Plan::parse("{\"type\":\"strange\"}").unwrap_err().contains("no Avro schema"));
}

fn alert(message: &str) -> Vec<u8> {
    json!({ "event_id": "e", "timestamp": "2024-01-01T00:00:00.000001Z", "severity": "INFO", "code": "C",
        "message": message, "source": "s", "context": { "deep": [1, { "x": null }] } })
    .to_string()
    .into_bytes()
}

proptest! {
    #[test]
    fn any_number_is_written_as_avro_writes_it(number in any::<i64>()) {
        let plan = plan_of(&json!("long"));
        let ours = body_of(&plan, number.to_string().as_bytes());
        prop_assert_eq!(&ours, &written_by_theirs(&Schema::Long, Avro::Long(number)));
        prop_assert_eq!(plan.read(&ours).unwrap(), number.to_string().into_bytes());
    }

    #[test]
    fn a_decimal_keeps_its_digits_and_a_time_its_microseconds(
        digits in "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,10})?",
        micros in 0_i64..4_000_000_000_000_000,
    ) {
        let plan = plan_of(&json!("string"));
        prop_assert_eq!(plan.read(&body_of(&plan, digits.as_bytes())).unwrap(), format!("\"{digits}\"").into_bytes());
        let times = plan_of(&json!({ "type": "long", "logicalType": "timestamp-micros" }));
        let text = format!("\"{}\"", tapedeck_contracts::Timestamp::from_micros(micros));
        prop_assert_eq!(times.read(&body_of(&times, text.as_bytes())).unwrap(), text.into_bytes());
    }

    #[test]
    fn any_text_comes_back(message in any::<String>()) {
        let plan = plan_of(&avro_schema(EventKind::Alert));
        let json = alert(&message);
        let event = Event::decode(EventKind::Alert, &json);
        let back = plan.read(&body_of(&plan, &json)).unwrap();
        prop_assert_eq!(Event::decode(EventKind::Alert, &back), event);
    }

    #[test]
    fn no_bytes_make_it_fall_over(body in prop::collection::vec(any::<u8>(), 0..200), which in 0..EventKind::ALL.len()) {
        let plan = plan_of(&avro_schema(EventKind::ALL[which]));
        if let Ok(json) = plan.read(&body) {
            prop_assert!(serde_json::from_slice::<Value>(&json).is_ok());
        }
    }
}
