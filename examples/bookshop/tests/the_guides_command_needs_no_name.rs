//! `docs/start.md` has the service run without saying which of the programs is meant.

use std::process::Command;

#[test]
fn the_guides_command_needs_no_name() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/start.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("`cargo run --release --manifest-path examples/bookshop/Cargo.toml`"));
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let asked = [
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--manifest-path",
        manifest,
    ];
    let output = Command::new(env!("CARGO")).args(asked).output().unwrap();
    let metadata = String::from_utf8(output.stdout).unwrap();
    let programs = metadata.matches("\"kind\":[\"bin\"]").count();
    assert!(programs == 1 || metadata.contains("\"default_run\":\"bookshop\""));
}
