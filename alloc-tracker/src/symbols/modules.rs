//! The executable and the libraries that the process has mapped, so that addresses can be looked up
//! elsewhere.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(super) use elf::build_id;

/// A part of a mapped file that holds code.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// What the loader has added to the addresses in the file.
    pub(crate) base: u64,
    /// Where `start` is in the file.
    #[cfg_attr(not(feature = "profile"), allow(dead_code))] // of the pprof format
    pub(crate) offset: u64,
    /// It is the program itself.
    pub(crate) is_program: bool,
    pub(crate) file: String,
    /// In hexadecimal digits; empty if the file has none.
    pub(crate) build_id: String,
}

/// What is mapped now, in the order of addresses.
pub(crate) fn mapped() -> Vec<Module> {
    let mut modules = elf::mapped();
    modules.sort_by_key(|module| module.start);
    modules
}

/// The number of the module that an address is in.
pub(crate) fn index_of(modules: &[Module], address: u64) -> Option<usize> {
    let after = modules.partition_point(|module| module.start <= address);
    let index = after.checked_sub(1)?;
    (address < modules[index].end).then_some(index)
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod elf {
    use super::Module;
    use std::ffi::{CStr, c_int, c_void};
    use std::fmt::Write;

    pub(crate) fn mapped() -> Vec<Module> {
        let mut modules: Vec<Module> = Vec::new();
        // SAFETY: `each` has the right signature and takes the address of such a vector, which
        // outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut modules).cast()) };
        modules
    }

    /// NOTE: called by the C library, so it must not unwind: it does nothing that panics but for
    /// allocating, whose failure aborts.
    unsafe extern "C" fn each(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        modules: *mut c_void,
    ) -> c_int {
        // SAFETY: `mapped` hands over its vector, which nobody else uses meanwhile.
        let modules = unsafe { &mut *modules.cast::<Vec<Module>>() };
        // SAFETY: the loader's description of a file that stays mapped during the call.
        let info = unsafe { &*info };
        if info.dlpi_phdr.is_null() {
            return 0;
        }
        // SAFETY: the loader says that there are this many.
        let segments =
            unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let base = info.dlpi_addr;
        let mut notes = segments.iter().filter(|s| s.p_type == libc::PT_NOTE);
        let build_id = notes.find_map(|segment| {
            let start = base.wrapping_add(segment.p_vaddr) as *const u8;
            // SAFETY: a note segment is mapped for reading, with this length.
            build_id(unsafe { std::slice::from_raw_parts(start, segment.p_memsz as usize) })
        });
        let file = if info.dlpi_name.is_null() {
            String::new()
        } else {
            // SAFETY: the loader's text, which ends with a zero.
            let name = unsafe { CStr::from_ptr(info.dlpi_name) };
            name.to_string_lossy().into_owned()
        };
        // The loader's list begins with it.
        let is_program = modules.is_empty();
        let file = match is_program {
            // Its name here is none, or one that a link led to.
            true => std::env::current_exe()
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default(),
            false => file,
        };
        let is_code =
            |s: &&libc::Elf64_Phdr| s.p_type == libc::PT_LOAD && s.p_flags & libc::PF_X != 0;
        for segment in segments.iter().filter(is_code) {
            let start = base.wrapping_add(segment.p_vaddr);
            modules.push(Module {
                start,
                end: start.wrapping_add(segment.p_memsz),
                base,
                is_program,
                offset: segment.p_offset,
                file: file.clone(),
                build_id: build_id.clone().unwrap_or_default(),
            });
        }
        0
    }

    /// The build id among the notes of a segment.
    pub(crate) fn build_id(mut notes: &[u8]) -> Option<String> {
        const BUILD_ID: u32 = 3;
        loop {
            let (header, rest) = notes.split_at_checked(12)?;
            let word = |at: usize| {
                let bytes = header.get(at..at + 4)?.try_into().ok()?;
                Some(u32::from_ne_bytes(bytes))
            };
            let padded = |len: u32| (len as usize).next_multiple_of(4);
            let (name_len, len, kind) = (word(0)?, word(4)?, word(8)?);
            let (name, rest) = rest.split_at_checked(padded(name_len))?;
            let description = rest.get(..len as usize)?;
            if kind == BUILD_ID && name.starts_with(b"GNU\0") {
                let mut id = String::new();
                for byte in description {
                    // Writing to a string cannot fail.
                    let _ = write!(id, "{byte:02x}");
                }
                return Some(id);
            }
            notes = rest.get(padded(len)..)?;
        }
    }

    #[cfg(test)]
    mod tests {
        use super::build_id;

        #[test]
        fn a_build_id_is_found_among_other_notes() {
            let note = |name: &[u8], kind: u32, text: &[u8]| {
                let mut note = Vec::new();
                note.extend((name.len() as u32).to_ne_bytes());
                note.extend((text.len() as u32).to_ne_bytes());
                note.extend(kind.to_ne_bytes());
                note.extend(name);
                note.resize(note.len().next_multiple_of(4), 0);
                note.extend(text);
                note.resize(note.len().next_multiple_of(4), 0);
                note
            };
            let other = note(b"stapsdt\0", 3, b"12345");
            let ours = note(b"GNU\0", 3, &[0xab, 0x01, 0x02]);
            assert_eq!(
                build_id(&[other.clone(), ours.clone()].concat()).as_deref(),
                Some("ab0102")
            );
            assert_eq!(build_id(&other), None);
            for len in 0..ours.len() - 1 {
                assert_eq!(build_id(&ours[..len]), None, "cut at {len}");
            }
        }
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
mod elf {
    pub(crate) fn mapped() -> Vec<super::Module> {
        Vec::new()
    }
}
