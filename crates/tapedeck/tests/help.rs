//! What `--help` says, kept so that a change of it is seen and meant.
//!
//! Not here: what the commands do.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

mod common;

#[test]
fn the_help_of_every_command_is_the_one_that_was_reviewed() {
    let commands: [&[&str]; 38] = [
        &[],
        &["up"],
        &["demo"],
        &["replay"],
        &["config"],
        &["config", "show"],
        &["topics"],
        &["topics", "describe"],
        &["groups"],
        &["groups", "lag"],
        &["groups", "reset"],
        &["groups", "skip"],
        &["dlq"],
        &["dlq", "list"],
        &["dlq", "groups"],
        &["dlq", "show"],
        &["dlq", "replay"],
        &["dlq", "purge"],
        &["topics", "plan"],
        &["topics", "apply"],
        &["topics", "watch"],
        &["topics", "acls"],
        &["migrate"],
        &["schema"],
        &["schema", "show"],
        &["schema", "register"],
        &["produce"],
        &["consume"],
        &["explain"],
        &["audit"],
        &["audit", "verify"],
        &["audit", "export"],
        &["model"],
        &["model", "inspect"],
        &["model", "predict"],
        &["model", "explain"],
        &["bench"],
        &["chaos"],
    ];
    for command in commands {
        let mut args = command.to_vec();
        args.push("--help");
        let output = common::run(&args);
        assert!(output.status.success());
        insta::assert_snapshot!(format!("help_{}", command.join("_")), common::stdout(&output));
    }
}
