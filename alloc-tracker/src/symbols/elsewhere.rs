//! Addresses looked up by the crate `backtrace`, where there is no ELF.

use super::{CodePlace, Function, Kept, Lack, Source, Whose};
use std::collections::HashMap;
use std::ffi::OsStr;

pub(super) fn look_up(addresses: &[usize], kept: &Kept, places: &mut HashMap<usize, CodePlace>) {
    for &address in addresses {
        let mut functions = Vec::new();
        backtrace::resolve(address as *mut _, |symbol| {
            let Some(name) = symbol.name() else { return };
            let file = symbol.filename();
            let is_c = |extension: &OsStr| ["c", "h", "S"].iter().any(|c| extension == *c);
            functions.push(Function {
                name: kept.name(&format!("{name:#}")),
                mangled: kept.name(name.as_str().unwrap_or_default()),
                source: file.map(|file| kept.source(Source::new(file.to_owned(), None))),
                line: symbol.lineno().filter(|&line| line > 0),
                is_foreign: file.and_then(|file| file.extension()).is_some_and(is_c),
                compiled_in: None,
                whose: Whose::Nobody,
            });
        });
        let lacks = match functions.first() {
            None => Some(Lack::Symbols),
            Some(function) if function.source.is_none() => Some(Lack::Lines),
            Some(_) => None,
        };
        let place = CodePlace {
            functions,
            lacks,
            in_program: true,
        };
        places.insert(address, place);
    }
    // It keeps what it has read.
    backtrace::clear_symbol_cache();
}
