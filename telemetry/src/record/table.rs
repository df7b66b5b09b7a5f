//! A snapshot as a table: three lines for each kind of unit, its p50, p99 and maximum.

use super::{InProgress, Snapshot, UnitSnapshot, where_time_goes};
use crate::cost::Metric;
use crate::histogram::Distribution;
use crate::tool::human::{self, cut};
use alloc_tracker::raw::escaped;
use std::collections::BTreeSet;
use std::fmt;

/// Columns for boundaries; the ones with the most calls. Further ones are in the JSON.
const MOST_BOUNDARIES: usize = 5;
/// The metrics that have a column, and its title.
fn metrics() -> impl Iterator<Item = (&'static str, Metric)> {
    let columns = Metric::ALL.into_iter();
    columns.filter_map(|metric| Some((metric.column()?, metric)))
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.units.is_empty() {
            writeln!(
                f,
                "No unit of work has begun yet. Units are spans at INFO or above, unless the \
                 builder's `units` says otherwise; a filter that is a layer of its own (an \
                 EnvFilter) hides spans from all layers."
            )?;
            self.write_passed_by(f)?;
            return self.write_forked(f);
        }
        let boundaries = busiest_boundaries(&self.units);
        let columns = Columns {
            in_progress: self.units.iter().any(|unit| unit.in_flight > 0),
            boundaries: &boundaries,
        };
        let mut rows = vec![columns.header()];
        for unit in &self.units {
            rows.extend(columns.rows(unit, &self.label(unit)));
        }
        write_aligned(f, &rows)?;
        where_time_goes::write(f, &self.units, |unit| self.label(unit))?;
        self.write_inside(f)?;
        self.write_outside(f)?;
        let untracked = |u: &UnitSnapshot| u.count > 0 && u.metric("allocs").is_none();
        if self.units.iter().any(untracked) {
            writeln!(
                f,
                "\nAllocations are not tracked (-): build with the feature `track` and install \
                 alloc_tracker::AllocTracker as the global allocator."
            )?;
        }
        for unit in self.units.iter().filter(|unit| unit.in_flight > 0) {
            let (now, label) = (human::count(unit.in_flight), self.label(unit));
            writeln!(
                f,
                "\nIn progress: {now} {label}{}",
                so_far(&unit.in_progress)
            )?;
        }
        self.write_over_budget(f)?;
        self.write_forked(f)?;
        self.write_unchecked(f)?;
        self.write_passed_by(f)?;
        let lost = self.ledger.units.dropped_total();
        if lost > 0 {
            writeln!(
                f,
                "\n{} units are not in the table: {:?}",
                human::count(lost),
                self.ledger.units.dropped
            )?;
        }
        Ok(())
    }
}

