//! What is written through a log with a registry before it.
//!
//! Not here: reading it, but for the bytes.

use std::sync::Arc;

use apache_avro::{Schema, from_value, reader::datum::GenericDatumReader};
use bytes::Bytes;
use serde_json::{Value, json};
use tapedeck_contracts::{EventId, headers::REDRIVE};
use tapedeck_flow::{Boundaries, Emitter, EmitterConfig, Outbound};
use tapedeck_log::{GroupOffset, Headers, Log, LogError, PollLimits, Polled, TopicPartition};
use tapedeck_registry::{Format, RegistryConfig};
use tapedeck_testbed::{Fault, Proxy};

use crate::stage::{Reading, SUBSCRIPTIONS, Stage, TOPIC, Tape, alert, by_hand, event, record};

#[test]
fn json_bodies_lie_as_an_ordinary_client_would_have_written_them() {
    let Some(stage) = Stage::new() else { return };
    let tape = Tape::new();
    let registry = stage.registry(stage.config(Format::Json));
    let ours = registry.subject(TOPIC, None).unwrap();
    let log = tape.framed(registry);
    log.prepare().unwrap();
    let body = alert("a").to_string();
    log.append(vec![record(TOPIC, 0, body.clone())]).unwrap();
    let id = stage.register(TOPIC, "JSON", &serde_json::from_str(&ours.schema).unwrap());
    assert_eq!(tape.records(TOPIC, 1)[0].value, Some(by_hand(id, body.as_bytes()).into()));
}

#[test]
fn avro_bodies_are_read_by_an_ordinary_client_with_the_schema_of_their_id() {
    let Some(stage) = Stage::new() else { return };
    let tape = Tape::new();
    let log = tape.framed(stage.registry(stage.config(Format::Avro)));
    log.append(vec![record(TOPIC, 0, alert("a").to_string())]).unwrap();
    let value = tape.records(TOPIC, 1).remove(0).value.unwrap();
    let id = u32::from_be_bytes(value[1..5].try_into().unwrap());
    let schema = Schema::parse_str(&stage.schema(id)).unwrap();
    let read = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut &value[5..]).unwrap();
    let fields: Value = from_value(&read).unwrap();
    assert_eq!((&fields["event_id"], &fields["severity"]), (&json!("a"), &json!("CRITICAL")));
    assert_eq!(fields["timestamp"], json!(1_761_057_000_123_456_i64));
    let context: Value = serde_json::from_str(fields["context"].as_str().unwrap()).unwrap();
    assert_eq!(context, alert("a")["context"]);
    let reading = Reading::start(log);
    assert_eq!(reading.events(1), [event("a")]);
    reading.end();
}

#[test]
fn what_is_written_with_offsets_is_framed_too_and_what_has_no_event_or_no_value_is_not() {
    let Some(stage) = Stage::new() else { return };
    let tape = Tape::new();
    let log = tape.framed(stage.registry(RegistryConfig { topics: vec![TOPIC.into()], ..stage.config(Format::Json) }));
    let mut member = log.join("g", "one", &[SUBSCRIPTIONS.into()]).unwrap();
    let limits = PollLimits { max_records: 1, max_bytes: 1, timeout: std::time::Duration::from_millis(50) };
    tapedeck_testbed::until("partitions", || matches!(member.poll(limits).unwrap(), Polled::Assigned(_)).then_some(()));
    let tombstone = tapedeck_log::Record { value: None, ..record(TOPIC, 0, "") };
    let again =
        tapedeck_log::Record { headers: Headers::new().with(REDRIVE, "g/1"), ..record(TOPIC, 0, "{\"old\":1}") };
    let framed_before = record(TOPIC, 0, by_hand(7, b"x"));
    let state = record("tapedeck.reader.state", 0, "{}");
    let other = record(SUBSCRIPTIONS, 0, "{}");
    let offsets = [GroupOffset { partition: TopicPartition::new(SUBSCRIPTIONS, 0), next: 0 }];
    let records = vec![record(TOPIC, 0, alert("a").to_string()), tombstone, again, framed_before, state, other];
    member.transact(records, &offsets).unwrap();
    let values: Vec<Option<Bytes>> = tape.records(TOPIC, 4).into_iter().map(|record| record.value).collect();
    assert_eq!(values[0].as_ref().unwrap()[0], 0);
    assert!(values[0].as_ref().unwrap().ends_with(alert("a").to_string().as_bytes()));
    assert_eq!(values[1..], [None, Some(Bytes::from_static(b"{\"old\":1}")), Some(by_hand(7, b"x").into())]);
    assert_eq!(tape.records("tapedeck.reader.state", 1)[0].value.as_deref(), Some(&b"{}"[..]));
    assert_eq!(tape.records(SUBSCRIPTIONS, 1)[0].value.as_deref(), Some(&b"{}"[..]), "another topic than named");
}

#[test]
fn events_are_emitted_framed_with_the_registry_gone() {
    let Some(stage) = Stage::new() else { return };
    let (tape, dir) = (Tape::new(), tempfile::tempdir().unwrap());
    let (address, path) = stage.url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let proxy = Proxy::before(address);
    let url = format!("http://{}/{path}", proxy.address());
    let log = tape.framed(stage.registry(RegistryConfig { url, ..stage.config(Format::Avro) }));
    log.prepare().unwrap();
    proxy.set(Fault::Cut);
    let config = EmitterConfig { ring_dir: dir.path().display().to_string(), ..EmitterConfig::default() };
    let emitter = Emitter::open(log as Arc<dyn Log>, dir.path(), "pricer", &config, Boundaries::default()).unwrap();
    let mut producer = emitter.producer().unwrap();
    producer.emit(&Outbound::first(TOPIC, EventId::from("a"), event("a")), "pricer").unwrap();
    let value = tape.records(TOPIC, 1).remove(0).value.unwrap();
    assert_eq!(value[0], 0);
    drop(producer);
    let reading = Reading::start(tape.framed(stage.registry(stage.config(Format::Avro))));
    assert_eq!(reading.events(1), [event("a")]);
    reading.end();
}

#[test]
fn a_body_that_does_not_fit_is_named_and_nothing_of_its_call_is_written() {
    let Some(stage) = Stage::new() else { return };
    let tape = Tape::new();
    let log = tape.framed(stage.registry(stage.config(Format::Avro)));
    let error = log.append(vec![record(TOPIC, 0, alert("a").to_string()), record(TOPIC, 0, "{\"code\":1.5}")]);
    match error.unwrap_err() {
        LogError::Poison { index, detail } => {
            assert_eq!(index, 1);
            assert!(detail.contains("$.event_id: it is missing"), "{detail}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(tape.len(TOPIC), 0);
}
