//! Names of functions, looked up in the process, or outside of it from addresses alone: what a service has
//! to spare for each. A shop is loaded while the heap is sampled, and the profile then written either way;
//! a tool for symbols, if there is one, names the addresses, and both are compared.
//!
//! `CARGO_PROFILE_BENCH_DEBUG=2 cargo bench --bench symbols` has it look through the full debug information
//! of all dependencies.

#[path = "../examples/checkout/database.rs"]
mod database;
#[path = "../examples/checkout/load.rs"]
mod load;
#[path = "../examples/checkout/service.rs"]
mod service;
mod support;

use alloc_tracker::AllocTracker;
use alloc_tracker::profiler::{self, Config, Profile};
use axum::Router;
use database::Database;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// Tools that name addresses.
const TOOLS: [&str; 2] = ["llvm-addr2line", "addr2line"];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == "--child") {
        return child(&arguments[at + 1], Path::new(&arguments[at + 2]));
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned();
    let program = std::env::current_exe().expect("a path");
    let size = fs::metadata(&program).expect("a file").len();
    println!(
        "\nNames of functions in a profile, of a program of {} MB",
        size / 1_000_000
    );
    println!(
        "{:<44} {:>9} {:>9} {:>9} {:>9}",
        "", "peak", "left", "CPU", "wall"
    );
    let run = |program: &Path, how: &str| {
        let mut child = Command::new(program);
        child.args(["--child", how]).arg(&directory);
        if support::smoke() {
            child.arg("--smoke");
        }
        assert!(child.status().expect("a child").success());
    };
    for compress in ["zlib", "zstd"] {
        let compressed = directory.join("compressed");
        let mut objcopy = Command::new("objcopy");
        objcopy.arg(format!("--compress-debug-sections={compress}"));
        let status = objcopy.args([&program, &compressed]).status();
        if status.is_ok_and(|status| status.success()) {
            run(&compressed, &format!("in it, compressed with {compress}"));
        } else {
            println!(
                "compressed with {compress}: skipped, objcopy was not found or does not know it"
            );
        }
    }
    run(&program, "in the process");
    run(&program, "addresses alone");
    let named = Named::read(&directory);
    for tool in TOOLS {
        named.by(tool);
    }
}

/// What the system says of a process, in KiB.
fn memory(process: &str, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with(name))
        .expect(name);
    line.split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect(name)
}

/// Nanoseconds of CPU that a thread took.
fn cpu(thread: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{thread}/schedstat")).expect("Linux");
    text.split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a number")
}

fn row(name: &str, peak: u64, left: Option<u64>, cpu: u64, wall: Duration) {
    let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
    println!(
        "{name:<44} {:>9} {:>9} {:>6} ms {:>6} ms",
        mib(peak),
        left.map(mib).unwrap_or_default(),
        cpu / 1_000_000,
        wall.as_millis()
    );
}

/// Writes a profile in one of both ways, twice, and prints what that takes; then in both.
fn child(how: &str, directory: &Path) {
    let profile = loaded();
    for name in ["first", "again"] {
        let (resident, spent, start) =
            (memory("self", "VmRSS"), cpu("thread-self"), Instant::now());
        // The highest from here on.
        fs::write("/proc/self/clear_refs", "5").expect("Linux");
        match how {
            "addresses alone" => profile.write_gperftools(std::io::sink()),
            _ => profile.write_pprof(std::io::sink()),
        }
        .expect("nothing to fail");
        row(
            &format!("{how}, {name}"),
            memory("self", "VmHWM").saturating_sub(resident),
            Some(memory("self", "VmRSS").saturating_sub(resident)),
            cpu("thread-self") - spent,
            start.elapsed(),
        );
    }
    let file = |name| fs::File::create(directory.join(name)).expect("a file");
    profile.write_json(file("named")).expect("a named profile");
    profile
        .write_gperftools(file("addresses"))
        .expect("a bare one");
}

