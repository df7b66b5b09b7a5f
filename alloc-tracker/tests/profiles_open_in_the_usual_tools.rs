//! A profile as pprof, collapsed stacks, flame graph and JSON; the first by the real tool, where it is
//! installed.
#![cfg(feature = "profile")]

use alloc_tracker::profiler::{self, Config, Figure, Profile};
use alloc_tracker::{AllocTracker, Unit};
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

#[inline(never)]
fn leaks(blocks: usize) -> Vec<Vec<u8>> {
    (0..blocks).map(|_| black_box(vec![1; 10_000])).collect()
}

#[inline(never)]
fn storms() {
    (0..200).for_each(|_| drop(black_box(vec![1u8; 50_000])));
}

/// Before and after: 3 MB in use for the unit `cart; or basket`, 10 MB allocated and freed for none.
fn profiles() -> &'static (Profile, Profile) {
    static PROFILES: OnceLock<(Profile, Profile)> = OnceLock::new();
    PROFILES.get_or_init(|| {
        let session = profiler::start(Config::default().mean_bytes(1)).unwrap();
        let before = profiler::snapshot();
        let held = Unit::named("cart; or basket").run(|| leaks(300));
        storms();
        session.stop();
        let after = profiler::snapshot();
        std::mem::forget(held);
        (before, after)
    })
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> Result<(), profiler::ProfileError>) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// What `go tool pprof` says; nothing where it is not installed.
fn pprof(file: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("go")
        .args(["tool", "pprof"])
        .args(arguments)
        .arg(file)
        .env("PPROF_TMPDIR", file.parent().unwrap())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    Some(text)
}

#[test]
fn go_tool_pprof_opens_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("heap.pb.gz");
    let profile = &profiles().1;
    profile
        .write_pprof(std::fs::File::create(&file).unwrap())
        .unwrap();
    let Some(in_use) = pprof(&file, &["-top", "-cum", "-nodecount=200"]) else {
        // CI installs it, and says that it has.
        assert!(
            std::env::var_os("EXPECT_PPROF").is_none(),
            "go is not installed"
        );
        return eprintln!("skipped: go is not installed");
    };
    assert!(in_use.contains("Type: inuse_space"), "{in_use}");
    assert!(in_use.contains("leaks"), "{in_use}");
    assert!(!in_use.contains("storms"), "{in_use}");
    assert!(in_use.contains("Build ID: "), "{in_use}");
    let allocated = pprof(
        &file,
        &[
            "-top",
            "-cum",
            "-nodecount=200",
            "-sample_index=alloc_space",
        ],
    );
    assert!(allocated.unwrap().contains("storms"));
    let objects = pprof(&file, &["-top", "-cum", "-sample_index=inuse_objects"]).unwrap();
    assert!(objects.contains("Type: inuse_objects"), "{objects}");
    let tags = pprof(&file, &["-tags"]).unwrap();
    assert!(
        tags.contains("unit: Total") && tags.contains("cart; or basket"),
        "{tags}"
    );
    let focused = pprof(&file, &["-top", "-tagfocus=unit=cart", "-unit=B"]).unwrap();
    assert!(focused.contains("3000000"), "{focused}");
    // Lines, and not only functions.
    let lines = pprof(&file, &["-list=leaks"]).unwrap();
    assert!(lines.contains("black_box(vec![1; 10_000])"), "{lines}");
    let raw = pprof(&file, &["-raw"]).unwrap();
    let mappings = raw.split("Mappings").nth(1).unwrap();
    assert!(
        mappings.contains("profiles_open_in_the_usual_tools"),
        "{mappings}"
    );
    assert!(mappings.contains("libc.so.6"), "{mappings}");
}

#[test]
fn google_pprof_opens_the_older_format() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("heap.txt");
    let profile = &profiles().1;
    profile
        .write_gperftools(std::fs::File::create(&file).unwrap())
        .unwrap();
    // The other one takes it, too.
    if let Some(in_use) = pprof(&file, &["-raw"]) {
        assert!(in_use.contains("inuse_space/bytes"), "{in_use}");
    }
    let program = std::env::current_exe().unwrap();
    let tool = Command::new("google-pprof")
        .args(["--text", "--cum", "--lines"])
        .args([&program, &file])
        .output();
    let Ok(output) = tool else {
        assert!(
            std::env::var_os("EXPECT_PPROF").is_none(),
            "google-pprof is not installed"
        );
        return eprintln!("skipped: google-pprof is not installed");
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("Total: 2.9 MB"), "{text}{errors}");
    assert!(text.contains("leaks"), "{text}{errors}");
}

