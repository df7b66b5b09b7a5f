//! A file of records is renamed or removed while the program runs, as rotations do.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use telemetry::{Telemetry, export};
use tracing::{dispatcher, info_span};
use tracing_subscriber::prelude::*;

/// The units that the records in a file are about, in order.
fn units(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let units = records.filter(|record| record["type"] == "unit");
    units
        .map(|record| record["unit"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn each_flush_goes_to_the_file_that_the_path_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.jsonl");
    let (layer, telemetry) = Telemetry::builder()
        .export(export::json_lines_file(&path).unwrap())
        .build()
        .unwrap();
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));
    let work = |unit: u32| {
        dispatcher::with_default(&dispatch, || match unit {
            1 => info_span!("first").in_scope(|| ()),
            2 => info_span!("second").in_scope(|| ()),
            3 => info_span!("third").in_scope(|| ()),
            4 => info_span!("fourth").in_scope(|| ()),
            _ => info_span!("fifth").in_scope(|| ()),
        });
        telemetry.flush();
    };
    work(1);

    // Renamed, and nobody makes a new one.
    let rotated = directory.path().join("records.1.jsonl");
    fs::rename(&path, &rotated).unwrap();
    work(2);
    assert_eq!(
        (units(&rotated), units(&path)),
        (vec!["first".to_owned()], vec!["second".to_owned()])
    );

    // Somebody puts another there, which ends inside of a line.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "{\"type\":").unwrap();
    work(3);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("{\"type\":\n{"), "{text}");
    assert!(text.contains("\"third\""), "{text}");

    // What is no plain file is nobody's to open: the records go on where they went.
    fs::rename(&path, &rotated).unwrap();
    fs::create_dir(&path).unwrap();
    work(4);
    assert!(fs::read_to_string(&rotated).unwrap().contains("\"fourth\""));
    // Nor are they lost where none can be made.
    fs::remove_dir(&path).unwrap();
    fs::rename(directory.path(), directory.path().with_extension("moved")).unwrap();
    work(5);
    let moved = directory.path().with_extension("moved");
    let text = fs::read_to_string(moved.join("records.1.jsonl")).unwrap();
    assert!(text.contains("\"fifth\""), "{text}");
    fs::rename(moved, directory.path()).unwrap();
    assert_eq!(telemetry.ledger().records.dropped_total(), 0);
}