impl Snapshot {
    /// What is in the figures of two units.
    fn write_inside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut title = "\nInside of other units, whose figures have them too:\n";
        for unit in &self.units {
            let mut inside = unit.inside;
            inside.add(&unit.in_progress.inside);
            if inside.units > 0 {
                let (units, label) = (human::count(inside.units), self.label(unit));
                let (allocs, bytes) = (
                    human::count(inside.allocs),
                    human::bytes(inside.alloc_bytes),
                );
                writeln!(f, "{title}  {units} {label}: {allocs} allocs, {bytes}")?;
                title = "";
            }
        }
        Ok(())
    }

    /// What no unit has, and where it happened most.
    fn write_outside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST_THREADS: usize = 3;
        let Some(outside) = &self.outside else {
            return Ok(());
        };
        let share = |allocs: u64| match outside.process_allocs {
            0 => 0.0,
            all => 100.0 * allocs as f64 / all as f64,
        };
        let of_others = outside.observability;
        let (own, bytes) = (
            outside.allocs.saturating_sub(of_others.allocs),
            outside.alloc_bytes.saturating_sub(of_others.alloc_bytes),
        );
        let told = |allocs: u64, bytes: u64| {
            let share = share(allocs);
            let (allocs, bytes) = (human::count(allocs), human::bytes(bytes));
            format!("{allocs} allocs, {bytes}: {share:.1} % of the process's")
        };
        write!(f, "\nOutside of every unit: {}", told(own, bytes))?;
        if let Some(cpu) = &outside.cpu {
            let (ns, error) = (human::duration(cpu.ns), human::duration(cpu.standard_error));
            write!(f, "; {ns} ± {error} of CPU")?;
        }
        writeln!(f)?;
        if of_others.allocs > 0 {
            let told = told(of_others.allocs, of_others.alloc_bytes);
            writeln!(f, "Other layers, told of spans and events: {told}")?;
        }
        let mut threads: Vec<_> = outside.threads.iter().collect();
        threads.sort_by_key(|(_, of)| std::cmp::Reverse(of.allocs));
        for (name, of) in threads.into_iter().take(MOST_THREADS) {
            let (name, count) = (cut(name), of.threads);
            let (allocs, bytes) = (human::count(of.allocs), human::bytes(of.alloc_bytes));
            let of_threads = match count {
                1 => "thread".to_owned(),
                _ => format!("{} threads", human::count(count)),
            };
            let allocs = match of.allocs {
                1 => "1 alloc".to_owned(),
                _ => format!("{allocs} allocs"),
            };
            writeln!(f, "  {of_threads} {name}: {allocs}, {bytes}")?;
        }
        Ok(())
    }

    fn write_forked(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ledger.forked {
            writeln!(
                f,
                "\nThis process was forked from the one that built telemetry: what it counts is \
                 written nowhere."
            )?;
        }
        Ok(())
    }

    fn write_over_budget(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut title = "\nOver budget:\n";
        for unit in &self.units {
            for (key, budget) in unit.budgets.iter().filter(|(_, budget)| !budget.holds) {
                let label = self.label(unit);
                let key = escaped(key);
                writeln!(f, "{title}  {label}  {key}: {}", budget.describe())?;
                title = "";
            }
        }
        Ok(())
    }

    /// What was asked to be watched, and is not.
    fn write_unchecked(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut title = "\nNot checked:\n";
        for unit in self.units.iter().filter(|unit| unit.count > 0) {
            for (key, _) in unit.budgets.iter().filter(|(_, budget)| budget.of == 0) {
                let (label, key) = (self.label(unit), escaped(key));
                writeln!(f, "{title}  {label}  {key}: no unit had this figure so far")?;
                title = "";
            }
        }
        // What is not kept apart may have the name.
        let among = |has_others| match has_others {
            true => "; it may be among `other`",
            false => "",
        };
        let is_other = |unit: &UnitSnapshot| unit.unit == "other" && unit.target.is_empty();
        let among_units = among(self.units.iter().any(is_other));
        for unit in &self.unseen {
            let unit = cut(unit);
            writeln!(
                f,
                "{title}  {unit}: no unit of this name was seen{among_units}"
            )?;
            title = "";
        }
        let has_other = |unit: &UnitSnapshot| unit.boundaries.contains_key("other");
        let among_boundaries = among(self.units.iter().any(has_other));
        for boundary in &self.unseen_boundaries {
            let boundary = cut(boundary);
            writeln!(
                f,
                "{title}  {boundary}: no unit called a boundary of this name{among_boundaries}"
            )?;
            title = "";
        }
        Ok(())
    }

    /// Spans that may be what somebody looks for.
    fn write_passed_by(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut title = "\nSpans that are no units:\n";
        for passed_by in &self.passed_by {
            let roots = match passed_by.roots {
                0 => String::new(),
                roots => format!("{} root spans ", human::count(roots)),
            };
            writeln!(f, "{title}  {roots}{}", passed_by.describe())?;
            title = "";
        }
        Ok(())
    }

    /// The unit's name, with its target if others have the name, too.
    fn label(&self, unit: &UnitSnapshot) -> String {
        let namesakes = self.units.iter().filter(|other| other.unit == unit.unit);
        match namesakes.count() {
            1 => cut(&unit.unit),
            _ => cut(&unit.label()),
        }
    }
}

