//! Every command in README, in `docs` and at the head of an example is typed, and prints what the document
//! shows: the same lines and columns, other figures.
//!
//! `cargo test` has built the examples: they are started as they are. With `EXPECT_RELEASE` set, as
//! `.ci/run` has it, the commands are typed to the letter.
#![cfg(all(unix, feature = "incident"))]

mod documents;
mod scratch;

use documents::{Document, Shown, documents, root, shape};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What proves a command.
enum Proof {
    /// It is typed here, and ends by itself.
    Typed,
    /// It is typed here by a test of its own, which starts what it is about.
    TestedHere,
    /// `.ci/run` has it, in these words.
    InCi(&'static str),
    /// It is too long for every change; this file is what it runs.
    Script(&'static str),
    /// A test of another workspace types it, and compares what is shown; `.ci/run` has that.
    InWorkspace(&'static str),
}

fn proof(command: &str) -> Proof {
    match command {
        // Where the sources of others lie elsewhere, there is nothing to read.
        "cargo run --release --example ingest --features rayon" if !registry().is_dir() => {
            Proof::InCi("cargo run --release --example ingest --features rayon")
        }
        "cargo run --release --example checkout"
        | "cargo run --release --example incident --features incident"
        | "cargo run --release --example ingest --features rayon"
        | "cargo run --release --example ingest --features rayon -- docs/ examples/"
        | "cargo run --release --example spawns --features rayon" => Proof::Typed,
        "cargo run --release --example checkout -- --serve --listen 127.0.0.1:8080"
        | "kill -USR2 PID"
        | "kill -USR2"
        | "kill -USR2 $(pgrep incident)"
        | "grep SigCgt /proc/PID/status"
        | "go tool pprof"
        | "go tool pprof -top FILE" => Proof::TestedHere,
        command if command.starts_with("grep '\"type\":\"incident\"' costs.jsonl") => {
            Proof::TestedHere
        }
        "cargo run --release --manifest-path examples/bookshop/Cargo.toml"
        | "grep '\"type\":\"finding\"' costs.jsonl" => Proof::InWorkspace("bookshop"),
        // This is it.
        "cargo test --all-features" => Proof::InCi("step cargo test --all-features\n"),
        "cargo nextest" => Proof::InCi("step cargo nextest run"),
        "cargo run --release --example checkout --no-default-features" => {
            Proof::InCi("cargo run --release --example checkout --no-default-features")
        }
        "cargo bench --bench span" => {
            Proof::InCi("step cargo bench -p lightweight --all-features -- --smoke")
        }
        "cargo build --release --manifest-path benches/peers/Cargo.toml" => {
            Proof::InCi("step cargo build --release \"${peers[@]}\" --bins")
        }
        "cargo run" => Proof::InCi("step cargo run --release \"${peers[@]}\" --bin allocators"),
        "bash .ci/record-benches"
        | "bash .ci/record-benches memory"
        | "bash .ci/record-benches instructions" => Proof::Script(".ci/record-benches"),
        command => panic!("{command:?} is in a document: say here what proves that it works"),
    }
}

fn registry() -> PathBuf {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")));
    home.unwrap_or_default().join("registry/src")
}

/// The command as a program to start: to the letter, or the example that was built already.
fn program(command: &str) -> Command {
    let example = command.strip_prefix("cargo run --release --example ");
    let mut program = match example.filter(|_| std::env::var_os("EXPECT_RELEASE").is_none()) {
        None => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("exec {command}")]);
            shell
        }
        Some(example) => {
            let mut words = example.split(' ');
            // target/<profile>/deps/<this test> -> target/<profile>/examples/<name>
            let this = std::env::current_exe().unwrap();
            let profile = this.ancestors().nth(2).unwrap();
            let built = profile.join("examples").join(words.next().unwrap());
            assert!(
                built.exists(),
                "{} is not built: run `cargo test --all-features`",
                built.display()
            );
            let mut built = Command::new(built);
            // What it was built with is said before.
            built.args(words.skip_while(|word| *word != "--").skip(1));
            built
        }
    };
    program.current_dir(root()).stdin(Stdio::null());
    program
}

fn output(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{command:?}:\n{text}");
    text
}

#[test]
fn every_command_works_and_prints_what_is_shown() {
    let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    let mut outputs = BTreeMap::new();
    for document in documents() {
        for typed in document.commands() {
            let command = typed.command;
            match proof(&command) {
                Proof::Typed => {
                    let output = outputs
                        .entry(command.clone())
                        .or_insert_with(|| output(&mut program(&command)));
                    if let Some(shown) = &typed.shown {
                        compare(&document, &command, shown, output);
                    }
                    continue;
                }
                Proof::TestedHere => {}
                Proof::InCi(words) => assert!(ci.contains(words), ".ci/run has {words:?}"),
                Proof::Script(file) => assert!(root().join(file).is_file(), "{file}"),
                Proof::InWorkspace(name) => {
                    let words = format!("step cargo test \"${{{name}[@]}}\"");
                    assert!(ci.contains(&words), ".ci/run has {words:?}");
                    continue;
                }
            }
            assert!(
                typed.shown.is_none(),
                "{command:?}: type it here, its output is shown"
            );
        }
    }
    // What documents show is looked at, wherever it stands.
    assert!(outputs.len() >= 4, "{:?}", outputs.keys());
}

