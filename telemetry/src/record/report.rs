//! What became of an incident, as a person reads it.

use super::{Culprit, HeapReport, IncidentEnd, IncidentRecord};
use crate::tool::human;
use alloc_tracker::raw::{escaped, fit};
use std::fmt;

/// Frames of a stack that are shown; the record has more.
const FRAMES: usize = 4;

/// For people, control characters shown and not obeyed: who began it and why, or what it found.
impl fmt::Display for IncidentRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            None => {
                let (who, why) = (escaped(&self.who), escaped(&self.why));
                write!(f, "Incident {} begins, by {who}: {why}", self.id)
            }
            Some(end) => write!(f, "Incident {} ended {end}", self.id),
        }
    }
}

impl fmt::Display for IncidentEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, by, cost) = (self.seconds, self.by, &self.cost);
        write!(f, "after {seconds:.1} s, by {by}. It took ")?;
        match cost.cpu_seconds {
            Some(cpu) => write!(f, "{:.0} ms of CPU", cpu * 1e3)?,
            None => f.write_str("an unknown time of CPU")?,
        }
        let (samples, kept) = (cost.heap_samples, cost.exemplars);
        write!(
            f,
            " for {samples} samples of the heap, and kept {kept} requests in detail."
        )?;
        match &self.heap {
            Some(heap) => write!(f, "\n\n{heap}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for HeapReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grown = mib(self.inuse_growth_bytes);
        writeln!(f, "What leaks: {grown} in all, most of it here")?;
        if let Some(culprit) = self.grew.first() {
            writeln!(f, "  {}, {culprit}", mib(culprit.inuse_bytes))?;
        }
        writeln!(f, "What storms: most was allocated here")?;
        if let Some(culprit) = self.allocated.first() {
            writeln!(f, "  {}, {culprit}", mib(culprit.alloc_bytes))?;
        }
        if let Some(culprit) = self.outside.first() {
            writeln!(f, "What no unit has: most was allocated here")?;
            writeln!(f, "  {}, {culprit}", mib(culprit.alloc_bytes))?;
        }
        write!(f, "Stacks were walked by {}. ", self.unwinding)?;
        f.write_str("The files, for `go tool pprof` and for a browser:")?;
        for file in &self.files {
            write!(f, "\n  {}", escaped(file))?;
        }
        match &self.error {
            Some(error) => write!(f, "\nNot written: {}", escaped(error)),
            None => Ok(()),
        }
    }
}

/// The unit and the place, on one line if they fit, then what called it, a line each: no wider than a terminal of 100
/// columns.
impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: usize = 94;
        /// What stands before it.
        const BEFORE: usize = 12;
        let unit = match &self.unit {
            Some(unit) => format!("unit {}, in", fit(&escaped(unit), WIDTH / 2)),
            None => "no unit, in".to_owned(),
        };
        let site = escaped(&self.site);
        let fits = human::width(&unit) + human::width(&site) < WIDTH - BEFORE;
        match fits {
            true => writeln!(f, "{unit} {site}")?,
            false => writeln!(f, "{unit}\n      {}", fit(&site, WIDTH))?,
        }
        let calls = self.stack.iter().skip_while(|frame| **frame == self.site);
        for frame in calls.take(FRAMES - 1) {
            writeln!(f, "      {}", fit(&escaped(frame), WIDTH))?;
        }
        Ok(())
    }
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}
