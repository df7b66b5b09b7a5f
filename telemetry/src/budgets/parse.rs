//! From the text of `budgets.toml` to limits.

use super::BudgetsError;
use super::limit::{BoundaryFigure, Limit, LimitedFigure, Over, Statistic};
use super::quantity::BEYOND_ALL;
use crate::cost::Measure;
use crate::cost::{BoundaryId, Metric};
use crate::tool::names;
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The statistics of a figure.
const STATISTICS: [(&str, Statistic); 5] = [
    ("p50", Statistic::Quantile(0.5)),
    ("p90", Statistic::Quantile(0.9)),
    ("p99", Statistic::Quantile(0.99)),
    ("p999", Statistic::Quantile(0.999)),
    ("max", Statistic::Max),
];

/// Those of both kinds together.
const CONTEXT_SWITCHES: &str = "context_switches";

type Table<'i> = Spanned<DeTable<'i>>;
type Value<'i> = Spanned<DeValue<'i>>;

pub(super) fn parse(text: &str) -> Result<BTreeMap<String, Vec<Limit>>, BudgetsError> {
    let document: Table<'_> = DeTable::parse(text).map_err(|error| BudgetsError {
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        why: error.message().to_owned(),
        ..BudgetsError::default()
    })?;
    let root = Key::new(text, String::new(), "", 0);
    let mut units = BTreeMap::new();
    for (key, value) in root.inside(document.get_ref()) {
        if key.name != "unit" {
            return Err(key.error("there is no such table; a budget is [unit.NAME]"));
        }
        for (unit, limits) in key.inside(key.table(value)?) {
            names::check(unit.name).map_err(|why| unit.error(why))?;
            let mut all = Vec::new();
            for (metric, value) in unit.inside(unit.table(limits)?) {
                metric.limits(value, &mut all)?;
            }
            if all.is_empty() {
                return Err(unit.error("it has no limit; write for example allocs.max = 100"));
            }
            units.insert(unit.name.to_owned(), all);
        }
    }
    Ok(units)
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// A key in the file.
struct Key<'a> {
    text: &'a str,
    /// All keys that lead to it.
    path: String,
    name: &'a str,
    /// Where it is in the text.
    at: usize,
}

impl<'a> Key<'a> {
    fn new(text: &'a str, path: String, name: &'a str, at: usize) -> Self {
        Key {
            text,
            path,
            name,
            at,
        }
    }

    fn error(&self, why: impl Into<String>) -> BudgetsError {
        BudgetsError {
            line: line_of(self.text, self.at),
            key: self.path.clone(),
            why: why.into(),
            ..BudgetsError::default()
        }
    }

