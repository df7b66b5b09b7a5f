//! The addresses of a module, looked up in its file.

use super::dwarf::{Found, Program};
use super::file::{Binary, Windows};
use super::modules::{self, Module};
use super::{CodePlace, Function, Kept, Lack, Source, Whose, demangled, is_of_rust};
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Looks up sorted addresses.
pub(super) fn look_up(addresses: &[usize], kept: &Kept, places: &mut HashMap<usize, CodePlace>) {
    let modules = modules::mapped();
    // Inside the call, not after it, which may be another function.
    let inside = |address: usize| (address as u64).wrapping_sub(1);
    let mut rest = addresses;
    while let Some(&first) = rest.first() {
        let Some(index) = modules::index_of(&modules, inside(first)) else {
            rest = &rest[1..];
            continue;
        };
        let module = &modules[index];
        let count = rest.partition_point(|&address| inside(address) < module.end);
        let (here, others) = rest.split_at(count);
        rest = others;
        let in_file: Vec<u64> = (here.iter())
            .map(|&address| inside(address).wrapping_sub(module.base))
            .collect();
        let found = look_up_in(module, &in_file, kept);
        for (&address, mut place) in here.iter().zip(found) {
            place.in_program = module.is_program;
            places.insert(address, place);
        }
    }
}

fn look_up_in(module: &Module, addresses: &[u64], kept: &Kept) -> Vec<CodePlace> {
    let unknown = |lack| {
        let place = |_: &u64| CodePlace {
            lacks: Some(lack),
            ..CodePlace::default()
        };
        addresses.iter().map(place).collect()
    };
    // The program as it was started, whatever lies at its path by now.
    let path = match module.is_program {
        true => Path::new("/proc/self/exe"),
        false => Path::new(&module.file),
    };
    let Some(windows) = Windows::new() else {
        return unknown(Lack::File);
    };
    let Some(binary) = Binary::open(path, &windows).filter(|b| b.belongs_to(module)) else {
        return unknown(Lack::File);
    };
    let mut symbols: Vec<Option<Arc<str>>> = vec![None; addresses.len()];
    let mut note = |index: usize, name: &[u8]| {
        symbols[index].get_or_insert_with(|| kept.name(&String::from_utf8_lossy(name)));
    };
    binary.symbols(addresses, &mut note);
    let mut has_symbols = binary.has_symbols();

    let mut found: Vec<Found> = Vec::new();
    found.resize_with(addresses.len(), Found::default);
    if binary.has_debug_information() {
        search(&binary, &windows, module, addresses, kept, &mut found);
    } else if let Some(debug) = separate(&binary, module, &windows) {
        debug.symbols(addresses, &mut note);
        has_symbols = true;
        // The lines of a C library are nobody's, and take a while.
        if module.is_program {
            search(&debug, &windows, module, addresses, kept, &mut found);
        }
    }
    if !binary.is_unchanged() {
        return unknown(Lack::File);
    }
    (found.into_iter().zip(symbols))
        .map(|(found, symbol)| place(found, symbol, has_symbols, kept))
        .collect()
}

fn separate(binary: &Binary, module: &Module, windows: &Rc<Windows>) -> Option<Binary> {
    let files = binary.separate_files(module).into_iter();
    files
        .filter_map(|file| Binary::open(&file, windows))
        .find(|debug| debug.has_debug_information() && debug.belongs_to(module))
}

fn search(
    binary: &Binary,
    windows: &Rc<Windows>,
    module: &Module,
    addresses: &[u64],
    kept: &Kept,
    found: &mut [Found],
) {
    // Beside the program, as rustc packs it.
    let packed = Binary::open(Path::new(&format!("{}.dwp", module.file)), windows);
    let mut files = [Some(binary), packed.as_ref()].into_iter().flatten();
    let lacks = if files.clone().any(Binary::is_unreadable) {
        Some(Lack::Compressed)
    } else {
        if let Ok(program) = Program::new(binary, packed.as_ref(), windows, kept) {
            program.search(addresses, found);
        }
        (!files.all(Binary::is_unchanged)).then_some(Lack::File)
    };
    if lacks.is_some() {
        found.fill_with(|| Found {
            lacks,
            ..Found::default()
        });
    }
}

/// What was found of an address, from the innermost function on.
fn place(found: Found, symbol: Option<Arc<str>>, has_symbols: bool, kept: &Kept) -> CodePlace {
    let Found {
        functions: found,
        row,
        has_unit,
        is_rust,
        lacks,
        compiled_in,
    } = found;
    let of_rust = || symbol.as_deref().is_some_and(is_of_rust);
    let is_foreign = !is_rust.unwrap_or_else(of_rust);
    let function = |name: Arc<str>, mangled: Arc<str>, at: Option<(Arc<Source>, u32)>| {
        let (source, line) = at.unzip();
        Function {
            name,
            mangled,
            source,
            line: line.filter(|&line| line > 0),
            compiled_in: compiled_in.clone(),
            is_foreign,
            whose: Whose::Nobody,
        }
    };
    let path = |mangled: &str| kept.name(&demangled(mangled.as_bytes()));
    // Without what was inlined nobody knows whose the line is.
    let mut at = row.filter(|_| lacks.is_none());
    let mut functions: Vec<Function> = Vec::with_capacity(found.len().max(1));
    for names in found.into_iter().rev() {
        let mangled = names.mangled.unwrap_or_default();
        let name = match mangled.is_empty() {
            true => names.name.unwrap_or_default(),
            false => path(&mangled),
        };
        functions.push(function(name, mangled, at.take()));
        at = names.called_at;
    }
    // The outermost is the linker's function, of which it knows the path.
    if let Some(symbol) = symbol {
        match functions.last_mut() {
            Some(outermost) => (outermost.name, outermost.mangled) = (path(&symbol), symbol),
            None => functions.push(function(path(&symbol), symbol, at)),
        }
    }
    functions.retain(|function| !function.name.is_empty());
    let lacks = match (functions.is_empty(), has_unit) {
        _ if lacks.is_some() => lacks,
        (true, _) if !has_symbols => Some(Lack::Symbols),
        (_, false) => Some(Lack::Lines),
        _ => None,
    };
    CodePlace {
        functions,
        lacks,
        in_program: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_zero_is_none() {
        let kept = Kept::default();
        let at = |line| {
            let source = kept.source(Source::new("made.rs".into(), None));
            let found = Found {
                row: Some((source, line)),
                has_unit: true,
                ..Found::default()
            };
            let place = place(found, Some("made_up".into()), true, &kept);
            (place.functions[0].line, place.lacks)
        };
        // What a compiler makes of its own has none.
        assert_eq!(at(0), (None, None));
        assert_eq!(at(1), (Some(1), None));
    }
}