fn compare(document: &Document, command: &str, shown: &Shown, output: &str) {
    let (expected, found) = (shape(&shown.lines), shape(output));
    let same = match shown.all {
        true => {
            // Units are in the order of their wall time, which differs from run to run.
            let sorted = |lines: &[String]| {
                let mut lines = lines.to_vec();
                lines.sort();
                lines
            };
            sorted(&expected) == sorted(&found)
        }
        false => found.windows(expected.len()).any(|lines| lines == expected),
    };
    assert!(
        same,
        "{} shows of `{command}`:\n{}\nit prints:\n{output}\nthe shapes are {expected:#?}\n{found:#?}",
        document.name, shown.lines
    );
}

#[test]
fn documents_have_their_commands_and_what_they_show() {
    let documents = documents();
    let commands = |name: &str| {
        let mut documents = documents.iter();
        documents
            .find(|document| document.name == name)
            .unwrap()
            .commands()
    };
    let shown = |name: &str, command: &str| {
        let commands = commands(name);
        commands
            .iter()
            .any(|c| c.command == command && c.shown.is_some())
    };
    assert!(shown(
        "docs/table.md",
        "cargo run --release --example checkout"
    ));
    assert!(shown(
        "docs/on-call.md",
        "cargo run --release --example incident --features incident"
    ));
    let readme = commands("README.md");
    assert!(
        readme
            .iter()
            .any(|c| c.command == "cargo run --release --example checkout")
    );
    assert!(
        readme
            .iter()
            .any(|c| c.command == "cargo test --all-features")
    );
}

/// The programs of README.md are those of the packages' own, which their documentation tests compile.
#[test]
fn the_readmes_programs_are_those_of_the_packages() {
    let text = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let packages = [text("alloc-tracker/README.md"), text("telemetry/README.md")].concat();
    let readme = text("README.md");
    let programs: Vec<&str> = readme
        .split("```rust")
        .skip(1)
        .map(|part| part.split("```").next().unwrap())
        .collect();
    assert_eq!(programs.len(), 2);
    for program in programs {
        assert!(
            packages.contains(program),
            "in no package's README:{program}"
        );
    }
}

/// Every program of `docs/start.md` and `docs/units.md` is part of one that is compiled and run.
#[test]
fn the_first_hours_programs_are_parts_of_real_ones() {
    let text = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let lines = |text: &str| {
        let lines = text
            .lines()
            .map(|line| line.trim_start_matches("//!").trim());
        // However it is broken into lines.
        let text = lines.collect::<String>();
        text.replace([' ', ','], "")
    };
    let real = [
        "examples/bookshop/src/main.rs",
        "examples/bookshop/src/prices.rs",
        "telemetry/tests/one_line_sets_up_what_the_guide_shows_by_hand.rs",
        "telemetry/src/subscriber/follow.rs",
        "alloc-tracker/tests/what_the_first_hour_says_of_a_librarys_tests.rs",
        "examples/bookshop/budgets.toml",
    ]
    .map(|name| lines(&text(name)));
    let document = [text("docs/start.md"), text("docs/units.md")].concat();
    let fences = document.split("\n```").skip(1).step_by(2);
    let programs = fences.filter_map(|fence| {
        let rust = fence.strip_prefix("rust\n");
        rust.or_else(|| fence.strip_prefix("toml\n[unit"))
    });
    let programs: Vec<&str> = programs.collect();
    assert!(programs.len() >= 6, "{programs:?}");
    for program in programs {
        let program = lines(program);
        assert!(
            real.iter().any(|real| real.contains(&program)),
            "in no program that is run:\n{program}"
        );
    }
}

/// What a newcomer builds first, and reads.
#[test]
fn the_first_command_builds_at_most_a_hundred_crates_and_the_readme_is_short() {
    let mut tree = Command::new("cargo");
    tree.args([
        "tree",
        "-p",
        "lightweight",
        "-e",
        "normal,build,dev",
        "--prefix",
        "none",
    ]);
    let tree = output(tree.current_dir(root()));
    let crates: BTreeSet<Vec<&str>> = tree
        .lines()
        .map(|line| line.split(' ').take(2).collect())
        .collect();
    let crates = crates
        .iter()
        .filter(|words| !words.concat().is_empty())
        .count();
    assert!(crates <= 100, "{crates}");
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(
        readme.contains(&format!("builds {crates} crates")),
        "{crates}"
    );
    assert!(readme.lines().count() <= 150);
}

