//! Finds out what the compiler takes for unreachable.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(casts_of_never_are_unreachable)");
    // Before 1.91 they were, for a lint. An unknown compiler is a new one.
    if minor_version().is_some_and(|minor| minor < 91) {
        println!("cargo::rustc-cfg=casts_of_never_are_unreachable");
    }
}

/// Of `rustc 1.85.0 (..)`: 85.
fn minor_version() -> Option<u32> {
    let rustc = std::env::var_os("RUSTC")?;
    let output = Command::new(rustc).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split(' ').nth(1)?;
    version.split('.').nth(1)?.parse().ok()
}