    /// The keys in this one's table.
    fn inside<'v>(&self, table: &'v DeTable<'_>) -> Vec<(Key<'v>, &'v Value<'v>)>
    where
        'a: 'v,
    {
        let made = |key: &'v Spanned<_>| {
            let name: &'v str = AsRef::<str>::as_ref(key.get_ref());
            let quoted = match is_bare(name) {
                true => name.to_owned(),
                false => format!("{name:?}"),
            };
            let path = match self.path.as_str() {
                "" => quoted,
                path => format!("{path}.{quoted}"),
            };
            Key::new(self.text, path, name, key.span().start)
        };
        table.iter().map(|(key, v)| (made(key), v)).collect()
    }

    fn table<'v, 'i>(&self, value: &'v Value<'i>) -> Result<&'v DeTable<'i>, BudgetsError> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.error(format!("it needs a key below it, like {}.max", self.name))),
        }
    }

    /// This key names a metric: adds its limits.
    fn limits(&self, value: &Value<'_>, limits: &mut Vec<Limit>) -> Result<(), BudgetsError> {
        if self.name == "errors" {
            for (key, value) in self.inside(self.table(value)?) {
                limits.push(key.rate(value)?);
            }
            return Ok(());
        }
        let figure = match self.name {
            CONTEXT_SWITCHES => Some(LimitedFigure::ContextSwitches),
            name => Metric::by_name(name).map(LimitedFigure::Metric),
        };
        let has_tables = match value.get_ref() {
            DeValue::Table(table) => {
                (table.values()).any(|v| matches!(v.get_ref(), DeValue::Table(_)))
            }
            _ => false,
        };
        // Some names are of both: of the unit, and of what it does across a boundary.
        let boundary_figure = BoundaryFigure::by_name(self.name);
        if let Some(figure) = figure.filter(|_| !has_tables || boundary_figure.is_none()) {
            return self.statistics(self.name, figure, value, limits);
        }
        if let Some(of_boundary) = boundary_figure {
            for (boundary, value) in self.inside(self.table(value)?) {
                if !matches!(value.get_ref(), DeValue::Table(_)) {
                    // Limits of both kinds.
                    if let Some(figure) = figure {
                        self.statistic(self.name, figure, &boundary, value, limits)?;
                        continue;
                    }
                    let why = format!("a limit of a boundary is {}.\"NAME\".max", self.name);
                    return Err(boundary.error(why));
                }
                names::check(boundary.name).map_err(|why| boundary.error(why))?;
                let Some(id) = BoundaryId::named(boundary.name) else {
                    return Err(
                        boundary.error("a process tells 512 boundaries apart, and has them")
                    );
                };
                let metric = format!("{}.{:?}", self.name, boundary.name);
                let figure = LimitedFigure::Boundary(of_boundary, id);
                boundary.statistics(&metric, figure, value, limits)?;
            }
            return Ok(());
        }
        let metrics = Metric::ALL.iter().map(|metric| metric.name());
        let is_new = |name: &&str| Metric::by_name(name).is_none();
        let boundary_metrics = BoundaryFigure::names().filter(is_new);
        let others = [CONTEXT_SWITCHES].into_iter().chain(boundary_metrics);
        let known: Vec<_> = metrics.chain(others).chain(["errors"]).collect();
        let quote = match has_tables {
            true => "; a unit's name with dots in it is quoted: [unit.\"shop.checkout\"]",
            false => "",
        };
        Err(self.error(format!(
            "there is no such metric; use one of {}{quote}",
            known.join(", ")
        )))
    }

    /// This key names a figure: adds the limits on its statistics.
    fn statistics(
        &self,
        metric: &str,
        figure: LimitedFigure,
        value: &Value<'_>,
        limits: &mut Vec<Limit>,
    ) -> Result<(), BudgetsError> {
        for (key, value) in self.inside(self.table(value)?) {
            self.statistic(metric, figure, &key, value, limits)?;
        }
        Ok(())
    }

    fn statistic(
        &self,
        metric: &str,
        figure: LimitedFigure,
        key: &Key<'_>,
        value: &Value<'_>,
        limits: &mut Vec<Limit>,
    ) -> Result<(), BudgetsError> {
        let Some((name, statistic)) = STATISTICS.iter().find(|(name, _)| *name == key.name) else {
            let quote = match value.get_ref() {
                DeValue::Table(_) => "; a name with dots in it is quoted",
                _ => "",
            };
            let why = "there is no such statistic; use p50, p90, p99, p999 or max";
            return Err(key.error(format!("{why}{quote}")));
        };
        limits.push(Limit {
            metric: metric.to_owned(),
            name,
            figure,
            statistic: *statistic,
            most: key.amount(figure, value)?,
        });
        Ok(())
    }

    fn amount(&self, figure: LimitedFigure, value: &Value<'_>) -> Result<u64, BudgetsError> {
        let measure = figure.measure();
        let amount = match value.get_ref() {
            DeValue::String(text) => measure.parse(text),
            // A duration needs its unit.
            DeValue::Integer(number) if measure != Measure::Nanoseconds => {
                u64::from_str_radix(number.as_str(), number.radix()).ok()
            }
            _ => None,
        };
        match amount {
            None => Err(self.error(format!("it must be {}", measure.form()))),
            Some(0) if figure.is_never_none() => {
                Err(self.error("every unit takes some time: it can never hold"))
            }
            Some(BEYOND_ALL..) => {
                Err(self.error("no unit has so much: it can never break, so leave it out"))
            }
            Some(amount) => Ok(amount),
        }
    }

    fn rate(&self, value: &Value<'_>) -> Result<Limit, BudgetsError> {
        if self.name != "rate" {
            return Err(self.error("there is no such statistic; use rate"));
        }
        let share = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let Some(share) = share.filter(|share| (0.0..=1.0).contains(share)) else {
            return Err(self.error(format!("it must be {}", Measure::Share.form())));
        };
        let limit = Limit {
            metric: "errors".to_owned(),
            name: "rate",
            figure: LimitedFigure::Errors,
            statistic: Statistic::Rate(share),
            most: 0,
        };
        match Over::ALL.breaks(&limit) {
            true => Ok(limit),
            false => {
                Err(self.error("all units may fail then: it can never break, so leave it out"))
            }
        }
    }
}

