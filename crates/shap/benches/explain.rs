//! Rows explained a second by one thread, at every width of this processor, one row
//! at a time and in batches.
//!
//! `cargo bench -p tapedeck-shap --bench explain` takes the models of
//! `../shared/data/shap` where they are there; `-- DIR` after it those that
//! `bench/peers/shap/peer.py` left in a folder, with what the peers reached on the
//! same rows, and prints the ratios.
//!
//! Not here: whether what comes out is right (`tests/explain_golden.rs`).

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for a terminal that ends at the first error")]

#[path = "../tests/common/golden.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod golden;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use tapedeck_shap::{Ensemble, Explainer, Scratch, Width};

/// A number of rows at a time, and what it stands for: a decision alone, the two
/// micro-batches of a reader, and a backlog.
const BATCHES: [usize; 4] = [1, 16, 64, 1024];
/// Each figure is the best of so many turns: what else runs only makes it less.
const TURNS: usize = 5;
/// The processor's time is told in ticks of some milliseconds, of which a turn has many.
const TURN: Duration = Duration::from_millis(400);

/// What somebody reached on a model with batches of a size.
struct Figure {
    model: String,
    who: String,
    batch: usize,
    rows_per_s: f64,
}

fn main() {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {}", load.trim());
    let mut figures = Vec::new();
    if let Some(folder) = &folder {
        let text = fs::read_to_string(Path::new(folder).join("peers.tsv")).unwrap();
        figures.extend(text.lines().map(figure));
    }
    for (name, file) in [("a", "xgb_a_100x6.json"), ("b", "xgb_b_500x8.json.gz"), ("c", "lgb_c_200x31.txt")] {
        let Some((ensemble, rows)) = read(folder.as_deref(), name, file) else { continue };
        for width in Width::ALL.into_iter().filter(|width| width.is_supported()) {
            let single = Explainer::new(&ensemble).unwrap().with_width(width).unwrap();
            measure(name, &format!("tapedeck {width:?}"), &single, &rows, &mut figures);
        }
        let double = Explainer::double(&ensemble).unwrap();
        measure(name, &format!("tapedeck {:?} f64", double.width()), &double, &rows, &mut figures);
        print(name, &figures);
    }
    println!("load after: {}", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
}

/// A line of the peers' table: model, name, rows at a time, rows a second.
fn figure(line: &str) -> Figure {
    let fields: Vec<&str> = line.split('\t').collect();
    let [model, who, batch, rows_per_s] = fields[..] else { panic!("no line of four fields: {line}") };
    Figure {
        model: model.into(),
        who: who.into(),
        batch: batch.parse().unwrap(),
        rows_per_s: rows_per_s.parse().unwrap(),
    }
}

/// A model and rows, from the peers' folder or the reference values.
fn read(folder: Option<&str>, name: &str, file: &str) -> Option<(Ensemble, Vec<f32>)> {
    let (ensemble, rows) = match folder {
        Some(folder) => {
            let bytes = fs::read(Path::new(folder).join(format!("{name}.model"))).ok()?;
            let rows = fs::read(Path::new(folder).join("rows.npy")).unwrap();
            (Ensemble::read(&bytes).unwrap(), golden::numbers(&rows))
        }
        None => (golden::model(file)?, golden::npy("X_sample_2000.npy")?),
    };
    Some((ensemble, rows.iter().map(|&value| value as f32).collect()))
}

fn measure(model: &str, who: &str, explainer: &Explainer, rows: &[f32], figures: &mut Vec<Figure>) {
    let (features, each) = (explainer.features().len(), explainer.contributions());
    let mut scratch = Scratch::new();
    let mut out = vec![0.0; BATCHES[BATCHES.len() - 1] * each];
    for batch in BATCHES {
        let mut best = 0.0_f64;
        for _ in 0..TURNS {
            let (start, mut done) = (Instant::now(), 0);
            let before = processor_s();
            'turn: loop {
                for rows in rows.chunks_exact(batch * features) {
                    explainer.explain(rows, &mut scratch, &mut out[..batch * each]).unwrap();
                    done += batch;
                    if start.elapsed() > TURN {
                        break 'turn;
                    }
                }
            }
            let taken = match (before, processor_s()) {
                (Some(before), Some(after)) => after - before,
                _ => start.elapsed().as_secs_f64(),
            };
            best = best.max(done as f64 / taken);
        }
        figures.push(Figure { model: model.into(), who: who.into(), batch, rows_per_s: best });
    }
}

/// Seconds that a processor gave to this thread; none where the system does not say.
fn processor_s() -> Option<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse::<f64>().ok().map(|nanos| nanos / 1e9)
}

/// A row for each who was measured: rows a processor-second by batch, and how many
/// times the best peer's of the same column the best of ours is.
fn print(model: &str, figures: &[Figure]) {
    let of_model = || figures.iter().filter(|figure| figure.model == model);
    let mut names: Vec<&str> = Vec::new();
    of_model().for_each(|figure| {
        if !names.contains(&figure.who.as_str()) {
            names.push(&figure.who);
        }
    });
    println!("\nmodel {model}: rows a processor-second, by rows at a time");
    println!("{:<28}{}", "", BATCHES.map(|batch| format!("{batch:>12}")).concat());
    for name in names {
        let columns = BATCHES.map(|batch| {
            let found = of_model().find(|figure| figure.who == name && figure.batch == batch);
            found.map_or_else(|| format!("{:>12}", "-"), |figure| format!("{:>12.0}", figure.rows_per_s))
        });
        println!("{name:<28}{}", columns.concat());
    }
    let ratios = BATCHES.map(|batch| {
        let best = |ours: bool| {
            let figures =
                of_model().filter(|figure| figure.batch == batch && figure.who.starts_with("tapedeck") == ours);
            figures.map(|figure| figure.rows_per_s).fold(0.0_f64, f64::max)
        };
        if best(false) > 0.0 { format!("{:>11.1}x", best(true) / best(false)) } else { format!("{:>12}", "-") }
    });
    println!("{:<28}{}", "ours : the best peer", ratios.concat());
}