/// The profile of a service under load.
fn loaded() -> Profile {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let session = profiler::start(Config::default().mean_bytes(4096)).expect("the profiler");
    runtime.block_on(async {
        let database = Database::open(8).await.expect("a database");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(service::serve(
            listener,
            database,
            Router::new(),
            std::future::pending(),
        ));
        let load = load::Load {
            address,
            requests: if support::smoke() { 200 } else { 20_000 },
            connections: 8,
            within: Duration::from_secs(60),
            besides: None,
        };
        load.run().await.expect("answers");
    });
    let profile = profiler::snapshot();
    drop(session);
    profile
}

/// A profile that the process has named, and its addresses.
struct Named {
    program: PathBuf,
    /// The names of each stack, the innermost first.
    stacks: Vec<Names>,
    /// The same as addresses.
    bare: Vec<Vec<u64>>,
    /// Where files are mapped: begin, end, what is to be taken away for the address in the file.
    mapped: Vec<(u64, u64, u64, String)>,
}

impl Named {
    fn read(directory: &Path) -> Self {
        let text = |name| fs::read_to_string(directory.join(name)).expect("written");
        let named: serde_json::Value = serde_json::from_str(&text("named")).expect("JSON");
        let name = |frame: &serde_json::Value| {
            let text = |key| frame[key].as_str().unwrap_or_default();
            (text("function").to_owned(), line_of(text("at")))
        };
        let stack = |stack: &serde_json::Value| {
            let frames = stack["frames"].as_array().expect("frames");
            frames.iter().map(name).collect()
        };
        let stacks = named["stacks"]
            .as_array()
            .expect("stacks")
            .iter()
            .map(stack);
        let addresses = text("addresses");
        let (rows, maps) = addresses.split_once("\nMAPPED_LIBRARIES:\n").expect("both");
        let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        let bare = rows.lines().skip(1).filter_map(|row| {
            let (_, frames) = row.split_once('@')?;
            // Inside the call.
            frames
                .split_whitespace()
                .map(|f| Some(hex(f)? - 1))
                .collect()
        });
        let mut mapped: Vec<(u64, u64, u64, String)> = Vec::new();
        for line in maps.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let Some(file) = fields.get(5).filter(|file| file.starts_with('/')) else {
                continue;
            };
            let (begin, end) = fields[0].split_once('-').expect("a range");
            let (begin, end) = (hex(begin).expect("hex"), hex(end).expect("hex"));
            let first = mapped.iter().find(|(.., other)| other == file);
            let base = first.map_or(begin, |(_, _, base, _)| *base);
            mapped.push((begin, end, base, (*file).to_owned()));
        }
        Named {
            program: std::env::current_exe().expect("a path"),
            stacks: stacks.collect(),
            bare: bare.collect(),
            mapped,
        }
    }

    /// Has a tool name all addresses, and compares.
    fn by(&self, tool: &str) {
        let mut by_file: HashMap<&str, Vec<(u64, u64)>> = HashMap::new();
        let addresses: HashSet<u64> = self.bare.iter().flatten().copied().collect();
        for address in addresses {
            let mut mapped = self.mapped.iter();
            if let Some((_, _, base, file)) = mapped.find(|m| (m.0..m.1).contains(&address)) {
                by_file
                    .entry(file)
                    .or_default()
                    .push((address, address - base));
            }
        }
        let mut names: HashMap<u64, Names> = HashMap::new();
        let (mut peak, mut spent, start) = (0, 0, Instant::now());
        for (file, addresses) in by_file {
            let Some((found, kib, ns)) = ask(tool, file, &addresses) else {
                println!("{:<44} skipped: {tool} was not found", format!("  {tool}"));
                return;
            };
            // The process does not look for the lines of libraries.
            let has_lines = Path::new(file) == self.program;
            names.extend(found.into_iter().map(|(address, mut names)| {
                let unknown = names.iter_mut().filter(|_| !has_lines);
                unknown.for_each(|(_, line)| *line = line_of(""));
                (address, names)
            }));
            peak = peak.max(kib);
            spent += ns;
        }
        row(
            &format!("  then outside: {tool}"),
            peak,
            None,
            spent,
            start.elapsed(),
        );
        // By their lines. The process leaves out the innermost frames, which are the tracker's own.
        let mut known: HashMap<Vec<&str>, Vec<Vec<&str>>> = HashMap::new();
        for stack in &self.bare {
            let all = stack
                .iter()
                .filter_map(|address| names.get(address))
                .flatten();
            let (names, lines): (Vec<&str>, Vec<&str>) = all
                .map(|(name, line)| (name.as_str(), line.as_str()))
                .unzip();
            for from in 0..lines.len() {
                let same = known.entry(lines[from..].to_vec()).or_default();
                same.push(names[from..].to_vec());
            }
        }
        let (mut lines, mut both) = (0, 0);
        for stack in &self.stacks {
            let of_stack: Vec<&str> = stack.iter().map(|(_, line)| line.as_str()).collect();
            let Some(others) = known.get(&of_stack) else {
                continue;
            };
            lines += 1;
            let is_same = |other: &Vec<&str>| {
                let mut pairs = stack.iter().zip(other);
                pairs.all(|((name, line), mangled)| line == "?" || is_of(mangled, name))
            };
            both += usize::from(others.iter().any(is_same));
        }
        let all = self.stacks.len();
        println!("    of {all} stacks {lines} have the same lines, {both} the same functions, too");
    }
}

