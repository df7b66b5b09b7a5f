//! The sizes of blocks that a program asks for.

use crate::engine;
use std::fmt;
use std::ops::RangeInclusive;

/// Records the sizes of the blocks that all threads ask for, from [`start`](SizeRecording::start)
/// until it is finished or dropped.
///
/// The calling thread is recorded at once, another one from its next free, resize or 64 KiB of
/// allocations on: threads are not stopped for this, nor do they share a word that says so.
///
/// For those who choose an allocator's size classes, or look for a size that is asked for too
/// often. It has nothing to do with [`Usage`](crate::Usage), and nothing is recorded without it.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// let recording = alloc_tracker::SizeRecording::start();
/// for _ in 0..1000 {
///     std::hint::black_box(Box::new([0u8; 40]));
/// }
/// let sizes = recording.finish();
/// # #[cfg(feature = "track")] {
/// let class = sizes.classes().find(|class| class.sizes.contains(&40)).unwrap();
/// assert!(class.allocs >= 1000 && class.bytes >= 40_000);
/// println!("{sizes}");
/// # }
/// ```
///
/// # Cost
///
/// While one exists, every call of the allocator takes some 10 ns more, on any thread. The sums
/// lie in static memory, a recording takes 4 KiB of the stack; a histogram is one block of 4 KiB.
#[derive(Debug)]
#[must_use = "it records until it is dropped"]
pub struct SizeRecording {
    recorder: engine::SizeRecorder,
}

impl SizeRecording {
    /// Starts to record. Any number of recordings may run at the same time.
    pub fn start() -> Self {
        SizeRecording {
            recorder: engine::SizeRecorder::start(),
        }
    }

    /// What was recorded so far.
    pub fn so_far(&self) -> SizeHistogram {
        SizeHistogram {
            classes: Box::new(self.recorder.so_far()),
            tracked: crate::is_installed(),
        }
    }

    /// Ends the recording.
    #[must_use = "the histogram is lost; a recording ends when it is dropped"]
    pub fn finish(self) -> SizeHistogram {
        self.so_far()
    }
}

/// How often each size was asked for: successful `alloc`, `alloc_zeroed` and `realloc` calls, the
/// last by their new size.
///
/// Sizes are put into classes, four to each doubling, as most allocators do: 5, 6, 7, 8, 10, 12,
/// 14, 16, 20 bytes and so on are the largest sizes of theirs.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::SizeRecording;
///
/// let recording = SizeRecording::start();
/// let held = [vec![0u8; 100], vec![0u8; 100]];
/// let sizes = recording.so_far(); // `finish` ends it
/// for class in sizes.classes() {
///     println!("{:?} bytes: {} calls for {} in all", class.sizes, class.allocs, class.bytes);
/// }
/// println!("{sizes}"); // a table, with a bar for each class
/// # #[cfg(feature = "track")]
/// assert!(sizes.is_tracked());
/// # drop(held);
/// ```
#[derive(Clone, Debug)]
pub struct SizeHistogram {
    classes: Box<[[u64; 2]]>,
    tracked: bool,
}

/// A range of sizes, and how often they were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SizeClass {
    /// The sizes in this class, in bytes.
    pub sizes: RangeInclusive<usize>,
    /// Calls that asked for one of them.
    pub allocs: u64,
    /// The bytes they asked for.
    pub bytes: u64,
}

impl SizeHistogram {
    /// The classes that were asked for, the smallest sizes first.
    pub fn classes(&self) -> impl Iterator<Item = SizeClass> {
        let numbered = self.classes.iter().enumerate();
        numbered.filter_map(|(class, &[allocs, bytes])| {
            let first = match class.checked_sub(1) {
                Some(below) => engine::class_end(below) + 1,
                None => 1,
            };
            (allocs > 0).then(|| SizeClass {
                sizes: first..=engine::class_end(class),
                allocs,
                bytes,
            })
        })
    }

    /// Whether anything could be recorded; see [`is_installed`](crate::is_installed).
    pub fn is_tracked(&self) -> bool {
        self.tracked
    }
}

/// A table with a bar for each class.
impl fmt::Display for SizeHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.tracked {
            return f.write_str("not tracked");
        }
        const BAR: u64 = 40;
        let total: u64 = self.classes.iter().map(|class| class[0]).sum();
        let most = self.classes().map(|class| class.allocs).max().unwrap_or(1);
        writeln!(f, "{:>24} {:>12} {:>16}", "size [B]", "allocs", "bytes [B]")?;
        for SizeClass {
            sizes,
            allocs,
            bytes,
        } in self.classes()
        {
            let sizes = if sizes.start() == sizes.end() {
                sizes.end().to_string()
            } else {
                format!("{} - {}", sizes.start(), sizes.end())
            };
            let percent = allocs as f64 * 100.0 / total as f64;
            let bar =
                "#".repeat((u128::from(allocs) * u128::from(BAR) / u128::from(most)) as usize);
            writeln!(
                f,
                "{sizes:>24} {allocs:>12} {bytes:>16} {percent:>5.1} % {bar}"
            )?;
        }
        Ok(())
    }
}
