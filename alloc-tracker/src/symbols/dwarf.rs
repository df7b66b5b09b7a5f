//! Debug information, read once from its begin to its end: of a unit that has none of the addresses, no
//! more than its ranges; of another one its functions and its lines, of which nothing is kept but what
//! was asked for.

use super::file::{Binary, Reader, Windows};
use super::lines::{Files, path};
use super::{Kept, Lack, Source};
use gimli::{
    AbbreviationsCacheStrategy, Attribute, AttributeValue, DW_AT_abstract_origin, DW_AT_call_file,
    DW_AT_call_line, DW_AT_high_pc, DW_AT_language, DW_AT_linkage_name, DW_AT_low_pc, DW_AT_name,
    DW_AT_ranges, DW_AT_specification, DW_LANG_Rust, DW_TAG_inlined_subroutine, DW_TAG_subprogram,
    DebugInfoOffset, Dwarf, DwarfPackage, Range, SectionId, UnitOffset,
};
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

pub(super) type Unit = gimli::Unit<Reader>;
type Value = AttributeValue<Reader>;

/// What was found of an address.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The outermost first.
    pub(super) functions: Vec<Names>,
    /// The line of the innermost.
    pub(super) row: Option<(Arc<Source>, u32)>,
    /// There is debug information of it.
    pub(super) has_unit: bool,
    /// Whether rustc compiled it, as far as that is said.
    pub(super) is_rust: Option<bool>,
    /// The functions are in another file, which is not there or cannot be read.
    pub(super) lacks: Option<Lack>,
    /// Where they were compiled, then.
    pub(super) compiled_in: Option<Arc<Source>>,
}

/// A function at an address.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) mangled: Option<Arc<str>>,
    pub(super) name: Option<Arc<str>>,
    /// Where the function around it calls it, if it was inlined.
    pub(super) called_at: Option<(Arc<Source>, u32)>,
}

/// A file's debug information.
pub(super) struct Program<'a> {
    dwarf: Dwarf<Reader>,
    packed: Option<DwarfPackage<Reader>>,
    windows: &'a Rc<Windows>,
    kept: &'a Kept,
    /// Where units begin.
    units: Vec<DebugInfoOffset>,
}