/// Functions and lines, the innermost first.
type Names = Vec<(String, String)>;
type Answers = Vec<(u64, Names)>;

/// The functions at addresses of a file, as a tool names them, with its memory in KiB and its CPU time.
fn ask(tool: &str, file: &str, addresses: &[(u64, u64)]) -> Option<(Answers, u64, u64)> {
    let mut child = Command::new(tool)
        .args(["-a", "-f", "-i", "-e", file])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut to = child.stdin.take()?;
    let asked: String = addresses.iter().map(|(_, a)| format!("{a:#x}\n")).collect();
    // One more than is of use, so that the last answer has an end.
    let writer = std::thread::spawn(move || {
        let _ = to.write_all(asked.as_bytes());
        let _ = to.write_all(b"0x0\n");
        let _ = to.flush();
        to
    });
    let mut answers: Answers = Vec::new();
    let mut next = addresses.iter();
    let mut lines = BufReader::new(child.stdout.take()?)
        .lines()
        .map_while(Result::ok);
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            let Some((address, _)) = next.next() else {
                break;
            };
            answers.push((*address, Vec::new()));
        } else {
            let names = &mut answers.last_mut()?.1;
            names.push((line, line_of(&lines.next()?)));
        }
    }
    // It waits for more, so it can still be asked what it took.
    let process = child.id().to_string();
    let (kib, ns) = (memory(&process, "VmHWM"), cpu(&process));
    drop(writer.join().ok()?);
    child.wait().ok()?;
    Some((answers, kib, ns))
}

/// File and line without the folders, which tools write in their own ways.
fn line_of(at: &str) -> String {
    let at = at.split(' ').next().unwrap_or_default();
    let at = at.rsplit('/').next().unwrap_or_default();
    match at.split_once(':') {
        Some((_, line)) if line.parse::<u32>().is_ok_and(|line| line > 0) => at.to_owned(),
        _ => "?".to_owned(),
    }
}

/// Whether a function's path may be of a name as the linker knows it: that has the last part of the path.
fn is_of(mangled: &str, path: &str) -> bool {
    // Without what a generic function is of.
    let path = match path.rsplit_once("::<") {
        Some((before, types)) if types.ends_with('>') => before,
        _ => path,
    };
    let mut words = path.rsplit(|c: char| !c.is_alphanumeric() && c != '_');
    let last = words.find(|word| !word.is_empty()).unwrap_or_default();
    // Closures and the like have numbers only.
    mangled.contains(last) || path.contains("{{")
}