#[test]
fn collapsed_stacks_are_lines_of_frames_and_a_number() {
    let profile = &profiles().1;
    let text = written(|to| profile.write_collapsed(Figure::InuseSpace, to));
    let mut bytes = 0;
    for line in text.lines() {
        let (stack, value) = line.rsplit_once(' ').unwrap();
        let value: u64 = value.parse().unwrap();
        assert!(!stack.is_empty() && value > 0, "{line}");
        // The unit comes first, and its name cannot be taken for two frames.
        if stack.starts_with("cart: or basket;") && stack.contains("leaks") {
            bytes += value;
        }
    }
    assert!((3_000_000..3_020_000).contains(&bytes), "{bytes}");
    let churn = written(|to| profile.write_collapsed(Figure::AllocObjects, to));
    assert!(
        churn
            .lines()
            .any(|line| line.contains("storms") && line.ends_with(" 200"))
    );
}

#[test]
fn a_flame_graph_is_an_image() {
    let profile = &profiles().1;
    let svg = written(|to| profile.write_flamegraph(Figure::InuseSpace, to));
    assert!(svg.starts_with("<?xml") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("inuse_space: ") && svg.contains("leaks"));
    // The unit, the program's code, and what runs it in one frame.
    let frames = |svg: &str| svg.matches("<title>").count();
    assert!(svg.contains("<title>cart: or basket"), "{svg}");
    assert!(
        svg.contains("<title>… ") && svg.contains(" frames of "),
        "{svg}"
    );
    assert!(!svg.contains("std::panicking"), "{svg}");
    // With all of it, as tools have it.
    let whole = profile.clone().whole_stacks();
    let whole = written(|to| whole.write_flamegraph(Figure::InuseSpace, to));
    assert!(whole.contains("std::panicking") && !whole.contains("<title>… "));
    assert!(
        frames(&whole) > frames(&svg),
        "{} and {}",
        frames(&whole),
        frames(&svg)
    );
    // Of a process that holds nothing there still is one.
    let (before, _) = profiles();
    let nothing = before.since(before);
    let svg = written(|to| nothing.write_flamegraph(Figure::InuseSpace, to));
    assert!(svg.trim_end().ends_with("</svg>"));
}

#[test]
fn json_has_the_estimates_and_every_stack() {
    let profile = &profiles().1;
    let json: serde_json::Value =
        serde_json::from_str(&written(|to| profile.write_json(to))).unwrap();
    let value = &json["estimate"]["inuse_bytes"]["value"];
    assert_eq!(value.as_f64(), Some(profile.estimate().inuse_bytes.value));
    let stacks = json["stacks"].as_array().unwrap();
    let first = &stacks[0];
    assert_eq!(first["unit"], "cart; or basket");
    assert!(first["inuse_bytes"].as_u64().unwrap() >= 2_900_000);
    let frames = first["frames"].as_array().unwrap();
    let ours = frames
        .iter()
        .find(|frame| frame["function"].as_str().unwrap().contains("leaks"));
    let at = ours.unwrap()["at"].as_str().unwrap();
    assert!(at.contains("profiles_open_in_the_usual_tools.rs:"), "{at}");
}

#[test]
fn the_difference_of_two_profiles_says_what_leaks() {
    let (before, after) = profiles();
    let difference = after.since(before);
    assert!((3_000_000.0..3_050_000.0).contains(&difference.inuse_bytes()));
    let first = difference.growth().next().unwrap();
    assert_eq!(first.unit, Some("cart; or basket"));
    assert!(first.site.contains("leaks"), "{}", first.site);
    assert!((first.inuse_objects - 300.0).abs() < 1.5, "{first:?}");
    // Frames of the standard library are folded, and none of the program's with them.
    let at = |start: &str| {
        let start = format!("profiles_open_in_the_usual_tools::{start} (");
        first.stack.iter().position(|line| line.starts_with(&start))
    };
    let (inner, outer) = (at("profiles::{closure}"), at("profiles"));
    assert!(inner.is_some() && inner < outer, "{:?}", first.stack);
    let mut sites = difference.sites();
    assert!(sites[0].site.contains("leaks"), "{}", sites[0].site);
    sites.sort_by(|a, b| b.alloc_bytes.total_cmp(&a.alloc_bytes));
    assert!(sites[0].site.contains("storms"), "{}", sites[0].site);
    assert!(sites[0].alloc_bytes >= 9_900_000.0 && sites[0].inuse_bytes < 1.0);

    // A profile by itself says what is held.
    let held = after.to_string();
    assert!(
        held.starts_with("In use:\n") && held.contains("in 300 blocks, unit cart; or basket"),
        "{held}"
    );

    let text = difference.to_string();
    let line = text.lines().nth(1).unwrap();
    assert!(
        line.contains("2.9 MiB in 300 blocks, unit cart; or basket"),
        "{text}"
    );
    assert!(text.lines().nth(2).unwrap().contains("leaks"), "{text}");
    assert!(!text.contains("storms"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&written(|to| difference.write_json(to))).unwrap();
    assert_eq!(json["growth"][0]["unit"], "cart; or basket");
    let svg = written(|to| difference.write_flamegraph(Figure::InuseSpace, to));
    assert!(svg.contains("growth of inuse_space") && svg.contains("leaks"));
    // Nothing grew between a profile and itself.
    assert!(after.since(after).to_string().contains("nothing"));
}
