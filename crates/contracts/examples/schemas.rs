//! Writes the JSON Schema of every event of the contract, as its type gives it
//! now, into `crates/contracts/schemas`. Run it after an addition to a type, and
//! read the difference: `cargo run -p tapedeck-contracts --example schemas`.
//!
//! Not here: the check that the difference breaks nobody, which is a test.

use std::{fs, io, path::Path};

use tapedeck_contracts::EventKind;

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    fs::create_dir_all(&folder)?;
    for kind in EventKind::ALL {
        let mut text = serde_json::to_string_pretty(&kind.json_schema())?;
        text.push('\n');
        fs::write(folder.join(kind.schema_file()), text)?;
    }
    Ok(())
}
