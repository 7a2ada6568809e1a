//! What is kept of the contract: schemas that may only grow, fixtures that
//! decode for ever.
//!
//! Not here: what wrong bodies get (`refusals.rs`).

#![allow(clippy::unwrap_used, reason = "a test that cannot read its files should stop")]

use std::{fs, path::PathBuf};

use serde_json::Value;
use tapedeck_contracts::{Event, EventKind, compat};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Every fixture: its kind, its file name, its text.
fn fixtures() -> Vec<(EventKind, String, String)> {
    let mut found = Vec::new();
    for kind in EventKind::ALL {
        for version in fs::read_dir(folder("fixtures").join(kind.name())).expect("every kind has fixtures") {
            for file in fs::read_dir(version.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                found.push((*kind, name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn kept_schemas_are_those_of_the_types() {
    for kind in EventKind::ALL {
        let text = fs::read_to_string(folder("schemas").join(kind.schema_file())).unwrap_or_default();
        let kept: Value = serde_json::from_str(&text).unwrap_or_default();
        let made: Value = kind.json_schema().into();
        let breaks = if kept.is_null() { vec![] } else { compat::breaks(&kept, &made) };
        assert!(
            breaks.is_empty(),
            "{kind}: a new version is needed, for this breaks readers of the kept one: {breaks:#?}"
        );
        assert_eq!(
            kept, made,
            "{kind}: run `cargo run -p tapedeck-contracts --example schemas` and read the difference"
        );
    }
}

#[test]
fn every_kind_has_a_minimal_and_a_full_fixture() {
    let fixtures = fixtures();
    for kind in EventKind::ALL {
        for wanted in ["minimal", "full"] {
            assert!(fixtures.iter().any(|(of, name, _)| of == kind && name == wanted), "{kind} has no {wanted}.json");
        }
    }
}

#[test]
fn every_fixture_decodes_and_survives_being_written_and_read() {
    for (kind, name, text) in fixtures() {
        let event = Event::decode(kind, text.as_bytes()).unwrap_or_else(|error| panic!("{kind}/{name}: {error}"));
        let written = event.to_json().unwrap();
        let again = Event::decode(kind, &written).unwrap_or_else(|error| panic!("{kind}/{name} as written: {error}"));
        assert_eq!(event, again, "{kind}/{name}");
    }
}

#[test]
fn full_fixtures_are_written_as_they_were_read() {
    for (kind, name, text) in fixtures() {
        if name != "full" {
            continue;
        }
        let written = Event::decode(kind, text.as_bytes()).unwrap().to_json().unwrap();
        let written: Value = serde_json::from_slice(&written).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written, read, "{kind}");
    }
}

#[test]
fn unknown_fields_at_any_depth_are_kept_out_of_the_way() {
    for (kind, name, text) in fixtures() {
        let mut body: Value = serde_json::from_str(&text).unwrap();
        body["x_unknown"] = serde_json::json!({"deep": [1, {"symbol": null}]});
        for part in ["order", "data", "payload", "exposure"] {
            if let Some(part) = body.get_mut(part).and_then(Value::as_object_mut) {
                part.insert("x_unknown".into(), Value::from(1e300));
            }
        }
        let plain = Event::decode(kind, text.as_bytes()).unwrap();
        let widened = Event::decode(kind, body.to_string().as_bytes()).unwrap();
        if kind != EventKind::Dashboard {
            assert_eq!(plain, widened, "{kind}/{name}");
        }
    }
}
