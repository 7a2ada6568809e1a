//! `tapedeck schema`: the schemas of the topics, and what the registry says.
//!
//! Not here: the schemas and the rules (`tapedeck-registry`).

use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};
use tapedeck_contracts::catalogue::Catalogue;
use tapedeck_registry::{Format, Latest, Registry, RegistryError, Subject, Verdict};

use super::checked;
use crate::{
    cli::{SchemaCommand, SchemaWhat},
    config::Config,
    exit, framing, show,
};

/// How the schema of a topic stands.
#[derive(Serialize)]
struct Line {
    topic: String,
    subject: String,
    event: &'static str,
    schema_type: &'static str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Line {
    fn new(subject: &Subject, state: &'static str) -> Self {
        Self {
            topic: subject.topic.clone(),
            subject: subject.name.clone(),
            event: subject.kind.name(),
            schema_type: subject.format.schema_type(),
            state,
            id: None,
            version: None,
            detail: None,
        }
    }

    fn of(subject: &Subject, verdict: Verdict) -> Self {
        match verdict {
            Verdict::New => Self::new(subject, "new"),
            Verdict::Registered { id, version } => {
                Self { id: Some(id), version: Some(version), ..Self::new(subject, "registered") }
            }
            Verdict::Fits { version, level } => {
                let detail = Some(format!("may follow version {version} ({level})"));
                Self { version: Some(version), detail, ..Self::new(subject, "fits") }
            }
            Verdict::Breaks { version, words } => {
                Self { version: Some(version), detail: Some(words), ..Self::new(subject, "breaks") }
            }
        }
    }
}

/// Does what the command line asks for.
///
/// # Errors
/// There is no registry, it does not answer or refuses; a topic that carries no event.
pub(crate) fn run(config: &Config, command: &SchemaCommand, json: bool) -> anyhow::Result<ExitCode> {
    let config = &checked(config.clone())?;
    match command {
        SchemaCommand::Show { topic, format, registered } => {
            let format = match format.as_deref() {
                Some("avro") => Format::Avro,
                Some(_) => Format::Json,
                None => config.registry_section.format,
            };
            let subject = framing::registry(config)?.subject(topic, Some(format)).ok_or_else(|| no_event(topic))?;
            if *registered { show_registered(config, &subject, json) } else { show_ours(&subject, json) }
        }
        SchemaCommand::List => {
            let registry = registry(config)?;
            let lines = lines(&registry, &registry.subjects())?;
            print(&lines, json);
            Ok(ExitCode::SUCCESS)
        }
        SchemaCommand::Check(what) => {
            let registry = registry(config)?;
            let lines = lines(&registry, &subjects(&registry, what)?)?;
            print(&lines, json);
            Ok(code(&lines))
        }
        SchemaCommand::Register { what, dry_run } => register(&registry(config)?, what, *dry_run, json),
    }
}

fn registry(config: &Config) -> anyhow::Result<Registry> {
    if !config.registry_section.is_on() {
        return Err(exit::input("there is no schema registry: set `url` in `[registry]`, or TAPEDECK_REGISTRY_URL"));
    }
    framing::registry(config)
}

fn subjects(registry: &Registry, what: &SchemaWhat) -> anyhow::Result<Vec<Subject>> {
    match &what.topic {
        Some(topic) => Ok(vec![registry.subject(topic, None).ok_or_else(|| no_event(topic))?]),
        None => Ok(registry.subjects()),
    }
}

fn lines(registry: &Registry, subjects: &[Subject]) -> anyhow::Result<Vec<Line>> {
    subjects.iter().map(|subject| Ok(Line::of(subject, registry.judge(subject).map_err(failed)?))).collect()
}

/// Registers what is not there, all or nothing as far as that can be known before.
fn register(registry: &Registry, what: &SchemaWhat, dry_run: bool, json: bool) -> anyhow::Result<ExitCode> {
    let subjects = subjects(registry, what)?;
    let mut lines = lines(registry, &subjects)?;
    let breaks = lines.iter().any(|line| line.state == "breaks");
    if !breaks && !dry_run {
        for (line, subject) in lines.iter_mut().zip(&subjects).filter(|(line, _)| line.state != "registered") {
            let id = registry.register(subject).map_err(failed)?;
            *line = Line { id: Some(id), detail: Some("just now".to_owned()), ..Line::new(subject, "registered") };
        }
    }
    print(&lines, json);
    if breaks {
        show::say("nothing was registered: what breaks stands above");
    } else if dry_run && !json {
        show::say("a dry run: nothing was registered");
    }
    Ok(code(&lines))
}

fn show_ours(subject: &Subject, json: bool) -> anyhow::Result<ExitCode> {
    let schema: Value = serde_json::from_str(&subject.schema)?;
    if json {
        show::json(&json!({ "topic": subject.topic, "subject": subject.name, "event": subject.kind.name(),
            "schema_type": subject.format.schema_type(), "schema": schema }));
    } else {
        show::json(&schema);
    }
    Ok(ExitCode::SUCCESS)
}

fn show_registered(config: &Config, subject: &Subject, json: bool) -> anyhow::Result<ExitCode> {
    let Some(latest) = registry(config)?.latest(&subject.name).map_err(failed)? else {
        return Err(exit::input(format!("the registry has no version of subject `{}`", subject.name)));
    };
    let Latest { id, version, schema_type, schema } = latest;
    let schema: Value = serde_json::from_str(&schema).unwrap_or(Value::String(schema));
    if json {
        show::json(&json!({ "topic": subject.topic, "subject": subject.name, "id": id, "version": version,
            "schema_type": schema_type, "schema": schema }));
    } else {
        show::say(&format!("subject {}, version {version}, id {id}, {schema_type}", subject.name));
        show::json(&schema);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(lines: &[Line], json: bool) {
    if json {
        return show::json(&lines);
    }
    let number = |number: Option<u32>| number.map_or("-".to_owned(), |number| number.to_string());
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let detail = line.detail.clone().unwrap_or_default();
            vec![
                line.topic.clone(),
                line.subject.clone(),
                line.schema_type.to_owned(),
                line.state.to_owned(),
                number(line.id),
                number(line.version),
                detail,
            ]
        })
        .collect();
    show::table(&["topic", "subject", "type", "state", "id", "version", ""], &rows);
}

fn code(lines: &[Line]) -> ExitCode {
    if lines.iter().any(|line| line.state == "breaks") { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn no_event(topic: &str) -> anyhow::Error {
    let topics: Vec<&str> =
        Catalogue::get().topics().filter(|topic| topic.event.is_some()).map(|topic| topic.name.as_str()).collect();
    exit::input(format!("`{topic}` carries no event of the contract; these do: {}", topics.join(", ")))
}

fn failed(error: RegistryError) -> anyhow::Error {
    match error {
        RegistryError::Away(why) => anyhow::anyhow!(why),
        RegistryError::NotFound(why) | RegistryError::Refused(why) => exit::input(why),
    }
}
