//! Who a record is of: what the program says, what OpenTelemetry's variables say, what the process knows of itself.

use std::path::Path;
use std::process::Command;
use telemetry::{Telemetry, export};
use tracing_subscriber::prelude::*;

/// Where this program, run again, writes.
const FILE: &str = "TEST_FILE";

/// Does nothing unless the program was run by another test.
#[test]
fn this_program_again() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let (layer, telemetry) = Telemetry::builder()
        .resource("deployment.environment", "staging")
        .export(export::json_lines_file(Path::new(&file)).unwrap())
        .build()
        .unwrap();
    let _subscriber = tracing_subscriber::registry().with(layer).set_default();
    tracing::info_span!("job").in_scope(|| ());
    telemetry.flush();
    tracing::info_span!("job").in_scope(|| ());
}

/// The records that the program writes with these variables, and its number.
fn run(variables: &[(&str, &str)]) -> (Vec<serde_json::Value>, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("records.jsonl");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "this_program_again"])
        .env_remove("OTEL_SERVICE_NAME")
        .env_remove("OTEL_RESOURCE_ATTRIBUTES")
        .envs(variables.iter().copied())
        .env(FILE, &file)
        .spawn()
        .unwrap();
    let number = child.id().to_string();
    assert!(child.wait().unwrap().success());
    let text = std::fs::read_to_string(&file).unwrap();
    let records = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (records, number)
}

#[test]
fn every_record_has_the_program_the_environment_and_the_process() {
    let attributes = "service.version=1.2.0,host.name=a%2Cb,deployment.environment=other";
    let (records, number) = run(&[
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_RESOURCE_ATTRIBUTES", attributes),
    ]);
    assert!(records.len() >= 4, "units and ledgers of two flushes");
    let instance = &records[0]["resource"]["service.instance.id"];
    assert_eq!(instance.as_str().unwrap().len(), 36);
    for record in &records {
        let resource = &record["resource"];
        assert_eq!(record["service"], "shop");
        assert_eq!(resource["service.version"], "1.2.0");
        assert_eq!(resource["host.name"], "a,b");
        assert_eq!(
            resource["deployment.environment"], "staging",
            "what the program said"
        );
        assert_eq!(resource["process.pid"], number.as_str());
        assert_eq!(&resource["service.instance.id"], instance);
        assert!(resource["telemetry.start"].as_str() <= record["ts"].as_str());
    }
}

#[test]
fn what_cannot_be_read_is_said_once_and_the_service_goes_on() {
    let (records, _) = run(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop,oops")]);
    let findings: Vec<_> = records.iter().filter(|r| r["type"] == "finding").collect();
    let [finding] = &findings[..] else {
        panic!("{findings:?}");
    };
    assert_eq!(finding["finding"], "setup");
    let message = finding["message"].as_str().unwrap();
    assert!(
        message.contains("OTEL_RESOURCE_ATTRIBUTES is left out"),
        "{message}"
    );
    assert!(message.contains("entry 2"), "{message}");
    assert!(records.iter().all(|r| r["service"] == "service"));
    assert!(records.iter().any(|r| r["type"] == "unit"));
}
