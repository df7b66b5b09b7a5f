//! Two services with each subscriber, under `wrk`, in turn: CPU time per request and requests a
//! second, against the same service without any.
//!
//! `cargo build --release --manifest-path benches/peers/Cargo.toml --bins`, then
//! `cargo run` with the same and `--bin services [-- --smoke]`.

use peers::subscribers::OF_SERVICES;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

fn main() {
    if Command::new("wrk").arg("--version").output().is_err() {
        println!("skipped: wrk is not installed");
        return;
    }
    let smoke = std::env::args().any(|arg| arg == "--smoke");
    let (rounds, seconds) = if smoke { (1, 1) } else { (12, 2) };
    for (service, script) in [("minimal", None), ("checkout", Some(CHECKOUT))] {
        let script = script.map(|text| {
            let path = std::env::temp_dir().join(format!("wrk-{}.lua", std::process::id()));
            std::fs::write(&path, text).expect("a temporary file");
            path
        });
        let mut servers: Vec<Server> = OF_SERVICES
            .iter()
            .map(|with| Server::start(service, with))
            .collect();
        for _ in 0..=rounds {
            for server in &mut servers {
                server.round(seconds, script.as_ref());
            }
        }
        println!("\n{service}: against no subscriber and no tracker, {rounds} rounds in turn");
        println!(
            "{:<20}{:>14}{:>30}{:>30}",
            "", "CPU/request", "CPU ratio [95 %]", "throughput ratio [95 %]"
        );
        let (bare, _) = servers.split_at(1);
        for server in &servers {
            // The first round warms up.
            let (cpu, rate) = (server.column(|r| r.cpu_us), server.column(|r| r.per_second));
            let against = |of: &[f64], bare: Vec<f64>| {
                let ratios: Vec<f64> = of.iter().zip(bare).map(|(a, b)| a / b).collect();
                interval(&ratios)
            };
            println!(
                "{:<20}{:>11.2} us{:>30}{:>30}",
                server.with,
                median(&cpu),
                against(&cpu, bare[0].column(|r| r.cpu_us)),
                against(&rate, bare[0].column(|r| r.per_second)),
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

struct Round {
    cpu_us: f64,
    per_second: f64,
}

struct Server {
    with: &'static str,
    process: Child,
    address: String,
    rounds: Vec<Round>,
}

impl Server {
    fn start(service: &str, with: &'static str) -> Server {
        // Its own allocator is part of what this project costs.
        let name = match with {
            "lightweight" | "lightweight, heap" | "lightweight counts" => "service_tracked",
            _ => "service_system",
        };
        let mut binary: PathBuf = std::env::current_exe().expect("a path");
        binary.set_file_name(name);
        let mut process = Command::new(binary)
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
            with,
            process,
            address: address.trim().to_owned(),
            rounds: Vec::new(),
        }
    }

    fn round(&mut self, seconds: u32, script: Option<&PathBuf>) {
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
        self.rounds.push(Round {
            cpu_us: cpu * 1e6 / requests,
            per_second,
        });
    }

    fn column(&self, of: impl Fn(&Round) -> f64) -> Vec<f64> {
        self.rounds.iter().skip(1).map(of).collect()
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

/// Mean and its 95 % confidence interval.
fn interval(values: &[f64]) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let half = 1.96 * (variance / n).sqrt();
    format!("x{mean:.3} [{:.3}..{:.3}]", mean - half, mean + half)
}
