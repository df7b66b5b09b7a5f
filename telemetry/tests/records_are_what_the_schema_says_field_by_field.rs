//! Records that anybody makes, with every field that there is: they are read as they were written, and have
//! the fields and the words of `docs/records.schema.json`, no more and no fewer.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;
use telemetry::record::{
    BoundaryCost, BoundarySnapshot, BrokenBudget, BudgetSnapshot, Culprit, EndedBy, Envelope,
    EventRecord, ExemplarEvent, ExemplarRecord, ExemplarSpan, ExporterLedger, FindingKind,
    FindingRecord, HeapReport, IncidentEnd, IncidentRecord, Ledger, LedgerRecord, Level, Lines,
    OuterUnit, Outside, OutsideCpu, OutsideOfThreads, Phase, Reason, Record, Resource, Snapshot,
    Statistic, SuppressedRecord, TimeKind, UnitRecord, UnitSnapshot, Unwinding,
};
use telemetry::{Distribution, Measure, Metric};

fn schema() -> Value {
    let text = include_str!("../../docs/records.schema.json");
    serde_json::from_str(text).unwrap()
}

fn envelope() -> Envelope {
    let resource = Resource::new("shop").with("service.version", "1.2.3");
    Envelope::new(resource, SystemTime::now())
}

fn unit() -> UnitSnapshot {
    let count = || Distribution::of_values(Measure::Count, [1, 2, 3]);
    let bytes = || Distribution::of_values(Measure::Bytes, [100, 0, 5000]);
    let mut unit = UnitSnapshot::new("checkout", "shop::http");
    (unit.count, unit.errors, unit.in_flight, unit.in_flight_max) = (3, 1, 2, 9);
    unit.class = Some("GET /books/{id}".to_owned());
    for metric in Metric::ALL {
        let distribution = Distribution::of_values(metric.measure(), [7, 8, 1 << 40]);
        unit.metrics
            .insert(metric.name().to_owned(), Some(distribution));
    }
    let mut sampled = Distribution::of_values(Measure::Nanoseconds, [64; 640]);
    (sampled.sampled, sampled.standard_error) = (Some(10), Some(2000));
    unit.metrics.insert("cpu".to_owned(), Some(sampled));
    let mut boundary = BoundarySnapshot::new(count(), bytes(), bytes());
    (boundary.retries, boundary.failures) = (Some(count()), Some(count()));
    let time = || Some(Distribution::of_values(Measure::Nanoseconds, [3, 900]));
    (boundary.time, boundary.waited, boundary.wait) = (time(), time(), time());
    unit.boundaries.insert("db.query".to_owned(), boundary);
    let mut budget = BudgetSnapshot::new(Measure::Count, 5.0);
    (budget.worst, budget.over, budget.of, budget.holds) = (9, 1, 3, false);
    unit.budgets.insert("allocs.max".to_owned(), budget);
    unit.in_progress.count = 2;
    (unit.inside.units, unit.in_progress.inside.units) = (1, 1);
    let told = Metric::ALL.map(|metric| (metric.name().to_owned(), Some(7)));
    let schema = schema();
    let in_progress = &schema["$defs"]["costs_in_progress"]["properties"];
    unit.in_progress.costs = told
        .into_iter()
        .filter(|(name, _)| in_progress.get(name).is_some())
        .collect();
    unit.in_progress
        .boundaries
        .insert("db.query".to_owned(), crossed());
    unit
}

fn crossed() -> BoundaryCost {
    let mut crossed = BoundaryCost::new(1, 2, 3);
    (crossed.time, crossed.waited, crossed.wait) = (900, 50, 40);
    (crossed.retries, crossed.failures) = (1, 1);
    crossed
}

fn exemplar() -> ExemplarRecord {
    let mut exemplar =
        ExemplarRecord::new(envelope(), "7f", ("checkout", "shop::http"), Reason::Slow);
    exemplar.unit_id = "200001".to_owned();
    (exemplar.trace_id, exemplar.span_id) = (Some("4b".repeat(16)), Some("4b".repeat(8)));
    exemplar.outer = Some(OuterUnit::new("connection", "200000"));
    exemplar.why.push(Reason::Error);
    exemplar.costs = Metric::ALL
        .map(|metric| (metric.name().to_owned(), Some(1)))
        .into();
    exemplar.boundaries.insert("db.query".to_owned(), crossed());
    let mut span = ExemplarSpan::new(0, Some(0), "checkout", "shop::http");
    (span.start_ns, span.end_ns) = (Some(0), Some(9));
    span.fields.insert("id".to_owned(), json!(7));
    exemplar.spans.push(span);
    let mut event = ExemplarEvent::new(3, Level::Warn, "shop::pay");
    (event.line, event.span) = (Some(40), Some(0));
    event.message = Some("again".to_owned());
    event.fields.insert("of".to_owned(), json!(true));
    exemplar.events.push(event);
    exemplar
}

fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for stream in [
        &mut ledger.units,
        &mut ledger.events,
        &mut ledger.exemplars,
        &mut ledger.records,
    ] {
        (stream.seen, stream.kept) = (3, 2);
        stream.dropped.insert("queue_full".to_owned(), 1);
    }
    let mut exporter = ExporterLedger::default();
    (exporter.records, exporter.bytes) = (ledger.records.clone(), 4096);
    ledger.exporters.insert("json_lines".to_owned(), exporter);
    ledger.event_probability = Some(0.5);
    ledger.untold.insert("call_after_end".to_owned(), 1);
    (ledger.panics, ledger.forked) = (1, true);
    let mut outside = Outside::default();
    (outside.allocs, outside.alloc_bytes) = (1, 2);
    (outside.process_allocs, outside.process_alloc_bytes) = (3, 4);
    outside.cpu = Some(OutsideCpu::default());
    let of_pool = ("pool".to_owned(), OutsideOfThreads::default());
    outside.threads.extend([of_pool]);
    ledger.outside = Some(outside);
    ledger.cost.cpu_seconds = Some(0.5);
    ledger.cost.ns_per_unit = Some(140.5);
    ledger.cost.ns_per_unit_is = TimeKind::Cpu;
    ledger.cost.cpu_reading_ns = Some(70);
    ledger.cost.live_bytes = Some(-1);
    ledger
}

/// One of every type, with every field.
fn records() -> Vec<Record> {
    let mut event = EventRecord::new(envelope(), Level::Error, "shop::pay");
    event.location = Some("src/pay.rs:40".to_owned());
    event.message = Some("card \"declined\"\n".to_owned());
    event.fields.insert("code".to_owned(), json!(-3));
    event.unit = Some("checkout".to_owned());
    (event.trace_id, event.span_id) = (Some("4b".repeat(16)), Some("4b".repeat(8)));
    let mut suppressed = SuppressedRecord::new(envelope(), Level::Other, "", 7);
    suppressed.location = Some("src/pay.rs:40".to_owned());
    let mut finding = FindingRecord::new(envelope(), FindingKind::OverBudget, "checkout", "why");
    finding.target = "shop".to_owned();
    let figures = BudgetSnapshot::new(Measure::Share, 0.01);
    finding.budget = Some(BrokenBudget::new("errors", Statistic::Rate, figures));
    finding.exemplar = Some("7f".to_owned());
    let mut incident = IncidentRecord::new(envelope(), 1, "me", "to see", 60.0);
    incident.phase = Phase::End;
    incident.scope.unit = Some("checkout".to_owned());
    incident.scope.target = Some("shop".to_owned());
    incident.scope.fields = BTreeMap::from([("tenant".to_owned(), "7".to_owned())]);
    incident.heap_mean_bytes = Some(4096);
    let mut end = IncidentEnd::new(EndedBy::Ttl, 60.5);
    (end.cost.cpu_seconds, end.cost.report_cpu_seconds) = (Some(0.1), Some(0.2));
    let mut heap = HeapReport::default();
    heap.unwinding = Unwinding::FramePointers;
    heap.error = Some("no room".to_owned());
    heap.files.push("/tmp/x.heap.pb.gz".to_owned());
    let mut culprit = Culprit::new("shop::pay::cache");
    culprit.unit = Some("checkout".to_owned());
    culprit.stack.push("shop::pay::cache".to_owned());
    heap.grew.push(culprit.clone());
    heap.allocated.push(culprit.clone());
    heap.outside.push(culprit);
    end.heap = Some(heap);
    incident.end = Some(end);
    vec![
        Record::Unit(UnitRecord::new(envelope(), 10.5, unit())),
        Record::Exemplar(exemplar()),
        Record::Event(event),
        Record::Suppressed(suppressed),
        Record::Finding(finding),
        Record::Incident(incident),
        Record::Ledger(LedgerRecord::new(envelope(), ledger())),
    ]
}

