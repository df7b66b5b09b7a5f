//! Two services with each subscriber, under `wrk`, in turn: CPU time per request and requests a
//! second, against the same service without any.
//!
//! Each round has processes of its own: where one happens to lie in memory makes it faster or slower
//! by a tenth for as long as it runs, which rounds of one process would all share.
//!
//! `cargo build --release --manifest-path benches/peers/Cargo.toml --bins`, then
//! `cargo run` with the same and `--bin services [-- --smoke]`.
//!
//! `-- --instructions`: instead of that the instructions of the thread that serves a request of the minimal service,
//! counted by callgrind over one connection. They are the same whatever else the machine does.

use peers::subscribers::OF_SERVICES;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let smoke = arguments.iter().any(|arg| arg == "--smoke");
    if arguments.iter().any(|arg| arg == "--instructions") {
        return instructions(smoke);
    }
    if Command::new("wrk").arg("--version").output().is_err() {
        println!("skipped: wrk is not installed");
        return;
    }
    let (rounds, seconds) = if smoke { (1, 1) } else { (8, 2) };
    // `--only A --only B`: these, and none. `--service A`: that one.
    let chosen = |option: &str, what: &str| {
        let mut pairs = arguments.windows(2).filter(|pair| pair[0] == option);
        !arguments.iter().any(|arg| arg == option) || pairs.any(|pair| pair[1] == what)
    };
    let subscribers: Vec<_> = (OF_SERVICES.into_iter())
        .filter(|with| *with == "none" || chosen("--only", with))
        .collect();
    let services = [("minimal", None), ("checkout", Some(CHECKOUT))].into_iter();
    for (service, script) in services.filter(|(service, _)| chosen("--service", service)) {
        let script = script.map(|text| {
            let path = std::env::temp_dir().join(format!("wrk-{}.lua", std::process::id()));
            std::fs::write(&path, text).expect("a temporary file");
            path
        });
        let mut measured: Vec<Vec<Round>> = subscribers.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            // Each is the first, and the last, as often as the others.
            for n in 0..subscribers.len() {
                let at = (n + round) % subscribers.len();
                let server = Server::start(service, subscribers[at]);
                server.load(1, script.as_ref());
                measured[at].push(server.load(seconds, script.as_ref()));
            }
        }
        println!("\n{service}: against no subscriber and no tracker, {rounds} rounds in turn");
        println!(
            "{:<20}{:>14}{:>30}{:>30}",
            "", "CPU/request", "CPU ratio [95 %]", "throughput ratio [95 %]"
        );
        for (with, of) in subscribers.iter().zip(&measured) {
            let against = |figure: fn(&Round) -> f64| {
                let pairs = of.iter().zip(&measured[0]);
                interval(
                    &pairs
                        .map(|(a, b)| figure(a) / figure(b))
                        .collect::<Vec<_>>(),
                )
            };
            println!(
                "{:<20}{:>11.2} us{:>30}{:>30}",
                with,
                median(&of.iter().map(|r| r.cpu_us).collect::<Vec<_>>()),
                against(|r| r.cpu_us),
                against(|r| r.per_second),
            );
        }
    }
}

/// Requests that read, as `wrk` asks for them in turn.
const CHECKOUT: &str = r#"
local paths = { "/orders/1", "/orders/17/invoice", "/orders/33", "/coupons/SPRING", "/orders/48" }
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", paths[n % #paths + 1])
end
"#;

/// Prints the instructions of a request with each subscriber.
fn instructions(smoke: bool) {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: valgrind is not installed");
        return;
    }
    let measured = match smoke {
        true => &["none", "lean counts"][..],
        false => &OF_SERVICES[..],
    };
    println!("\nminimal: instructions of a request, counted by callgrind");
    println!("{:<20}{:>14}{:>14}", "", "a request", "over none");
    let mut none = None;
    for with in measured {
        let each = instructions_of_a_request(with);
        let over = each - *none.get_or_insert(each);
        println!("{with:<20}{each:>14.0}{over:>+14.0}");
    }
}

/// Two runs that differ only in how many requests there are, enough for the worker to be the busiest thread.
fn instructions_of_a_request(with: &str) -> f64 {
    let (few, many) = (2_000, 4_000);
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let [few_took, many_took] = [few, many].map(|requests| {
        let counts = scratch.path().join(requests.to_string());
        let server = Server::start_counted(with, &counts);
        server.ask(requests);
        drop(server);
        busiest_thread(scratch.path(), &requests.to_string())
    });
    (many_took - few_took) as f64 / f64::from(many - few)
}

