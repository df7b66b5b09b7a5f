//! The heap profiler at the service of incidents: one session for all that want it.

use super::IncidentId;
use crate::record::{Culprit, HeapReport};
use alloc_tracker::profiler::{self, Config, Figure, Growth, Profile, Session, StartError};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Samples that are live at once. Each has some 4 to 13 KiB resident beside it where many come and go: in all no
/// more than 26 MiB.
const MAX_LIVE: usize = 2048;

/// Growth that is named in a record, and frames of each.
const CULPRITS: usize = 5;
const FRAMES: usize = 12;

/// The profiler, while an incident wants it.
#[derive(Debug, Default)]
pub(super) struct Heap {
    session: Option<Session>,
}

impl Heap {
    /// Samples every `mean` bytes for so long from now; `None`: no more.
    pub(super) fn want(&mut self, mean: Option<u64>, for_: Duration) -> Result<(), String> {
        let Some(mean) = mean else {
            self.session = None;
            return Ok(());
        };
        if self.session.is_none() {
            let config = Config::default().mean_bytes(mean).max_live(MAX_LIVE);
            let config = config.stop_after(for_);
            self.session = Some(profiler::start(config).map_err(|error| error.to_string())?);
        } else {
            profiler::set_stop_after(Some(for_));
            // Its time may be over, and nobody said so yet.
            if !profiler::is_running() {
                self.session = None;
                return self.want(Some(mean), for_);
            }
            if profiler::mean_bytes() != Some(mean) {
                profiler::set_mean_bytes(mean).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }
}

/// Why the heap cannot be profiled with this mean, if it cannot.
pub(super) fn check(mean: u64) -> Result<(), String> {
    if !alloc_tracker::is_installed() {
        return Err(StartError::NotInstalled.to_string());
    }
    match (1..=profiler::MAX_MEAN_BYTES).contains(&mean) {
        true => Ok(()),
        false => Err(StartError::MeanOutOfRange(mean).to_string()),
    }
}

/// Whether the live samples leave little room for more.
pub(super) fn is_crowded() -> bool {
    profiler::is_running() && profiler::info().live > MAX_LIVE as u64 / 4 * 3
}

/// What was there when an incident began.
#[derive(Debug)]
pub(super) struct Before(Profile);

pub(super) fn before() -> Before {
    Before(profiler::snapshot())
}

/// Samples drawn so far, and the nanoseconds that they took.
pub(super) fn spent() -> (u64, u64) {
    let info = profiler::info();
    (info.samples, info.sampling_ns)
}

/// Writes what was found since `before`.
pub(super) fn report(
    before: &Before,
    directory: &Path,
    service: &str,
    id: IncidentId,
) -> HeapReport {
    let profile = profiler::snapshot();
    let difference = profile.since(&before.0);
    let clean = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let service: String = service.chars().map(clean).collect();
    // Another run of the service may have the same process id, in a container always.
    let since = profile.taken().duration_since(UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs();
    let name = format!("{service}-{seconds}-{}-incident-{id}", std::process::id());
    let (mut files, mut errors) = (Vec::new(), Vec::new());
    let mut write = |extension: &str, write: &dyn Fn(&mut dyn Write) -> io::Result<()>| {
        // What has been found is not to be lost because a directory is.
        for directory in [directory, &std::env::temp_dir()] {
            let path = directory.join(format!("{name}.{extension}"));
            match create(&path, write) {
                Ok(()) => return files.push(path.to_string_lossy().into_owned()),
                Err(error) => errors.push(format!("{}: {error}", path.display())),
            }
        }
    };
    write("heap.pb.gz", &|to| {
        difference.write_pprof(to).map_err(io::Error::other)
    });
    write("growth.svg", &|to| {
        let grown = difference.write_flamegraph(Figure::InuseSpace, to);
        grown.map_err(io::Error::other)
    });
    write("growth.json", &|to| {
        difference.write_json(to).map_err(io::Error::other)
    });
    HeapReport {
        files,
        error: (!errors.is_empty()).then(|| errors.join("; ")),
        unwinding: profile.info().unwinding.to_string().as_str().into(),
        inuse_growth_bytes: difference.inuse_bytes(),
        grew: culprits(difference.sites(), |growth| growth.inuse_bytes),
        allocated: culprits(difference.sites(), |growth| growth.alloc_bytes),
        outside: culprits(no_units(difference.sites()), |growth| growth.alloc_bytes),
    }
}

fn create(path: &PathBuf, write: &dyn Fn(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    // Nobody's file is overwritten, and no link followed.
    let mut file = BufWriter::new(File::create_new(path)?);
    write(&mut file)?;
    file.flush()
}

/// What was done for no unit: where a spawned task or a pool lacks its word, it begins there.
fn no_units(mut sites: Vec<Growth>) -> Vec<Growth> {
    sites.retain(|growth| growth.unit.is_none());
    sites
}

fn culprits(mut found: Vec<Growth>, by: impl Fn(&Growth) -> f64) -> Vec<Culprit> {
    found.sort_by(|a, b| by(b).total_cmp(&by(a)));
    let found = found.into_iter().filter(|growth| by(growth) >= 1.0);
    let found = found.take(CULPRITS);
    let culprit = |growth: Growth| Culprit {
        unit: growth.unit.map(str::to_owned),
        site: growth.site,
        inuse_bytes: growth.inuse_bytes,
        alloc_bytes: growth.alloc_bytes,
        stack: growth.stack.into_iter().take(FRAMES).collect(),
    };
    found.map(culprit).collect()
}