impl<'a> Program<'a> {
    pub(super) fn new(
        binary: &Binary,
        packed: Option<&Binary>,
        windows: &'a Rc<Windows>,
        kept: &'a Kept,
    ) -> gimli::Result<Self> {
        let section = |id| Ok::<_, gimli::Error>(binary.section(id, false));
        let mut dwarf = Dwarf::load(section)?;
        dwarf.populate_abbreviations_cache(AbbreviationsCacheStrategy::Duplicates);
        let packed = packed.and_then(|packed| {
            let section = |id: SectionId| Ok::<_, gimli::Error>(packed.section(id, true));
            DwarfPackage::load(section, Reader::default()).ok()
        });
        let mut units = Vec::new();
        let mut headers = dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            units.extend(header.offset().as_debug_info_offset());
        }
        Ok(Program {
            dwarf,
            packed,
            windows,
            kept,
            units,
        })
    }

    /// The unit that an offset lies in, and the offset there.
    fn unit_at(&self, offset: DebugInfoOffset) -> gimli::Result<(Unit, UnitOffset)> {
        let after = self.units.partition_point(|unit| unit.0 <= offset.0);
        let start = after.checked_sub(1).map(|index| self.units[index]);
        let start = start.ok_or(gimli::Error::MissingUnitDie)?;
        let unit = self
            .dwarf
            .unit(self.dwarf.debug_info.header_from_offset(start)?)?;
        let offset = offset.to_unit_offset(&unit.header);
        Ok((unit, offset.ok_or(gimli::Error::MissingUnitDie)?))
    }

    /// Finds sorted addresses.
    pub(super) fn search(&self, addresses: &[u64], found: &mut [Found]) {
        let without = self.units_without(addresses);
        for &start in self.units.iter().filter(|unit| !without.contains(unit)) {
            let header = self.dwarf.debug_info.header_from_offset(start);
            let Ok(unit) = header.and_then(|header| self.dwarf.unit(header)) else {
                continue;
            };
            let Ok(mut ranges) = self.dwarf.unit_ranges(&unit) else {
                continue;
            };
            let mut here = Vec::new();
            while let Ok(Some(range)) = ranges.next() {
                here.extend(inside(range, addresses));
            }
            // Those that another unit has, too, were merged by the linker: the first will do.
            here.retain(|&index| !found[index].has_unit);
            if here.is_empty() {
                continue;
            }
            here.sort_unstable();
            here.dedup();
            let wanted: Vec<u64> = here.iter().map(|&index| addresses[index]).collect();
            let mut found_here: Vec<Found> = Vec::new();
            found_here.resize_with(here.len(), Found::default);
            // Of a unit that cannot be read to its end, there is what was read.
            let _ = self.search_unit(&unit, &wanted, &mut found_here);
            for (index, result) in here.into_iter().zip(found_here) {
                found[index] = result;
            }
        }
    }

    /// Units that have none of the addresses, as a table says that the compiler makes of all units' ranges.
    fn units_without(&self, addresses: &[u64]) -> HashSet<DebugInfoOffset> {
        let mut without = HashSet::new();
        let mut with = HashSet::new();
        let mut headers = self.dwarf.debug_aranges.headers();
        while let Ok(Some(header)) = headers.next() {
            let mut entries = header.entries();
            let mut has = false;
            while let Ok(Some(entry)) = entries.next() {
                has |= !inside(entry.range(), addresses).is_empty();
            }
            let units = if has { &mut with } else { &mut without };
            units.insert(header.debug_info_offset());
        }
        without.retain(|unit| !with.contains(unit));
        without
    }

    fn search_unit(
        &self,
        unit: &Unit,
        addresses: &[u64],
        found: &mut [Found],
    ) -> gimli::Result<()> {
        let language = is_rust(unit);
        for found in &mut *found {
            (found.has_unit, found.is_rust) = (true, language);
        }
        let files = Files {
            dwarf: &self.dwarf,
            unit,
            kept: self.kept,
            sources: RefCell::default(),
        };
        files.rows(addresses, found)?;
        let Some(name) = unit.dwo_name()? else {
            return functions(Some(self), &self.dwarf, unit, &files, addresses, found);
        };
        let name = self.dwarf.attr_string(unit, name)?;
        // What is left here does not say the language; the name that rustc gives does.
        let is_rustcs = name.bytes().is_ok_and(|name| name.ends_with(b".rcgu.dwo"));
        let language = language.or(is_rustcs.then_some(true));
        let directory = unit.comp_dir.clone().and_then(path).unwrap_or_default();
        let lacks = self.split_functions(unit, name, &files, addresses, found);
        let lacks = lacks.unwrap_or(Some(Lack::File));
        for found in found.iter_mut().filter(|_| lacks.is_some()) {
            // A part of them would name somebody else's line.
            found.functions.clear();
            found.lacks = lacks;
            found.is_rust = language;
            let folder = Source::new(directory.clone(), None);
            found.compiled_in = Some(self.kept.source(folder));
        }
        Ok(())
    }

    /// The functions of a unit that lie in another file, or why there are none.
    fn split_functions(
        &self,
        skeleton: &Unit,
        name: Reader,
        files: &Files<'_>,
        addresses: &[u64],
        found: &mut [Found],
    ) -> gimli::Result<Option<Lack>> {
        let Some(id) = skeleton.dwo_id else {
            return Ok(Some(Lack::Split));
        };
        let packed = match &self.packed {
            Some(packed) => packed.find_cu(id, &self.dwarf)?,
            None => None,
        };
        if let Some(dwarf) = packed {
            return functions_of_split(&dwarf, skeleton, files, addresses, found);
        }
        let directory = skeleton.comp_dir.clone().and_then(path).unwrap_or_default();
        let file = path(name).map(|name| directory.join(name));
        let Some(split) = file.and_then(|file| Binary::open(&file, self.windows)) else {
            return Ok(Some(Lack::Split));
        };
        if split.is_unreadable() {
            return Ok(Some(Lack::Compressed));
        }
        let mut dwarf = Dwarf::load(|id| Ok::<_, gimli::Error>(split.section(id, true)))?;
        dwarf.make_dwo(&self.dwarf);
        let lacks = functions_of_split(&dwarf, skeleton, files, addresses, found)?;
        let changed = (!split.is_unchanged()).then_some(Lack::File);
        Ok(lacks.or(changed))
    }
}

fn functions_of_split(
    dwarf: &Dwarf<Reader>,
    skeleton: &Unit,
    files: &Files<'_>,
    addresses: &[u64],
    found: &mut [Found],
) -> gimli::Result<Option<Lack>> {
    let Some(header) = dwarf.units().next()? else {
        return Ok(Some(Lack::Split));
    };
    let mut unit = dwarf.unit(header)?;
    if unit.dwo_id != skeleton.dwo_id {
        return Ok(Some(Lack::Split));
    }
    unit.copy_relocated_attributes(skeleton);
    let language = is_rust(&unit);
    found.iter_mut().for_each(|found| found.is_rust = language);
    functions(None, dwarf, &unit, files, addresses, found)?;
    Ok(None)
}

