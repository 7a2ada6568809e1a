//! Reference values of the real libraries, in `../shared/data/shap` beside the
//! workspace. Tests that want them say so and pass where they are missing.
//!
//! Not here: what is compared.

use std::{fs, path::PathBuf, process::Command};

use tapedeck_shap::Ensemble;

/// A file of the reference values, if they are there.
pub(crate) fn file(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/shap").join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// A model; one that is compressed is unpacked by `gzip`.
pub(crate) fn model(name: &str) -> Option<Ensemble> {
    let path = file(name)?;
    let bytes = if name.ends_with(".gz") {
        Command::new("gzip").arg("-dc").arg(&path).output().ok()?.stdout
    } else {
        fs::read(&path).unwrap()
    };
    Some(Ensemble::read(&bytes).unwrap())
}

/// The numbers of a `.npy` file, `f4` or `f8`, row-major.
pub(crate) fn npy(name: &str) -> Option<Vec<f64>> {
    Some(numbers(&fs::read(file(name)?).unwrap()))
}

/// The numbers of a `.npy` file's bytes (format 1.0, little-endian).
pub(crate) fn numbers(bytes: &[u8]) -> Vec<f64> {
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (header, data) = bytes[10..].split_at(header);
    let header = String::from_utf8_lossy(header);
    assert!(header.contains("'fortran_order': False"), "{header}");
    if header.contains("'<f4'") {
        data.chunks_exact(4).map(|number| f64::from(f32::from_le_bytes(number.try_into().unwrap()))).collect()
    } else {
        assert!(header.contains("'<f8'"), "{header}");
        data.chunks_exact(8).map(|number| f64::from_le_bytes(number.try_into().unwrap())).collect()
    }
}