#[test]
fn every_type_is_read_as_it_was_written() {
    let records = records();
    let lines: Vec<String> = records
        .iter()
        .map(|record| serde_json::to_string(record).unwrap())
        .collect();
    let read: Vec<Record> = Lines::new(lines.join("\n").as_bytes())
        .map(|record| record.unwrap())
        .collect();
    assert_eq!(read, records);
    for record in &records {
        let envelope = record.envelope().unwrap();
        assert_eq!(envelope.v, 1);
        assert_eq!(envelope.resource.attributes["service.version"], "1.2.3");
    }
    let mut snapshot = Snapshot::new(envelope(), 3.5);
    snapshot.units.push(unit());
    snapshot.unseen.push("ghost".to_owned());
    snapshot.unseen_boundaries.push("redis".to_owned());
    snapshot.ledger = ledger();
    let text = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), snapshot);
}

#[test]
fn what_a_newer_version_has_more_is_unknown_and_no_error() {
    let mut record = serde_json::to_value(Record::Exemplar(exemplar())).unwrap();
    record["why"] = json!(["boredom", "slow"]);
    record["events"][0]["level"] = json!("FATAL");
    record["mood"] = json!({ "of": ["the", "machine"] });
    let text = record.to_string();
    let read = Lines::new(text.as_bytes()).next().unwrap().unwrap();
    let Record::Exemplar(read) = read else {
        panic!("{read:?}");
    };
    assert_eq!(read.why, [Reason::Unknown, Reason::Slow]);
    assert_eq!(read.events[0].level, Level::Unknown);
    let mut expected = exemplar();
    expected.why.clone_from(&read.why);
    expected.events[0].level = Level::Unknown;
    expected.envelope = read.envelope.clone();
    assert_eq!(read, expected);
}

#[test]
fn what_is_hostile_is_an_error_and_ends_nothing() {
    let record = serde_json::to_value(Record::Unit(UnitRecord::new(envelope(), 1.0, unit())));
    let record = record.unwrap();
    for runs in [
        json!([[u64::MAX, 1]]),
        json!([[u64::MAX, 1, 1]]),
        json!([[0, 1], [0, 1]]),
        json!([[1e300, 1]]),
        json!([[-1, 1]]),
    ] {
        let mut record = record.clone();
        record["metrics"]["wall"]["buckets"]["runs"] = runs;
        let text = record.to_string();
        let error = Lines::new(text.as_bytes()).next().unwrap().unwrap_err();
        assert_eq!(error.line(), 1, "{error}");
    }
    let mut record = record;
    record["metrics"]["wall"]["buckets"]["runs"] = json!([[1, u64::MAX, u64::MAX, 5]]);
    let read = Lines::new(record.to_string().as_bytes()).next().unwrap();
    let Record::Unit(read) = read.unwrap() else {
        panic!();
    };
    let wall = read.figures.metric("wall").unwrap();
    assert_eq!(wall.count_above(0), u64::MAX);
    // What it counts is not known, so nothing can be added to it.
    record["metrics"]["wall"]["unit"] = json!("kelvin");
    let read = Lines::new(record.to_string().as_bytes()).next().unwrap();
    let Record::Unit(read) = read.unwrap() else {
        panic!();
    };
    let mut wall = read.figures.metric("wall").unwrap().clone();
    let same = wall.clone();
    assert!(wall.merge(&same).is_err());
    assert_eq!(wall, same);
}

