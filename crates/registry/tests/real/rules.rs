//! Registering schemas: what is there, what fits, what breaks readers, who may not.
//!
//! Not here: bodies.

use std::{
    io::{Read, Write},
    net::TcpListener,
};

use serde_json::{Value, json};
use tapedeck_contracts::EventKind;
use tapedeck_log::{Log, LogError};
use tapedeck_registry::{Format, Registry, RegistryConfig, RegistryError, Verdict, json_schema};

use crate::stage::{Stage, TOPIC, Tape, alert, record};

/// An older schema of alerts with less in it: what was written by it has no code,
/// which every reader of ours wants.
fn poor() -> Value {
    json!({ "type": "record", "name": "Alert", "namespace": "tapedeck", "fields": [{ "name": "event_id", "type": "string" }] })
}

#[test]
fn a_schema_is_new_then_registered_and_registering_it_again_changes_nothing() {
    let Some(stage) = Stage::new() else { return };
    for (format, topic) in [(Format::Json, TOPIC), (Format::Avro, "exec.reports.v1")] {
        let registry = stage.registry(stage.config(format));
        let subject = registry.subject(topic, None).unwrap();
        assert_eq!(subject.name, stage.subject(topic));
        assert_eq!(registry.judge(&subject).unwrap(), Verdict::New);
        let id = registry.register(&subject).unwrap();
        assert_eq!(registry.judge(&subject).unwrap(), Verdict::Registered { id, version: 1 });
        assert_eq!(registry.register(&subject).unwrap(), id);
        let latest = registry.latest(&subject.name).unwrap().unwrap();
        assert_eq!((latest.id, latest.version, latest.schema_type.as_str()), (id, 1, format.schema_type()));
    }
}

#[test]
fn every_schema_of_the_contract_is_taken_by_the_registry_in_both_forms() {
    let Some(stage) = Stage::new() else { return };
    for format in [Format::Json, Format::Avro] {
        let prefix = format!("{}{}.", stage.prefix, format.schema_type());
        let config = RegistryConfig { topics: Vec::new(), ..stage.config(format) };
        let registry = Registry::open(config, &prefix).unwrap();
        let subjects = registry.subjects();
        assert_eq!(subjects.len(), EventKind::ALL.len(), "each event has one topic");
        for subject in subjects {
            registry.register(&subject).unwrap_or_else(|error| panic!("{}: {error}", subject.topic));
        }
    }
}

#[test]
fn what_the_registrys_rule_forbids_is_refused_in_its_words_and_nothing_starts() {
    let Some(stage) = Stage::new() else { return };
    stage.register(TOPIC, "AVRO", &poor());
    stage.post("PUT", &format!("/config/{}", stage.subject(TOPIC)), &json!({ "compatibility": "BACKWARD" }));
    let registry = stage.registry(stage.config(Format::Avro));
    let subject = registry.subject(TOPIC, None).unwrap();
    let Verdict::Breaks { version: 1, words } = registry.judge(&subject).unwrap() else { panic!("it breaks") };
    assert!(words.contains("ncompatible"), "the registry's words: {words}");
    let Err(RegistryError::Refused(why)) = registry.register(&subject) else { panic!("it is refused") };
    // It lists what does not fit in another order each time.
    let begin = words.split('[').next().unwrap();
    assert!(why.contains(begin) && why.contains("version 1") && why.contains("severity"), "{why}");
    let tape = Tape::new();
    let log = tape.framed(registry);
    assert!(matches!(log.prepare(), Err(RegistryError::Refused(why)) if why.contains(begin)));
    let appended = log.append(vec![record(TOPIC, 0, alert("a").to_string())]);
    assert!(matches!(appended, Err(LogError::Fatal(why)) if why.contains(begin)));
    assert_eq!(tape.len(TOPIC), 0);
}