/// The instructions of the thread that executed the most of them: the runtime's one worker.
fn busiest_thread(directory: &Path, run: &str) -> u64 {
    let files = std::fs::read_dir(directory).expect("it is there").flatten();
    let of_run = files.filter(|file| {
        let name = file.file_name();
        let thread = name.to_str().and_then(|name| name.strip_prefix(run));
        thread.is_some_and(|thread| thread.starts_with('-'))
    });
    let totals = of_run.filter_map(|file| {
        let text = std::fs::read_to_string(file.path()).ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("totals: "))?;
        line.trim().parse::<u64>().ok()
    });
    totals.max().expect("callgrind has written what it counted")
}

#[derive(Clone, Copy)]
struct Round {
    cpu_us: f64,
    per_second: f64,
}

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(service: &str, with: &str) -> Server {
        Self::spawn(Command::new(Self::binary(with)), service, with)
    }

    /// The minimal service under callgrind, which writes a file for each thread.
    fn start_counted(with: &str, counts: &Path) -> Server {
        let mut valgrind = Command::new("valgrind");
        valgrind
            .args(["-q", "--tool=callgrind", "--separate-threads=yes"])
            .arg(format!("--callgrind-out-file={}", counts.display()))
            .arg(Self::binary(with));
        Self::spawn(valgrind, "minimal", with)
    }

    fn binary(with: &str) -> PathBuf {
        // Its own allocator is part of what this project costs.
        let name = match with {
            with if with.starts_with("lightweight") || with.starts_with("lean") => {
                "service_tracked"
            }
            _ => "service_system",
        };
        let mut binary: PathBuf = std::env::current_exe().expect("a path");
        binary.set_file_name(name);
        binary
    }

    fn spawn(mut command: Command, service: &str, with: &str) -> Server {
        let mut process = command
            .args(["--service", service, "--with", with])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo build --bins comes first");
        let mut address = String::new();
        BufReader::new(process.stdout.take().expect("it is piped"))
            .read_line(&mut address)
            .expect("its address");
        Server {
            process,
            address: address.trim().to_owned(),
        }
    }

    /// This many requests, one after the other, over one connection.
    fn ask(&self, requests: u32) {
        let mut connection = TcpStream::connect(&self.address).expect("it listens");
        connection.set_nodelay(true).expect("it can be");
        for _ in 0..requests {
            let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
            connection.write_all(request).expect("it reads");
            let (mut answer, mut part) = (Vec::new(), [0; 1024]);
            while !answer.ends_with(b"\r\n\r\nok") {
                let len = connection.read(&mut part).expect("it answers");
                assert!(len > 0, "{}", String::from_utf8_lossy(&answer));
                answer.extend_from_slice(&part[..len]);
            }
        }
    }

    fn load(&self, seconds: u32, script: Option<&PathBuf>) -> Round {
        let before = self.cpu_seconds();
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "-c16", &format!("-d{seconds}s")]);
        if let Some(script) = script {
            wrk.arg("-s").arg(script);
        }
        let output = wrk.arg(format!("http://{}/", self.address)).output();
        let output = output.expect("wrk runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let cpu = self.cpu_seconds() - before;
        let figure = |before: &str, after: &str| -> f64 {
            let rest = text.split(before).nth(1).unwrap_or_default();
            let word = rest.split(after).next().unwrap_or_default().trim();
            word.parse().unwrap_or_else(|_| panic!("wrk says {text}"))
        };
        let per_second = figure("Requests/sec:", "\n");
        let line = text.lines().find(|line| line.contains(" requests in "));
        let requests = line.and_then(|line| line.split_whitespace().next());
        let requests: f64 = requests.and_then(|n| n.parse().ok()).expect("a number");
        assert!(!text.contains("Socket errors"), "{text}");
        Round {
            cpu_us: cpu * 1e6 / requests,
            per_second,
        }
    }

    /// User and system time of the server, all threads.
    fn cpu_seconds(&self) -> f64 {
        let path = format!("/proc/{}/task", self.process.id());
        let threads = std::fs::read_dir(path).expect("it runs");
        let nanoseconds = threads.filter_map(|thread| {
            let path = thread.ok()?.path().join("schedstat");
            let text = std::fs::read_to_string(path).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        nanoseconds.sum::<u64>() as f64 / 1e9
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its standard input ends, and with it the server.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Geometric mean, as of ratios, and its 95 % confidence interval.
fn interval(values: &[f64]) -> String {
    let n = values.len() as f64;
    let mean = values.iter().map(|v| v.ln()).sum::<f64>() / n;
    let variance = values.iter().map(|v| (v.ln() - mean).powi(2)).sum::<f64>();
    let half = 1.96 * (variance / (n - 1.0).max(1.0) / n).sqrt();
    let (low, mean, high) = ((mean - half).exp(), mean.exp(), (mean + half).exp());
    format!("x{mean:.3} [{low:.3}..{high:.3}]")
}
