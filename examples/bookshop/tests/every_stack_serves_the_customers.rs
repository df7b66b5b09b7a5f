//! The program that says what counting costs serves them with each of its stacks.

use std::process::Command;

#[test]
fn or_says_which_there_are() {
    let cost = |stack: &str| {
        let mut cost = Command::new(env!("CARGO_BIN_EXE_cost"));
        cost.args([stack, "20"]).output().unwrap()
    };
    for stack in ["bare", "told", "layer", "lean"] {
        let output = cost(stack);
        assert!(output.status.success(), "{stack}: {output:?}");
    }
    let output = cost("none");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("told"), "{said}");
}
