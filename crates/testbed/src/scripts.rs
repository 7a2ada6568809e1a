//! Calls of the scripts that start and end servers.
//!
//! Not here: which server a test wants.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// The scripts' word for a part that is missing on this machine.
const CANNOT: i32 = 3;

/// A variable of the environment in which tests run.
#[expect(clippy::disallowed_methods, reason = "addresses of servers come from who runs the tests")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}

/// Says what is skipped, or fails the test where servers are required.
#[expect(clippy::print_stderr, reason = "who runs tests sees what was left out")]
pub(crate) fn skip<T>(what: &str, why: &str) -> Option<T> {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("{test}: skipped, for there is no {what}: {why}");
    assert!(variable("TAPEDECK_TEST_SERVERS").as_deref() != Some("required"), "{line}");
    eprintln!("{line}");
    None
}

/// What a script printed; `None` where it says that a part is missing (and so do we).
///
/// # Panics
/// When the script fails otherwise: its log is the message.
pub(crate) fn start(what: &str, script: &str, arguments: &[&OsStr]) -> Option<String> {
    match call(script, arguments) {
        Ok(printed) => Some(printed),
        Err((Some(CANNOT), why)) => skip(what, why.trim()),
        Err((_, why)) => panic!("{what} did not start: {why}"),
    }
}

/// Runs a script that has no reason to fail.
///
/// # Panics
/// When it fails all the same.
pub(crate) fn run(script: &str, arguments: &[&OsStr]) -> String {
    call(script, arguments).unwrap_or_else(|(code, why)| panic!("{script} {arguments:?} ended with {code:?}: {why}"))
}

/// Ends something as a test ends: a failure is printed by the script, not raised, for
/// the test may be failing already.
pub(crate) fn end(script: &str, dir: &Path) {
    let _ = Command::new("sh").arg(path_of(script)).arg("stop").arg(dir).stdin(Stdio::null()).status();
}

/// A folder that a server of another user may enter.
///
/// # Panics
/// When no folder can be made.
pub(crate) fn folder(what: &str) -> TempDir {
    let made = tempfile::Builder::new().prefix(&format!("tapedeck-{what}.")).tempdir().expect("a temporary folder");
    fs::set_permissions(made.path(), fs::Permissions::from_mode(0o711)).expect("our own folder");
    made
}

fn path_of(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(script)
}

/// What it printed, or its code and its complaint.
fn call(script: &str, arguments: &[&OsStr]) -> Result<String, (Option<i32>, String)> {
    // Files, not pipes: a server that outlives the script would keep a pipe open.
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (out, err) = (dir.path().join("out"), dir.path().join("err"));
    let into = |path: &Path| fs::File::create(path).expect("a file in our own folder");
    let code = Command::new("sh")
        .arg(path_of(script))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(into(&out))
        .stderr(into(&err))
        .status()
        .expect("a shell")
        .code();
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    if code == Some(0) { Ok(text(&out).trim().to_owned()) } else { Err((code, text(&err))) }
}