fn busiest_boundaries(units: &[UnitSnapshot]) -> Vec<&str> {
    let names: BTreeSet<&str> = units
        .iter()
        .flat_map(|unit| unit.boundaries.keys().map(String::as_str))
        .collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    let calls = |name: &str| -> u64 {
        let of = |unit: &UnitSnapshot| unit.boundaries.get(name).map_or(0, |b| b.calls.sum);
        units.iter().map(of).sum()
    };
    names.sort_by_key(|name| std::cmp::Reverse(calls(name)));
    names.truncate(MOST_BOUNDARIES);
    names
}

type Pick = (&'static str, fn(&Distribution) -> u64);

/// The columns that not every table has.
struct Columns<'a> {
    /// Some units are in progress.
    in_progress: bool,
    boundaries: &'a [&'a str],
}

impl Columns<'_> {
    fn header(&self) -> Vec<String> {
        let fixed = ["unit", "count", "errors", ""].into_iter();
        let metrics = metrics().map(|(title, _)| title);
        let in_progress = self.in_progress.then_some("in progress");
        let calls = self
            .boundaries
            .iter()
            .map(|name| format!("{} calls", cut(name)));
        let fixed = fixed.chain(metrics).chain(in_progress);
        fixed.map(str::to_owned).chain(calls).collect()
    }

    fn rows(&self, unit: &UnitSnapshot, label: &str) -> [Vec<String>; 3] {
        const PICKS: [Pick; 3] = [("p50", |d| d.p50), ("p99", |d| d.p99), ("max", |d| d.max)];
        let mut head = [
            label.to_owned(),
            human::count(unit.count),
            human::count(unit.errors),
        ];
        let in_progress = || human::count(unit.in_flight);
        let mut in_progress = self.in_progress.then(in_progress);
        PICKS.map(|(name, pick)| {
            // What there is one of is in the first line.
            let head = std::mem::take(&mut head).into_iter();
            let in_progress = in_progress.as_mut().map(std::mem::take);
            let metrics = metrics().map(|(_, metric)| cell(unit.metric(metric.name()), pick));
            let calls = self
                .boundaries
                .iter()
                .map(|name| cell(unit.boundaries.get(*name).map(|b| &b.calls), pick));
            head.chain([name.to_owned()])
                .chain(metrics)
                .chain(in_progress)
                .chain(calls)
                .collect()
        })
    }
}

/// What units in progress have cost, if they were worked for.
fn so_far(units: &InProgress) -> String {
    let cost = |metric: &str| units.cost(metric).filter(|&n| n > 0);
    let mut figures = Vec::new();
    figures.extend(cost("busy").map(|ns| format!("{} busy", human::duration(ns))));
    figures.extend(cost("wakeups").map(|n| format!("{} wake-ups", human::count(n))));
    figures.extend(cost("alloc_bytes").map(|n| format!("{} allocated", human::bytes(n))));
    let crossed = units.boundaries.iter().filter(|(_, b)| b.calls > 0);
    figures
        .extend(crossed.map(|(name, b)| format!("{} {} calls", human::count(b.calls), cut(name))));
    match figures.is_empty() {
        true => String::new(),
        false => format!("; so far: {}", figures.join(", ")),
    }
}

fn cell(distribution: Option<&Distribution>, pick: fn(&Distribution) -> u64) -> String {
    let Some(distribution) = distribution else {
        return "-".to_owned();
    };
    let value = pick(distribution);
    match distribution.unit.as_str() {
        "ns" => human::duration(value),
        "bytes" => human::bytes(value),
        _ => human::count(value),
    }
}

/// The first column to the left, the others to the right; no blanks at line ends.
fn write_aligned(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| human::width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (index, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let blanks = " ".repeat(width - human::width(cell));
            match column {
                0 => line.extend([cell, blanks.as_str()]),
                _ => line.extend(["  ", &blanks, cell]),
            }
        }
        writeln!(f, "{}", line.trim_end())?;
        if index == 0 {
            let whole = widths.iter().sum::<usize>() + 2 * (columns - 1);
            writeln!(f, "{}", "-".repeat(whole))?;
        }
    }
    Ok(())
}