fn is_bare(key: &str) -> bool {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !key.is_empty() && key.chars().all(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_becomes_a_limit() {
        let units = parse(
            r#"
            [unit.checkout]
            allocs.p99 = 120
            alloc_bytes.p99 = "64 KiB"
            peak_bytes.max = 1_048_576
            cpu.p99 = "2 ms"
            calls."db.query".max = 3
            context_switches.p99 = 4
            errors.rate = 0.01
            [unit."GET /orders/{id}"]
            wall.p999 = "1 s"
            "#,
        )
        .unwrap();
        let mut limits: Vec<_> = units["checkout"]
            .iter()
            .map(|l| {
                (
                    l.metric.as_str(),
                    l.name,
                    l.value(),
                    l.figure.measure().as_str(),
                )
            })
            .collect();
        limits.sort_by_key(|(metric, ..)| *metric);
        assert_eq!(
            limits,
            [
                ("alloc_bytes", "p99", 65_536.0, "bytes"),
                ("allocs", "p99", 120.0, "count"),
                ("calls.\"db.query\"", "max", 3.0, "count"),
                ("context_switches", "p99", 4.0, "count"),
                ("cpu", "p99", 2_000_000.0, "ns"),
                ("errors", "rate", 0.01, "share"),
                ("peak_bytes", "max", 1_048_576.0, "bytes"),
            ]
        );
        assert_eq!(units["GET /orders/{id}"].len(), 1);
    }

    #[test]
    fn a_limit_that_can_never_break_or_hold_is_refused_with_the_mend() {
        for (limit, mend) in [
            ("allocs.max = 9223372036854775807", "leave it out"),
            ("errors.rate = 0.9999999999", "leave it out"),
            ("errors.rate = 1.0", "leave it out"),
            ("wall.p50 = \"0 ms\"", "can never hold"),
            (
                "calls.\"d\u{200b}b\".max = 1",
                "U+200B at column 2 does not show",
            ),
        ] {
            let error = parse(&format!("[unit.a]\n{limit}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(mend), "{error}");
            assert!(!error.contains('\u{200b}'), "{error}");
        }
        for limit in [
            "allocs.max = 9223372036854775806",
            "allocs.max = 0",
            "calls.db.max = 0",
            "peak_bytes.max = \"0 B\"",
            "errors.rate = 0",
            "errors.rate = 0.999",
            "wall.max = \"1 ns\"",
        ] {
            assert!(parse(&format!("[unit.a]\n{limit}")).is_ok(), "{limit}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_key() {
        for (line, key, text) in [
            (1, "unit.\"\"", "[unit.\"\"]\nallocs.max = 3"),
            (1, "unit.\" a\"", "[unit.\" a\"]\nallocs.max = 3"),
            (
                1,
                "unit.shop.checkout",
                "[unit.shop.checkout]\nallocs.max = 3",
            ),
            (2, "unit.a.calls.\"db \"", "[unit.a]\ncalls.\"db \".max = 3"),
            (2, "unit.a.errors.rate", "[unit.a]\nerrors.rate = 1"),
            (2, "unit.a.errors.rate", "[unit.a]\nerrors.rate = nan"),
            (
                2,
                "unit.a.errors.rate",
                "[unit.a]\nerrors.rate = 0.9999999999",
            ),
            (
                2,
                "unit.a.allocs.max",
                "[unit.a]\nallocs.max = 18446744073709551615",
            ),
            (
                2,
                "unit.a.allocs.p50",
                "[unit.a]\nallocs.p50 = 9223372036854775807",
            ),
            (
                2,
                "unit.a.calls.db.max",
                "[unit.a]\ncalls.db.max = 0x7fffffffffffffff",
            ),
            (
                2,
                "unit.a.peak_bytes.max",
                "[unit.a]\npeak_bytes.max = \"8388608 TiB\"",
            ),
            (
                2,
                "unit.a.wall.max",
                "[unit.a]\nwall.max = \"9999999999 s\"",
            ),
            (2, "unit.a.wall.max", "[unit.a]\nwall.max = \"0 s\""),
            (2, "unit.a.busy.p99", "[unit.a]\nbusy.p99 = \"0.1 ns\""),
            (
                1,
                "unit.\"pa\u{3164}y\"",
                "[unit.\"pa\u{3164}y\"]\nallocs.max = 3",
            ),
            (
                2,
                "unit.a.calls.\"d\\u{ad}b\"",
                "[unit.a]\ncalls.\"d\u{ad}b\".max = 3",
            ),
            (2, "unit.a.errors.rate", "[unit.a]\nerrors.rate = -0.5"),
            (2, "unit.a.errors.rate", "[unit.a]\nerrors.rate = \"1 %\""),
            (2, "unit.a.wall.p99", "[unit.a]\nwall.p99 = \"20 MB\""),
            (2, "unit.a.wall.p99", "[unit.a]\nwall.p99 = \"-1 ms\""),
            (2, "unit.a.allocs.max", "[unit.a]\nallocs.max = inf"),
            (2, "unit.a.allocs.max", "[unit.a]\nallocs.max = 3.5"),
            (
                2,
                "unit.a.allocs.max",
                "[unit.a]\nallocs.max = 99999999999999999999",
            ),
            (
                3,
                "",
                "[unit.a]\nallocs.max = 3\n[unit.a]\nwall.max = \"1 s\"",
            ),
            (2, "", "[unit.a]\nallocs.max = = 3"),
            (1, "units", "[units.a]\nallocs.max = 3"),
            (1, "unit", "unit = 3"),
            (1, "unit.a", "unit.a = 3"),
            (3, "unit.a.alocs", "[unit.a]\n\nalocs.max = 3"),
            (2, "unit.a.allocs.p98", "[unit.a]\nallocs.p98 = 3"),
            (2, "unit.a.allocs", "[unit.a]\nallocs = 3"),
            (2, "unit.a.allocs.max", "[unit.a]\nallocs.max = -3"),
            (2, "unit.a.allocs.max", "[unit.a]\nallocs.max = \"3 ms\""),
            (2, "unit.a.wall.max", "[unit.a]\nwall.max = 3"),
            (2, "unit.a.wall.max", "[unit.a]\nwall.max = \"3 KiB\""),
            (2, "unit.a.errors.rate", "[unit.a]\nerrors.rate = 1.5"),
            (2, "unit.a.errors.max", "[unit.a]\nerrors.max = 1"),
            (2, "unit.a.calls.max", "[unit.a]\ncalls.max = 1"),
            (
                2,
                "unit.a.calls.db.query",
                "[unit.a]\ncalls.db.query.max = 1",
            ),
            (1, "unit.a", "[unit.a]"),
            (3, "", "[unit.a]\nallocs.max = 3\nallocs.max = 4"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(
                (error.line(), error.key()),
                (Some(line), key),
                "{text}\n{error}"
            );
            let told = error.to_string();
            assert!(told.starts_with(&format!("budgets:{line}: ")), "{told}");
        }
    }
}
