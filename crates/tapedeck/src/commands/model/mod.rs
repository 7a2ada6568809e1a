//! `tapedeck model`: what a file of trees holds, what it says of rows, and why.
//!
//! Not here: models by version (the roles keep those), and the mathematics
//! (`tapedeck-shap`).

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::Context as _;
use serde::Serialize;
use tapedeck_shap::{Ensemble, Explainer, Precision, Scratch, Trees, additivity_error};

use crate::{
    cli::{ModelCommand, RowFormat, RowsArgs},
    exit, show,
};

mod rows;
mod written;

use rows::Rows;
use written::Writer;

/// So many rows are explained at once: enough for the widest vectors to be full, and
/// 160 KB of 20 features.
const BLOCK: usize = 1024;

/// Does what the command line asks for.
///
/// # Errors
/// The file is no model, or rows do not fit it.
pub(crate) fn run(command: &ModelCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        ModelCommand::Inspect { file, all_trees } => inspect(file, *all_trees, json),
        ModelCommand::Predict(args) => through(args, json, false),
        ModelCommand::Explain(args) => through(args, json, true),
    }
    .map(|()| ExitCode::SUCCESS)
}

fn read(file: &Path, all_trees: bool) -> anyhow::Result<Ensemble> {
    let bytes = std::fs::read(file).map_err(|error| exit::input(format!("cannot read {}: {error}", file.display())))?;
    let trees = if all_trees { Trees::All } else { Trees::Best };
    Ensemble::read_trees(&bytes, trees).map_err(|error| exit::input(format!("{}: {error}", file.display())))
}

/// What a file holds, as it is shown.
#[derive(Serialize)]
struct Inspected {
    library: String,
    library_version: String,
    objective: String,
    arithmetic: &'static str,
    outputs: usize,
    trees: usize,
    depth: usize,
    nodes: usize,
    leaves: usize,
    categorical_splits: usize,
    base_margins: Vec<f64>,
    base_values: Vec<f64>,
    features: Vec<InspectedFeature>,
}

#[derive(Serialize)]
struct InspectedFeature {
    name: String,
    used: bool,
}

fn inspect(file: &Path, all_trees: bool, json: bool) -> anyhow::Result<()> {
    let model = read(file, all_trees)?;
    let facts = model.facts();
    let explainer = Explainer::new(&model).map_err(exit::input)?;
    let used = |at: usize| facts.used_features.binary_search(&at).is_ok();
    let features = model.features.iter().enumerate();
    let found = Inspected {
        library: facts.origin.library.clone(),
        library_version: facts.origin.version.clone(),
        objective: facts.objective.clone(),
        arithmetic: match facts.precision {
            Precision::Single => "f32",
            Precision::Double => "f64",
        },
        outputs: facts.outputs,
        trees: facts.trees,
        depth: facts.depth,
        nodes: facts.nodes,
        leaves: facts.leaves,
        categorical_splits: facts.categorical_splits,
        base_margins: model.base_margins.clone(),
        base_values: explainer.biases().to_vec(),
        features: features.map(|(at, name)| InspectedFeature { name: name.clone(), used: used(at) }).collect(),
    };
    if json {
        show::json(&found);
    } else {
        tell(&found);
    }
    Ok(())
}

fn tell(found: &Inspected) {
    let numbers = |numbers: &[f64]| numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
    let unused: Vec<&str> = found.features.iter().filter(|one| !one.used).map(|one| one.name.as_str()).collect();
    let used: Vec<&str> = found.features.iter().filter(|one| one.used).map(|one| one.name.as_str()).collect();
    let line = |name: &str, value: String| show::out(&format!("{name:<20}{value}"));
    line("library", format!("{} {}", found.library, found.library_version).trim().to_owned());
    line("objective", if found.objective.is_empty() { "-".into() } else { found.objective.clone() });
    line("arithmetic", found.arithmetic.into());
    line("outputs", found.outputs.to_string());
    line("trees", format!("{}, at most {} splits deep", show::thousands(found.trees as u64), found.depth));
    let (nodes, leaves) = (show::thousands(found.nodes as u64), show::thousands(found.leaves as u64));
    line("nodes", format!("{nodes}, of them {leaves} leaves and {} splits by category", found.categorical_splits));
    line("base margin", numbers(&found.base_margins));
    line("base value", format!("{} (the mean margin of its training data)", numbers(&found.base_values)));
    line("features", format!("{}: {}", found.features.len(), used.join(" ")));
    if !unused.is_empty() {
        line("", format!("no split looks at {}", unused.join(" ")));
    }
}

/// Reads rows, predicts or explains them, and writes what comes out.
fn through(args: &RowsArgs, json: bool, explain: bool) -> anyhow::Result<()> {
    let model = read(&args.file, args.all_trees)?;
    let mut rows = Rows::open(&args.rows, &model.features, &args.keep, args.ignore_unknown)?;
    let sink: Box<dyn Write> = match &args.output {
        Some(path) => {
            let made = File::create(path).with_context(|| format!("cannot write {}", path.display()));
            Box::new(made?)
        }
        None => Box::new(std::io::stdout().lock()),
    };
    let shown = !json && (args.output.is_some() || !show::is_page());
    let bar = rows.progress(shown);
    let format = if json { RowFormat::Ndjson } else { args.format };
    let mut writer = Writer::begin(BufWriter::new(sink), format, &args.keep, &model, explain)?;
    let explainer = if args.f64 { Explainer::double(&model) } else { Explainer::new(&model) }.map_err(exit::input)?;
    let (mut scratch, mut phi, mut margins, mut worst) = (Scratch::default(), Vec::new(), Vec::new(), 0.0_f64);
    loop {
        // What stands before a bad row is good, and is written.
        let (count, wrong) = rows.next_block(BLOCK);
        margins.resize(count * model.outputs(), 0.0);
        model.margins(rows.values(), &mut margins).map_err(|error| rows.wrong(&error))?;
        if explain {
            phi.resize(count * explainer.contributions(), 0.0);
            explainer.explain_f64(rows.values(), &mut scratch, &mut phi).map_err(|error| rows.wrong(&error))?;
            let each = phi.chunks_exact(model.features.len() + 1).zip(&margins);
            worst = each.fold(worst, |worst, (phi, margin)| worst.max(additivity_error(phi, *margin)));
        }
        writer.rows(&rows, &margins, &phi)?;
        bar.set_position(rows.bytes_read());
        if let Some(wrong) = wrong {
            writer.finish()?;
            return Err(wrong);
        }
        if count == 0 {
            break;
        }
    }
    writer.finish()?;
    bar.finish_and_clear();
    let count = show::count(rows.count(), "row", "rows");
    show::say(&match explain {
        true => format!("{count} explained; contributions and margin are at most {worst:.1e} apart"),
        false => count,
    });
    Ok(())
}
