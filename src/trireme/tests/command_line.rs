//! The binary as a shell sees it: what it prints where, and how it exits.

use std::process::{Command, Output};

fn trireme(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trireme"))
        .args(arguments)
        .output()
        .expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn help_goes_to_standard_output_and_names_every_command() {
    let output = trireme(&["--help"]);
    assert!(output.status.success() && output.stderr.is_empty());

    let help = text(&output.stdout);
    for command in [
        "run", "dev", "check", "ring", "rebuild", "query", "block", "bucket", "bench",
    ] {
        let listed = help
            .lines()
            .any(|line| line.split_whitespace().next() == Some(command));
        assert!(listed, "{command} is not in the help:\n{help}");
        assert!(
            trireme(&[command, "--help"]).status.success(),
            "{command} --help"
        );
    }
}

#[test]
fn an_unknown_command_is_an_error_of_usage() {
    let output = trireme(&["rnu"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(
        text(&output.stderr).contains("rnu"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_setting_that_does_not_exist_is_named_and_nothing_starts() {
    let dir = tempfile::tempdir().expect("temp dir");
    let data_dir = format!("node.data_dir={}", dir.path().join("data").display());
    let output = trireme(&["run", "--set", &data_dir, "--set", "storage.windwo=2h"]);

    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("windwo"),
        "{}",
        text(&output.stderr)
    );

    assert!(!dir.path().join("data").exists());
}

#[test]
fn a_bucket_is_checked_by_writing_to_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = format!("bucket.path={}", dir.path().join("bucket").display());
    let check = |prefix: &str| {
        trireme(&[
            "check",
            "bucket",
            "--set",
            &path,
            "--set",
            &format!("bucket.prefix={prefix}"),
        ])
    };

    let good = check("some folder");
    assert!(good.status.success(), "{}", text(&good.stderr));
    assert!(
        text(&good.stdout).contains("created only if they are not there"),
        "{}",
        text(&good.stdout)
    );

    let left = std::fs::read_dir(dir.path().join("bucket/some folder")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "a check leaves nothing");
    let bad = check("..");

    assert_eq!(bad.status.code(), Some(1));
    assert!(
        text(&bad.stderr).contains("bucket.prefix"),
        "{}",
        text(&bad.stderr)
    );
}
