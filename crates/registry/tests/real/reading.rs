//! Framed records on their way to a role: known, unknown, not fitting, and with the
//! registry away.
//!
//! Not here: how they got into the log.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use apache_avro::{Schema, types::Value as Avro, writer::datum::GenericDatumWriter};
use serde_json::json;
use tapedeck_contracts::EventKind;
use tapedeck_flow::{Phase, dead_letter::ErrorClass};
use tapedeck_log::Log;
use tapedeck_registry::{Format, RegistryConfig, json_schema};
use tapedeck_testbed::{Fault, Proxy, until};

use crate::stage::{Reading, Stage, TOPIC, Tape, alert, by_hand, event, record};

#[test]
fn records_that_other_clients_framed_are_read_json_and_avro_and_bare_ones_beside_them() {
    let Some(stage) = Stage::new() else { return };
    let tape = Tape::new();
    let of_json = stage.register(TOPIC, "JSON", &json_schema(EventKind::Alert));
    // A schema of somebody else's, with fewer fields in an order of its own.
    let theirs = json!({ "type": "record", "name": "TheirAlert", "fields": [
        { "name": "code", "type": "string" }, { "name": "message", "type": "string" },
        { "name": "event_id", "type": "string" }, { "name": "source", "type": "string" },
        { "name": "severity", "type": { "type": "enum", "name": "Sev", "symbols": ["INFO", "CRITICAL"] } },
        { "name": "timestamp", "type": { "type": "long", "logicalType": "timestamp-micros" } },
    ]});
    let of_avro = stage.register("their-alerts", "AVRO", &theirs);
    let text = |text: &str| Avro::String(text.into());
    let schema = Schema::parse(&theirs).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    let body = writer.write_value_to_vec(Avro::Record(vec![
        ("code".into(), text("C")),
        ("message".into(), text("m")),
        ("event_id".into(), text("avro")),
        ("source".into(), text("s")),
        ("severity".into(), Avro::Enum(1, "CRITICAL".into())),
        ("timestamp".into(), Avro::TimestampMicros(1_700_000_000_000_001)),
    ]));
    let json = alert("json").to_string();
    tape.log
        .append(vec![
            record(TOPIC, 0, by_hand(of_json, json.as_bytes())),
            record(TOPIC, 0, by_hand(of_avro, &body.unwrap())),
            record(TOPIC, 0, alert("bare").to_string()),
        ])
        .unwrap();
    // To read, it is enough that there is a registry.
    let config = RegistryConfig { url: stage.url.clone(), ..RegistryConfig::default() };
    let reading = Reading::start(tape.framed(stage.registry(config)));
    let events = reading.events(3);
    reading.end();
    assert_eq!(tape.len("alerts.v1.dlq"), 0);
    assert_eq!((&events[0], &events[2]), (&event("json"), &event("bare")));
    assert_eq!(events[1].event_id().unwrap().as_str(), "avro");
    assert_eq!(events[1].event_time().micros(), 1_700_000_000_000_001);
}

#[test]
fn an_id_that_the_registry_does_not_know_is_tried_five_times_and_then_a_dead_letter_with_its_reason() {
    let Some(stage) = Stage::new() else { return };
    let tape = Tape::new();
    let value = by_hand(2_000_000_007, b"{}");
    tape.log
        .append(vec![
            record(TOPIC, 0, alert("a").to_string()),
            record(TOPIC, 0, value.clone()),
            record(TOPIC, 0, alert("b").to_string()),
        ])
        .unwrap();
    let reading = Reading::start(tape.framed(stage.registry(stage.config(Format::Json))));
    let letter = tape.letters(1).remove(0);
    assert_eq!(reading.events(2), [event("a"), event("b")], "its neighbours are handled");
    assert_eq!(reading.gauges.record_retries.load(Relaxed), 4);
    reading.end();
    assert_eq!((letter.account.class, letter.account.attempts), (ErrorClass::Schema, 5));
    assert!(letter.account.error.contains("knows no schema 2000000007"), "{}", letter.account.error);
    assert_eq!(letter.value.as_deref(), Some(&value[..]), "the bytes are those of the record");
}

#[test]
fn a_body_that_does_not_fit_its_schema_is_a_dead_letter_that_names_the_place() {
    let Some(stage) = Stage::new() else { return };
    let tape = Tape::new();
    let registry = stage.registry(stage.config(Format::Avro));
    let id = registry.register(&registry.subject(TOPIC, None).unwrap()).unwrap();
    let wrong = serde_json::to_vec(&json!({ "event_id": "x" })).unwrap();
    tape.log
        .append(vec![
            record(TOPIC, 0, by_hand(id, &[0x02, 0x80])),
            record(TOPIC, 1, by_hand(stage.register("other", "JSON", &json_schema(EventKind::Alert)), &wrong)),
            record(TOPIC, 1, vec![0, 1, 2]),
        ])
        .unwrap();
    let reading = Reading::start(tape.framed(registry));
    let letters = tape.letters(3);
    reading.end();
    let letter = |partition, offset| {
        let found = letters.iter().find(|l| (l.origin.partition, l.origin.offset) == (partition, offset));
        &found.unwrap().account
    };
    assert_eq!((letter(0, 0).class, letter(0, 0).path.as_deref()), (ErrorClass::Schema, Some("$.account")));
    assert!(letter(0, 0).error.contains(&format!("schema {id}")), "{}", letter(0, 0).error);
    assert_eq!(letter(1, 0).class, ErrorClass::Invalid, "the frame is good, the event is not");
    assert!(letter(1, 1).error.contains("3 bytes"), "{}", letter(1, 1).error);
    assert!(letters.iter().all(|letter| letter.account.attempts == 1));
}

#[test]
fn while_the_registry_is_away_records_wait_and_nothing_is_lost() {
    let Some(stage) = Stage::new() else { return };
    let tape = Tape::new();
    let id = stage.register(TOPIC, "JSON", &json_schema(EventKind::Alert));
    let (address, path) = stage.url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    for fault in [Fault::Cut, Fault::Garbage, Fault::HalfOpen] {
        let proxy = Proxy::before(address);
        proxy.set(fault);
        let url = format!("http://{}/{path}", proxy.address());
        let config = RegistryConfig { url, request_timeout_ms: 300, write: false, ..stage.config(Format::Json) };
        let tape = if fault == Fault::Cut { &tape } else { &Tape::new() };
        let names: Vec<String> = (0..20).map(|n| format!("{n}")).collect();
        let framed = names.iter().map(|name| record(TOPIC, 0, by_hand(id, alert(name).to_string().as_bytes())));
        tape.log.append(framed.collect()).unwrap();
        tape.log.append(vec![record(TOPIC, 1, alert("bare").to_string())]).unwrap();
        let reading = Reading::start(tape.framed(stage.registry(config)) as Arc<dyn Log>);
        assert_eq!(reading.events(1), [event("bare")], "the other partition goes on");
        until("a few tries", || (reading.gauges.retries.load(Relaxed) >= 3).then_some(()));
        assert!(matches!(reading.gauges.phase(), Phase::Retrying(why) if why.contains("schema registry")), "{fault:?}");
        assert_eq!((reading.count(), tape.len("alerts.v1.dlq")), (1, 0));
        proxy.set(Fault::None);
        let events = reading.events(21);
        assert_eq!(events[1..], names.iter().map(|name| event(name)).collect::<Vec<_>>(), "in their order");
        reading.end();
        assert_eq!(tape.len("alerts.v1.dlq"), 0);
    }
}