#[test]
fn what_was_not_understood_is_not_written_again() {
    assert!(serde_json::to_string(&Record::Unknown).is_err());
    for (text, why) in [
        (r#"{"v":0,"type":"unit"}"#, "no record"),
        (r#"[1,"event",3]"#, "no record"),
        ("{\"v\":1,\"type\":\"\u{fc}\"}", ""),
    ] {
        match Lines::new(text.as_bytes()).next().unwrap() {
            Ok(record) => assert_eq!(record, Record::Unknown),
            Err(error) => assert!(error.to_string().contains(why), "{error}"),
        }
    }
    // Torn in the middle of a character.
    let torn = &b"{\"v\":1,\"service\":\"\xc3"[..];
    let error = Lines::new(torn).next().unwrap().unwrap_err();
    assert!(error.to_string().contains("ends in the middle"), "{error}");
}

/// Every object in a record that the schema lists the fields of, with those that it lists.
struct Compared<'a> {
    defs: &'a Value,
    wrong: Vec<String>,
    objects: usize,
}

impl Compared<'_> {
    /// The properties that a node of the schema lists, its own and those of what it refers to; `None`: it
    /// lists none.
    fn properties(&self, node: &Value) -> Option<BTreeMap<String, Value>> {
        let mut all = BTreeMap::new();
        let mut found = false;
        let references = [node["$ref"].as_str()]
            .into_iter()
            .chain(
                node["allOf"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|n| n["$ref"].as_str()),
            )
            .flatten();
        for reference in references {
            let name = reference.strip_prefix("#/$defs/").unwrap();
            if let Some(more) = self.properties(&self.defs[name]) {
                (found, all) = (true, more);
            }
        }
        if let Some(own) = node["properties"].as_object() {
            found = true;
            for (name, node) in own {
                all.entry(name.clone()).or_insert_with(|| node.clone());
            }
        }
        found.then_some(all)
    }

    fn resolved<'n>(&'n self, node: &'n Value) -> &'n Value {
        match node["$ref"].as_str() {
            Some(reference) if node.get("properties").is_none() => {
                self.resolved(&self.defs[reference.strip_prefix("#/$defs/").unwrap()])
            }
            _ => node,
        }
    }

    fn compare(&mut self, node: &Value, value: &Value, at: &str) {
        let node = match node["oneOf"].as_array() {
            // A figure or null; ours are known.
            Some(choices) => choices[0].clone(),
            None => node.clone(),
        };
        let node = self.resolved(&node).clone();
        match value {
            Value::Object(fields) => {
                let Some(listed) = self.properties(&node) else {
                    let each = &node["additionalProperties"];
                    assert!(each.is_object(), "{at}: no object in the schema");
                    for (name, value) in fields {
                        self.compare(each, value, &format!("{at}.{name}"));
                    }
                    return;
                };
                self.objects += 1;
                let (listed_names, names): (BTreeSet<&String>, BTreeSet<&String>) =
                    (listed.keys().collect(), fields.keys().collect());
                for name in listed_names.symmetric_difference(&names) {
                    self.wrong.push(format!("{at}.{name}"));
                }
                for (name, value) in fields {
                    if let Some(node) = listed.get(name) {
                        self.compare(node, value, &format!("{at}.{name}"));
                    }
                }
            }
            Value::Array(items) if node["items"].is_object() => {
                assert!(!items.is_empty(), "{at} is empty");
                for item in items {
                    self.compare(&node["items"], item, at);
                }
            }
            Value::Null => self.wrong.push(format!("{at} is not filled in")),
            _ => {}
        }
    }
}

#[test]
fn every_field_is_in_the_schema_and_every_one_of_the_schema_in_a_record() {
    let schema = schema();
    let mut compared = Compared {
        defs: &schema["$defs"],
        wrong: Vec::new(),
        objects: 0,
    };
    for record in records() {
        let value = serde_json::to_value(&record).unwrap();
        let name = value["type"].as_str().unwrap();
        compared.compare(&schema["$defs"][name], &value, name);
    }
    // Of a distribution, only one of a sample has all of its fields.
    let of_a_sample = |wrong: &String| {
        !(wrong.ends_with(".sampled") || wrong.ends_with(".standard_error"))
            || wrong.contains(".cpu.")
    };
    compared.wrong.retain(of_a_sample);
    assert_eq!(compared.wrong, [] as [String; 0]);
    assert!(compared.objects > 40, "{} objects", compared.objects);
}

#[test]
fn every_word_is_in_the_schema_and_every_one_of_the_schema_is_known() {
    let schema = schema();
    let defs = &schema["$defs"];
    fn all<W: ToString>(words: &[W]) -> Vec<String> {
        words.iter().map(W::to_string).collect()
    }
    let end = &defs["incident"]["properties"]["end"]["properties"];
    let mut unwinding = all(&Unwinding::ALL);
    // Of a report that could not be made.
    unwinding.push("unknown".to_owned());
    for (node, words) in [
        (
            &defs["exemplar"]["properties"]["why"]["items"],
            all(&Reason::ALL),
        ),
        (&defs["level"], all(&Level::ALL)),
        (
            &defs["finding"]["properties"]["finding"],
            all(&FindingKind::ALL),
        ),
        (
            &defs["finding"]["properties"]["budget"]["properties"]["statistic"],
            all(&Statistic::ALL),
        ),
        (
            &defs["kept_limit"]["properties"]["unit_of_measure"],
            all(&Measure::ALL),
        ),
        (&defs["incident"]["properties"]["phase"], all(&Phase::ALL)),
        (&end["by"], all(&EndedBy::ALL)),
        (
            &defs["ledger"]["properties"]["cost"]["properties"]["ns_per_unit_is"],
            all(&TimeKind::ALL),
        ),
        (&end["heap"]["properties"]["unwinding"], unwinding),
    ] {
        let in_schema: Vec<String> = serde_json::from_value(node["enum"].clone()).unwrap();
        assert_eq!(in_schema, words);
    }
}