#[test]
fn shapes_keep_names_zeros_and_lines() {
    let shown = "GET /{id}    1,349  p99   1.32 ms  -   8.46 KiB\n\n----\n0 dropped, /tmp/a-1.json";
    let shapes = ["GET /{id} N p99 N N N", "", "---", "0 dropped, FILE"];
    assert_eq!(shape(shown), shapes);
    let bar = |signs: &str, of: &str| format!("  GET /a  1.2 s  {}  {of}", signs.repeat(5));
    assert_eq!(
        shape(&bar("█░·", "active 9 %")),
        shape(&bar("░██", "db 90 %"))
    );
    assert_eq!(shape(&bar("█░·", "active 9 %")), ["GET /a N BAR"]);
    assert_ne!(shape("kept 0 requests"), shape("kept 572 requests"));
    assert_eq!(
        shape("took 0 ns ± 4.4 s of CPU"),
        shape("took 5.1 s ± 1.2 s of CPU")
    );
}

/// A running example that is ended when this is dropped, and the lines that it prints.
struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines }
    }

    /// The next line that has these words in it.
    fn line(&mut self, words: &str) -> String {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 && !line.contains(words) {
            line.clear();
        }
        assert!(line.contains(words), "{words:?} is not printed");
        line
    }

    fn type_about_it(&self, command: &str) -> String {
        let command = command.replace("PID", &self.child.id().to_string());
        output(&mut program(&command))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn checkout_listens_where_it_is_told_to() {
    let command = "cargo run --release --example checkout -- --serve --listen 127.0.0.1:8080";
    // The port may be somebody's.
    let mut service = Running::start(&mut program(&command.replace(":8080", ":0")));
    assert!(service.line("listens on").contains("http://127.0.0.1:"));
    service.type_about_it("kill -TERM PID");
    service.line("records are in");
    assert!(service.child.wait().unwrap().success());
}

/// `docs/on-call.md` from the beginning to the end.
#[test]
fn a_person_on_call_gets_what_the_document_says() {
    let on_call = documents()
        .into_iter()
        .find(|document| document.name == "docs/on-call.md")
        .unwrap();
    let commands: Vec<String> = on_call.commands().into_iter().map(|c| c.command).collect();
    let scratch = scratch::directory("on-call");
    let costs = scratch.join("costs.jsonl");
    let command = format!(
        "cargo run --release --example incident --features incident -- --flush-every 60000 --incident 1000 --directory {} --json {}",
        scratch.display(),
        costs.display()
    );
    let mut service = Running::start(&mut program(&command));
    service.line("under load");
    // It listens: of the last three digits the first has the bit 8.
    assert!(commands.iter().any(|c| c == "grep SigCgt /proc/PID/status"));
    let signals = service.type_about_it("grep SigCgt /proc/PID/status");
    let digit = signals.trim().chars().rev().nth(2).unwrap();
    assert!(digit.to_digit(16).unwrap() & 8 != 0, "{signals}");
    std::thread::sleep(Duration::from_millis(500)); // some load, of which a profile has something to say
    assert!(commands.iter().any(|c| c == "kill -USR2 PID"));
    service.type_about_it("kill -USR2 PID");
    service.line("begins, by signal: a person asked for it");
    let mut rest = String::new();
    service.lines.read_to_string(&mut rest).unwrap();
    assert!(service.child.wait().unwrap().success(), "{rest}");
    let kept: u64 = rest
        .split("and kept ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(kept > 0, "{rest}");

    if has("jq") {
        let grep = commands
            .iter()
            .find(|c| c.starts_with("grep '\"type\""))
            .unwrap();
        // All that a shell makes of it, where the file is.
        let mut shell = Command::new("sh");
        let found = output(shell.args(["-c", grep]).current_dir(&scratch));
        let found: serde_json::Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found["error"], serde_json::Value::Null, "{found}");
        assert_eq!(found["files"].as_array().unwrap().len(), 3, "{found}");
        let unit = &found["grew"][0]["unit"];
        assert_eq!(unit, "GET /recommendations/{customer}", "{found}");
    }
    if has("go") {
        let profile = file_that_ends(&scratch, ".heap.pb.gz");
        assert!(commands.iter().any(|c| c == "go tool pprof -top FILE"));
        let mut go = Command::new("go");
        let top = output(go.args(["tool", "pprof", "-top"]).arg(profile));
        assert!(top.contains("flat%"), "{top}");
    }
    file_that_ends(&scratch, ".growth.svg");
    file_that_ends(&scratch, ".growth.json");
}

fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    let has = found.unwrap().status.success();
    assert!(
        has || std::env::var_os("EXPECT_PPROF").is_none(),
        "{program} is missing"
    );
    has
}

fn file_that_ends(directory: &Path, with: &str) -> PathBuf {
    let files = directory
        .read_dir()
        .unwrap()
        .flatten()
        .map(|file| file.path());
    let mut files = files.filter(|path| path.to_string_lossy().ends_with(with));
    files.next().unwrap_or_else(|| panic!("no file {with}"))
}
