//! What was found, at one moment.

use super::figures::{Estimate, Estimated, Figures};
use crate::engine::profile::{self as hooks, LiveSample, names, probability, stacks, walk};
use std::fmt;
use std::time::SystemTime;

/// What a program has allocated and holds, by call stack and unit: an estimate from samples.
///
/// It is written as pprof, collapsed stacks, a flame graph or JSON by the methods whose names begin
/// with `write_`, each of which looks up the names of functions first. That takes from milliseconds to
/// seconds, reads the program's debug information and keeps nothing of it: not for a thread that serves.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::profiler::{self, Config, Figure};
/// use std::fs::File;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let session = profiler::start(Config::default().mean_bytes(1024))?;
/// let held: Vec<Vec<u8>> = (0..100).map(|_| vec![0; 1000]).collect();
/// let profile = profiler::snapshot();
/// session.stop();
///
/// let in_use = profile.samples().filter(|sample| sample.is_live());
/// let bytes: f64 = in_use.map(|sample| sample.size() as f64 * sample.weight()).sum();
/// println!("{bytes:.0} bytes in use; {:?}", profile.estimate().inuse_bytes);
/// # assert!(bytes > 10_000.0);
/// let directory = std::env::temp_dir();
/// # let directory = directory.join(format!("profile-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// profile.write_pprof(File::create(directory.join("heap.pb.gz"))?)?;
/// profile.write_flamegraph(Figure::InuseSpace, File::create(directory.join("heap.svg"))?)?;
/// profile.write_collapsed(Figure::AllocSpace, File::create(directory.join("heap.folded"))?)?;
/// profile.write_gperftools(File::create(directory.join("heap.txt"))?)?;
/// profile.write_json(File::create(directory.join("heap.json"))?)?;
/// # std::fs::remove_dir_all(directory)?;
/// # drop(held);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Profile {
    pub(super) rows: Vec<Row>,
    live: Vec<Live>,
    estimate: Estimate,
    info: Info,
    pub(super) taken: SystemTime,
    /// Flame graphs and stacks for people have every frame, and names as they are.
    pub(super) whole: bool,
}

/// One call stack of one unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) frames: &'static [usize],
    pub(super) unit: Option<&'static str>,
    pub(super) figures: Figures,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    row: u32,
    thread: u32,
    size: u64,
    weight: f64,
}

/// How stacks are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unwinding {
    /// By frame pointers: the program was compiled with `-C force-frame-pointers=yes`, and a test at
    /// the start found that they work. Some 100 ns for a stack.
    FramePointers,
    /// By the tables that the compiler makes for panics: a microsecond or more for a stack.
    Tables,
}

impl fmt::Display for Unwinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unwinding::FramePointers => "frame pointers",
            Unwinding::Tables => "unwind tables",
        })
    }
}

/// How a profile came about, and what did not fit into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// Bytes between two samples, at the mean, when the profile was taken; `None`: stopped.
    pub mean_bytes: Option<u64>,
    /// How stacks are walked.
    pub unwinding: Unwinding,
    /// Samples drawn so far.
    pub samples: u64,
    /// Samples that are in use.
    pub live: u64,
    /// Different stacks, those of different units apart.
    pub stacks: u64,
    /// Memory that the stacks and the table of live samples take, as far as it was ever used: the table
    /// grows by chunks, and is kept. Fixed tables take a mebibyte more.
    pub bytes: u64,
    /// Memory in which small samples lie, 8 KiB each, if there were [`slots`](super::Config::slots) for
    /// them; kept for further ones. Pages that no sample used are address space only.
    pub slot_bytes: u64,
    /// Samples that somebody else than Rust has freed, as far as that is known by now: their memory was
    /// used again. Until then they count as live.
    pub freed_elsewhere: u64,
    /// Samples whose free is not seen, as there were [`max_live`](super::Config::max_live) or no
    /// memory: estimates of what is in use lack them.
    pub not_kept_live: u64,
    /// Samples whose stack did not fit: they are in the sums, as one row without frames.
    pub without_stack: u64,
    /// Samples whose stack had more frames than are kept: the outermost are missing.
    pub too_deep: u64,
    /// Samples at whose walk a frame pointer led off the thread's stack: the outermost frames are
    /// missing.
    pub broken: u64,
    /// What all samples took together, on the threads that allocated: nanoseconds.
    pub sampling_ns: u64,
}

impl Info {
    pub(super) fn now() -> Self {
        let tally = hooks::tally();
        let (stacks, stack_bytes) = stacks::kept();
        Info {
            mean_bytes: super::mean_bytes(),
            unwinding: match walk::by_frame_pointers() {
                true => Unwinding::FramePointers,
                false => Unwinding::Tables,
            },
            samples: tally.samples,
            live: tally.live,
            stacks: stacks as u64,
            bytes: stack_bytes as u64 + tally.table_bytes,
            slot_bytes: tally.slot_bytes,
            freed_elsewhere: tally.freed_elsewhere,
            not_kept_live: tally.not_kept_live,
            without_stack: tally.without_stack,
            too_deep: tally.too_deep,
            broken: tally.broken,
            sampling_ns: tally.nanoseconds,
        }
    }
}

