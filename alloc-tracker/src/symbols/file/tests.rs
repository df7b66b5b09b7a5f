//! Sections read in any order have the bytes that they have, compressed or not.

use super::Binary;
use super::reader::Reader;
use super::windows::{Section, WINDOW, Windows};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use gimli::Reader as _;
use std::fs::File;
use std::io::Write;
use std::rc::Rc;

/// More windows than are kept, and more than there are marks, and not a whole number.
const LEN: usize = 130 * WINDOW + 12_345;

/// Bytes that compress, and refer to what was far before.
fn bytes() -> Vec<u8> {
    let mut random = 1u32;
    let mut next = |below: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as usize % below
    };
    let mut bytes: Vec<u8> = (0..40_000).map(|_| next(200) as u8).collect();
    while bytes.len() < LEN {
        let from = bytes.len() - 1 - next(32_000);
        let to = bytes.len().min(from + 3 + next(300));
        bytes.extend_from_within(from..to);
        bytes.push(next(256) as u8);
    }
    bytes.truncate(LEN);
    bytes
}

/// A file that is deleted as soon as nobody has it open.
fn file(bytes: &[u8]) -> Rc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Rc::new(file)
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(bytes).unwrap();
    zlib.finish().unwrap()
}

#[test]
fn sections_read_in_any_order_have_their_bytes() {
    let bytes = bytes();
    let packed = packed(&bytes);
    let windows = Windows::new().unwrap();
    // A section begins anywhere in its file.
    let with_header = [b"header..".as_slice(), &packed].concat();
    let packed = Section::new(&windows, &file(&with_header), 0, with_header.len());
    let packed = Rc::new(packed.unpacked(8, LEN).unwrap());
    let plain = Rc::new(Section::new(&windows, &file(&bytes), 0, LEN));
    let mut at = 7;
    for round in 0..400 {
        at = (at * 48_271 + round) % LEN;
        let len = [1, 40, 5_000, 70_000][round % 4].min(LEN - at);
        for section in [&plain, &packed] {
            let mut reader = Reader::new(section).from(at).unwrap();
            reader.truncate(len).unwrap();
            assert!(reader.bytes().unwrap() == bytes[at..at + len], "{at}");
            let zero = reader.find(0).ok();
            assert_eq!(zero, bytes[at..at + len].iter().position(|b| *b == 0));
        }
    }
    assert!(Reader::new(&plain).from(LEN + 1).is_err());
}

#[test]
fn files_that_are_cut_off_or_broken_are_errors() {
    let bytes = bytes();
    let mut packed = packed(&bytes);
    let windows = Windows::new().unwrap();
    let plain = file(&bytes);
    let cut = Rc::new(Section::new(&windows, &plain, 0, LEN));
    plain.set_len(3 * WINDOW as u64).unwrap();
    assert!(Reader::new(&cut).read_u64().is_ok());
    assert!(
        Reader::new(&cut)
            .from(2 * WINDOW)
            .unwrap()
            .read_u64()
            .is_ok()
    );
    assert!(
        Reader::new(&cut)
            .from(3 * WINDOW)
            .unwrap()
            .read_u64()
            .is_err()
    );

    let len = packed.len();
    packed[len / 2..len / 2 + 100].fill(0xff);
    let section = Section::new(&windows, &file(&packed), 0, len);
    let broken = Rc::new(section.unpacked(0, LEN).unwrap());
    assert!(
        Reader::new(&broken)
            .from(LEN - 8)
            .unwrap()
            .read_u64()
            .is_err()
    );
    // What comes before can be read all the same.
    let mut begin = Reader::new(&broken);
    begin.truncate(1000).unwrap();
    assert!(begin.bytes().unwrap() == bytes[..1000]);
}

/// Of one section of symbols, and of nothing else.
fn with_symbols(count: usize) -> Binary {
    use object::elf;
    let symbols = vec![0; count * super::SYMBOL];
    let (header, table): (usize, usize) = (64, 64 + symbols.len());
    let mut file = vec![0; header];
    file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', elf::ELFCLASS64, 1, 1]);
    if cfg!(target_endian = "big") {
        file[5] = 2;
    }
    file[0x28..0x30].copy_from_slice(&(table as u64).to_ne_bytes());
    file[0x3a..0x3c].copy_from_slice(&64u16.to_ne_bytes());
    file[0x3c..0x3e].copy_from_slice(&1u16.to_ne_bytes());
    file.extend(&symbols);
    let mut section = vec![0; 64];
    section[4..8].copy_from_slice(&elf::SHT_SYMTAB.to_ne_bytes());
    section[24..32].copy_from_slice(&(header as u64).to_ne_bytes());
    section[32..40].copy_from_slice(&(symbols.len() as u64).to_ne_bytes());
    file.extend(&section);
    let mut named = tempfile::NamedTempFile::new().unwrap();
    named.write_all(&file).unwrap();
    Binary::open(named.path(), &Windows::new().unwrap()).unwrap()
}

#[test]
fn a_table_with_nothing_but_its_first_entry_has_no_symbols() {
    for (count, has_symbols) in [(0, false), (1, false), (2, true), (9, true)] {
        assert_eq!(with_symbols(count).has_symbols(), has_symbols, "{count}");
    }
}