#[test]
fn where_the_registry_has_no_rule_ours_holds() {
    let Some(stage) = Stage::new() else { return };
    let none = json!({ "compatibility": "NONE" });
    stage.register(TOPIC, "AVRO", &poor());
    stage.post("PUT", &format!("/config/{}", stage.subject(TOPIC)), &none);
    let registry = stage.registry(stage.config(Format::Avro));
    let verdict = registry.judge(&registry.subject(TOPIC, None).unwrap()).unwrap();
    assert!(matches!(verdict, Verdict::Breaks { version: 1, .. }), "{verdict:?}");

    let mut old = json_schema(EventKind::RiskCommand);
    old["required"].as_array_mut().unwrap().retain(|name| name != "actor");
    stage.register("risk-commands", "JSON", &old);
    stage.post("PUT", &format!("/config/{}", stage.subject("risk-commands")), &none);
    let registry = stage.registry(stage.config(Format::Json));
    let verdict = registry.judge(&registry.subject("risk-commands", None).unwrap()).unwrap();
    let Verdict::Breaks { words, .. } = verdict else { panic!("{verdict:?}") };
    assert!(words.contains("$.actor: required now"), "{words}");
}

#[test]
fn a_schema_that_only_gained_an_optional_field_may_follow() {
    let Some(stage) = Stage::new() else { return };
    let registry = stage.registry(stage.config(Format::Avro));
    let subject = registry.subject(TOPIC, None).unwrap();
    let mut old: Value = serde_json::from_str(&subject.schema).unwrap();
    old["fields"].as_array_mut().unwrap().retain(|field| field["name"] != "decision_id");
    stage.register(TOPIC, "AVRO", &old);
    stage.post("PUT", &format!("/config/{}", subject.name), &json!({ "compatibility": "BACKWARD" }));
    let verdict = registry.judge(&subject).unwrap();
    assert_eq!(verdict, Verdict::Fits { version: 1, level: "BACKWARD".into() });
    let id = registry.register(&subject).unwrap();
    assert_eq!(registry.judge(&subject).unwrap(), Verdict::Registered { id, version: 2 });
}

#[test]
fn without_leave_to_register_a_schema_that_is_not_there_says_how_it_gets_there() {
    let Some(stage) = Stage::new() else { return };
    let config = RegistryConfig { auto_register: false, ..stage.config(Format::Json) };
    let (tape, registry) = (Tape::new(), stage.registry(config));
    let subjects = registry.subjects();
    let log = tape.framed(registry);
    let why = log.prepare().unwrap_err().to_string();
    assert!(why.contains("tapedeck schema register alerts.v1"), "{why}");
    for subject in subjects {
        stage.registry(stage.config(Format::Json)).register(&subject).unwrap();
    }
    log.prepare().unwrap();
}

#[test]
fn a_registry_that_does_not_answer_is_named_with_what_to_check() {
    let config = RegistryConfig { url: "http://127.0.0.1:9".into(), start_wait_ms: 100, ..RegistryConfig::default() };
    let registry = Registry::open(RegistryConfig { write: true, ..config }, "").unwrap();
    let why = Tape::new().framed(registry).prepare().unwrap_err();
    assert!(
        matches!(&why, RegistryError::Away(why) if why.contains("http://127.0.0.1:9") && why.contains("`[registry]`")),
        "{why}"
    );
}

#[test]
fn a_user_is_named_to_the_registry_and_one_without_rights_is_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = vec![0; 4_096];
        let length = stream.read(&mut request).unwrap();
        let body = r#"{"error_code":40101,"message":"Unauthorized"}"#;
        let head = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nconnection: close\r\n";
        stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let config = RegistryConfig {
        url: format!("http://{address}"),
        username: "Aladdin".into(),
        password: "open sesame".into(),
        ..RegistryConfig::default()
    };
    let why = Registry::open(config, "").unwrap().latest("x").unwrap_err();
    assert!(
        matches!(&why, RegistryError::Refused(why) if why.contains("401: Unauthorized") && why.contains("`username`")),
        "{why}"
    );
    assert!(server.join().unwrap().to_lowercase().contains("authorization: basic qwxhzgrpbjpvcgvuihnlc2ftzq=="));
}
