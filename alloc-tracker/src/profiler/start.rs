//! Where a stack begins for a reader.

use crate::symbols::{Symbols, Whose};

/// This many frames are left out, and this many functions of the first one that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) frames: usize,
    pub(super) functions: usize,
}

/// What is left out of a stack: the tracker, what the compiler makes around a global allocator, and what
/// of the standard library leads there, such as how a vector grows. A profile is to say first who asked
/// for memory. If there is nobody but the standard library, all of that is shown.
pub(super) fn start(frames: &[usize], symbols: &Symbols) -> Start {
    let mut start = Start {
        frames: 0,
        functions: 0,
    };
    for (index, &frame) in frames.iter().enumerate() {
        // By the function that the others were inlined into.
        match symbols.place(frame).functions.last().map(|f| f.whose) {
            Some(Whose::Trackers) => start.frames = index + 1,
            // The tracker calls it, or it is the user's.
            Some(Whose::Standard) => {}
            _ => break,
        }
    }
    for (index, &frame) in frames.iter().enumerate().skip(start.frames) {
        let known = &symbols.place(frame).functions;
        if known.is_empty() {
            // Without names nothing can be left out.
            return start;
        }
        let asks = |function: &crate::symbols::Function| function.whose < Whose::Standard;
        if let Some(functions) = known.iter().position(asks) {
            return Start {
                frames: index,
                functions,
            };
        }
    }
    start
}