impl Profile {
    pub(super) fn take() -> Self {
        let names = names::all();
        let unit = |number: u32| {
            let index = (number as usize).checked_sub(1)?;
            names.get(index).copied()
        };
        // The table before the sums: a sample is in the sums before it is in the table, so nothing is
        // in use that was not allocated.
        let mut held = Vec::with_capacity(hooks::tally().live as usize + 64);
        hooks::for_each_live(|sample| held.push(sample));
        let mut rows = Vec::with_capacity(stacks::kept().0 + 1);
        let mut row_of = vec![u32::MAX; stacks::NUMBERS];
        let (mut allocs, mut alloc_bytes) = ((0.0, 0.0), (0.0, 0.0));
        stacks::for_each(|number, site| {
            let sums = site.sums();
            allocs = (allocs.0 + sums.allocs, allocs.1 + sums.allocs_variance);
            alloc_bytes.0 += sums.alloc_bytes;
            alloc_bytes.1 += sums.alloc_bytes_variance;
            row_of[number as usize] = rows.len() as u32;
            rows.push(Row {
                frames: site.frames,
                unit: unit(site.unit),
                figures: Figures::of_allocated(sums.allocs, sums.alloc_bytes),
            });
        });
        let (mut objects, mut bytes) = ((0.0, 0.0), (0.0, 0.0));
        let mut live = Vec::with_capacity(held.len());
        for LiveSample {
            site,
            thread,
            size,
            mean,
            ..
        } in held
        {
            let p = probability(size, mean);
            let (weight, variance) = (1.0 / p, (1.0 - p) / (p * p));
            let size_f = size as f64;
            objects = (objects.0 + weight, objects.1 + variance);
            bytes.0 += size_f * weight;
            bytes.1 += size_f * size_f * variance;
            let row = row_of[site as usize];
            rows[row as usize]
                .figures
                .add_in_use(weight, size_f * weight);
            live.push(Live {
                row,
                thread,
                size,
                weight,
            });
        }
        let info = Info {
            live: live.len() as u64,
            ..Info::now()
        };
        Profile {
            rows,
            live,
            estimate: Estimate {
                allocs: Estimated::new(allocs.0, allocs.1),
                alloc_bytes: Estimated::new(alloc_bytes.0, alloc_bytes.1),
                inuse_objects: Estimated::new(objects.0, objects.1),
                inuse_bytes: Estimated::new(bytes.0, bytes.1),
            },
            info,
            taken: SystemTime::now(),
            whole: false,
        }
    }

    /// The same, of which flame graphs, and what is [different](Profile::since) in tables, have every frame and names as
    /// they are.
    ///
    /// ```
    /// use alloc_tracker::profiler::{self, Figure};
    ///
    /// let mut image = Vec::new();
    /// profiler::snapshot().whole_stacks().write_flamegraph(Figure::InuseSpace, &mut image)?;
    /// # Ok::<(), profiler::ProfileError>(())
    /// ```
    #[must_use = "it is another profile that has whole stacks"]
    pub fn whole_stacks(mut self) -> Self {
        self.whole = true;
        self
    }

    /// Estimates for the whole process.
    pub fn estimate(&self) -> Estimate {
        self.estimate
    }

    /// How the profile came about, and what did not fit.
    pub fn info(&self) -> Info {
        self.info
    }

    /// When it was taken.
    pub fn taken(&self) -> SystemTime {
        self.taken
    }

    /// The samples: each one that is in use by itself; what was freed is added up by stack and unit.
    pub fn samples(&self) -> impl Iterator<Item = Sample> {
        let live = self.live.iter().map(|live| {
            let row = &self.rows[live.row as usize];
            Sample {
                stack: row.frames,
                unit: row.unit,
                size: live.size,
                weight: live.weight,
                thread: Some(u64::from(live.thread)),
                is_live: true,
            }
        });
        let freed = self.rows.iter().filter_map(Sample::freed);
        live.chain(freed)
    }
}

/// Sampled blocks of memory of one call stack and unit.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::profiler::{self, Config};
///
/// let session = profiler::start(Config::default().mean_bytes(1024))?;
/// let held = vec![0u8; 1 << 20];
/// session.stop();
/// let profile = profiler::snapshot();
/// let largest = profile.samples().max_by_key(|sample| sample.size());
/// let largest = largest.expect("a block as large as this is a sample");
/// println!(
///     "{} bytes of unit {:?}, by thread {:?}, {} frames deep",
///     largest.size(),
///     largest.unit(),
///     largest.thread(),
///     largest.stack().len(),
/// );
/// # assert!(largest.size() >= 1 << 20);
/// # drop(held);
/// # Ok::<(), profiler::StartError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    stack: &'static [usize],
    unit: Option<&'static str>,
    size: u64,
    weight: f64,
    thread: Option<u64>,
    is_live: bool,
}

impl Sample {
    /// What was freed of a row, if anything.
    fn freed(row: &Row) -> Option<Self> {
        use super::Figure::{AllocObjects, AllocSpace, InuseObjects, InuseSpace};
        let get = |figure| row.figures.get(figure);
        let weight = get(AllocObjects) - get(InuseObjects);
        // Below a half it is the rounding of the sums.
        (weight > 0.5).then(|| Sample {
            stack: row.frames,
            unit: row.unit,
            size: ((get(AllocSpace) - get(InuseSpace)).max(0.0) / weight).round() as u64,
            weight,
            thread: None,
            is_live: false,
        })
    }

    /// Return addresses, the innermost first. Those of the tracker itself come first of all.
    pub fn stack(&self) -> &'static [usize] {
        self.stack
    }

    /// The bytes of the block; of freed ones, at the mean.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many blocks it stands for.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Whether it is in use. What is not is added up: one sample for each stack and unit.
    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// The thread that allocated it, by the number that the tracker gives to threads: 1 is the first that
    /// it saw. `None` for freed ones.
    pub fn thread(&self) -> Option<u64> {
        self.thread
    }

    /// The name of the unit of work that the thread worked for, if there was one with a name.
    pub fn unit(&self) -> Option<&'static str> {
        self.unit
    }
}