/// Notes the functions that contain addresses, the outer before the inner ones, as they come.
fn functions(
    program: Option<&Program<'_>>,
    dwarf: &Dwarf<Reader>,
    unit: &Unit,
    files: &Files<'_>,
    addresses: &[u64],
    found: &mut [Found],
) -> gimli::Result<()> {
    let mut entries = unit.entries_raw(None)?;
    let mut attributes = Vec::new();
    let mut here = Vec::new();
    while !entries.is_empty() {
        let Some(abbreviation) = entries.read_abbreviation()? else {
            continue;
        };
        let tag = abbreviation.tag();
        if tag != DW_TAG_subprogram && tag != DW_TAG_inlined_subroutine {
            entries.skip_attributes(abbreviation.attributes())?;
            continue;
        }
        attributes.clear();
        for &attribute in abbreviation.attributes() {
            attributes.push(entries.read_attribute(attribute)?);
        }
        let value = |name| {
            let attribute = attributes.iter().find(|a: &&Attribute<_>| a.name() == name);
            attribute.map(Attribute::value)
        };
        here.clear();
        if let Some(ranges) = value(DW_AT_ranges) {
            if let Some(offset) = dwarf.attr_ranges_offset(unit, ranges)? {
                let mut ranges = dwarf.ranges(unit, offset)?;
                while let Some(range) = ranges.next()? {
                    here.extend(inside(range, addresses));
                }
            }
        } else if let (Some(low), Some(high)) = (value(DW_AT_low_pc), value(DW_AT_high_pc)) {
            if let Some(begin) = dwarf.attr_address(unit, low)? {
                let end = match dwarf.attr_address(unit, high.clone())? {
                    Some(end) => end,
                    None => begin.saturating_add(high.udata_value().unwrap_or(0)),
                };
                here.extend(inside(Range { begin, end }, addresses));
            }
        }
        if here.is_empty() {
            continue;
        }
        let number = |name| value(name).and_then(|value| value.udata_value());
        let called_at = |file: Value| {
            let file = match file {
                AttributeValue::FileIndex(index) => index,
                other => other.udata_value()?,
            };
            let line = number(DW_AT_call_line).unwrap_or(0);
            Some((files.source(file)?, line as u32))
        };
        for &index in &here {
            let mut names = Names {
                called_at: value(DW_AT_call_file).and_then(called_at),
                ..Names::default()
            };
            let wanted = [DW_AT_linkage_name, DW_AT_name];
            let [mangled, name] = wanted.map(value);
            names.add(files.kept, dwarf, unit, mangled, name);
            let origin = value(DW_AT_abstract_origin).or_else(|| value(DW_AT_specification));
            if let Some(origin) = origin {
                // Without a name it is still a function.
                let _ = names.follow(files.kept, program, dwarf, unit, origin, 8);
            }
            found[index].functions.push(names);
        }
    }
    Ok(())
}

impl Names {
    fn add(
        &mut self,
        kept: &Kept,
        dwarf: &Dwarf<Reader>,
        unit: &Unit,
        mangled: Option<Value>,
        name: Option<Value>,
    ) {
        let text = |value: Value| {
            let text = dwarf.attr_string(unit, value).ok()?;
            Some(kept.name(&String::from_utf8_lossy(&text.bytes().ok()?)))
        };
        if self.mangled.is_none() {
            self.mangled = mangled.and_then(text);
        }
        if self.name.is_none() {
            self.name = name.and_then(text);
        }
    }

    /// What the entry says that an entry refers to, and those that it refers to, up to this many.
    fn follow(
        &mut self,
        kept: &Kept,
        program: Option<&Program<'_>>,
        dwarf: &Dwarf<Reader>,
        unit: &Unit,
        entry: Value,
        further: u32,
    ) -> gimli::Result<()> {
        let other;
        let (unit, offset) = match (entry, program) {
            (AttributeValue::UnitRef(offset), _) => (unit, offset),
            (AttributeValue::DebugInfoRef(offset), Some(program)) => {
                other = program.unit_at(offset)?;
                (&other.0, other.1)
            }
            _ => return Ok(()),
        };
        let entry = unit.entry(offset)?;
        let value = |name| entry.attr_value(name).ok().flatten();
        self.add(
            kept,
            dwarf,
            unit,
            value(DW_AT_linkage_name),
            value(DW_AT_name),
        );
        let origin = value(DW_AT_abstract_origin).or_else(|| value(DW_AT_specification));
        match origin {
            Some(origin) if further > 0 && self.mangled.is_none() => {
                self.follow(kept, program, dwarf, unit, origin, further - 1)
            }
            _ => Ok(()),
        }
    }
}

/// Whether rustc made the unit, if it says.
fn is_rust(unit: &Unit) -> Option<bool> {
    let mut entries = unit.entries();
    entries.next_dfs().ok()?;
    match entries.current()?.attr_value(DW_AT_language).ok()?? {
        AttributeValue::Language(language) => Some(language == DW_LANG_Rust),
        _ => None,
    }
}

/// Which of the sorted addresses a range has.
pub(super) fn inside(range: Range, addresses: &[u64]) -> std::ops::Range<usize> {
    // What the linker has left out begins at 0.
    if range.begin == 0 || range.begin >= range.end {
        return 0..0;
    }
    let first = addresses.partition_point(|&address| address < range.begin);
    let end = addresses.partition_point(|&address| address < range.end);
    first..end
}
