//! The process's own executable files → unwind tables, and names of functions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek};
use std::ops::Range;

use framehop::{ExplicitModuleSectionInfo, Module};
use object::elf::PF_X;
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, ReadCache, ReadRef, SegmentFlags, SymbolKind};

use super::sampler;

/// What the kernel gives every process to run without a system call: an executable that is no file.
const VDSO: &str = "[vdso]";

/// An executable file as it lies in memory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Mapped {
    /// The file's path, as the kernel writes it.
    pub(super) path: String,
    /// Where its code is.
    pub(super) code: Range<u64>,
    /// Where in the file the code begins.
    pub(super) offset: u64,
}

/// The executable files of this process (`/proc/self/maps`), in the order of their addresses.
pub(super) fn mapped() -> io::Result<Vec<Mapped>> {
    Ok(parse(&fs::read_to_string("/proc/self/maps")?))
}

fn parse(maps: &str) -> Vec<Mapped> {
    let mut found: Vec<Mapped> = Vec::new();
    for line in maps.lines() {
        let Some((code, offset, path)) = executable(line) else { continue };
        match found.last_mut().filter(|last| last.path == path) {
            Some(last) => last.code.end = code.end,
            None => found.push(Mapped { path: path.to_owned(), code, offset }),
        }
    }
    found
}

/// What a line of `/proc/self/maps` says of code: its addresses, its place in the file, the file.
fn executable(line: &str) -> Option<(Range<u64>, u64, &str)> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let is_code = words.next()?.contains('x');
    let offset = u64::from_str_radix(words.next()?, 16).ok()?;
    let path = words.nth(2)?.trim_start();
    let range = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
    (is_code && (path.starts_with('/') || path == VDSO)).then_some((range, offset, path))
}

/// Where an executable is read from.
trait Image: Read + Seek {}

impl<T: Read + Seek> Image for T {}

impl Mapped {
    /// What tells how its functions store return addresses; none when the file cannot be read or says nothing.
    pub(super) fn unwind_tables(&self) -> Option<Module<Vec<u8>>> {
        let cache = self.open().ok()?;
        let file = object::File::parse(&cache).ok()?;
        let range = |name: &str| {
            let section = file.section_by_name(name)?;
            Some(section.address()..section.address().checked_add(section.size())?)
        };
        let section = |name: &str| Some((range(name)?, file.section_by_name(name)?.data().ok()?.to_vec()));
        let (frames, index) = (section(".eh_frame").unzip(), section(".eh_frame_hdr").unzip());
        let sections = ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: range(".text"),
            got_svma: range(".got"),
            eh_frame_svma: frames.0,
            eh_frame: frames.1,
            eh_frame_hdr_svma: index.0,
            eh_frame_hdr: index.1,
            ..ExplicitModuleSectionInfo::default()
        };
        Some(Module::new(self.path.clone(), self.code.clone(), self.bias(&file)?, sections))
    }

    /// The functions that `addresses` are in, by address; those without a name are left out.
    pub(super) fn names(&self, addresses: &BTreeSet<u64>) -> BTreeMap<u64, String> {
        let Ok(cache) = self.open() else { return BTreeMap::new() };
        let Ok(file) = object::File::parse(&cache) else { return BTreeMap::new() };
        let Some(bias) = self.bias(&file) else { return BTreeMap::new() };
        let symbols = file.symbols().chain(file.dynamic_symbols());
        let mut functions: Vec<_> = symbols.filter(|symbol| symbol.kind() == SymbolKind::Text).collect();
        functions.sort_by_key(|symbol| (symbol.address(), symbol.size()));
        let name = |address: &u64| {
            let address = address.checked_sub(bias)?;
            let after = functions.partition_point(|symbol| symbol.address() <= address);
            let symbol = functions.get(after.checked_sub(1)?)?;
            // What is written in assembler may have no size.
            let is_in = symbol.size() == 0 || address - symbol.address() < symbol.size();
            let name = symbol.name().ok().filter(|name| is_in && !name.is_empty())?;
            Some(format!("{:#}", rustc_demangle::demangle(name)))
        };
        addresses.range(self.code.clone()).filter_map(|address| Some((*address, name(address)?))).collect()
    }

    fn open(&self) -> io::Result<ReadCache<Box<dyn Image>>> {
        if self.path == VDSO {
            return Ok(ReadCache::new(Box::new(Cursor::new(sampler::memory(self.code.start)))));
        }
        // The program's own file may have been replaced since it was started.
        let own = fs::read_link("/proc/self/exe").is_ok_and(|own| own.as_os_str() == self.path.as_str());
        let file = File::open(if own { "/proc/self/exe" } else { &self.path })?;
        Ok(ReadCache::new(Box::new(file)))
    }

    /// How far from where the file says its code lies.
    fn bias<'a, R: ReadRef<'a>>(&self, file: &object::File<'a, R>) -> Option<u64> {
        let is_code = |flags| matches!(flags, SegmentFlags::Elf { p_flags, .. } if p_flags.contains(PF_X));
        let segment = file.segments().find(|segment| is_code(segment.flags()))?;
        let there = segment.address().checked_sub(segment.file_range().0)?.checked_add(self.offset)?;
        self.code.start.checked_sub(there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_files_is_found_in_the_map_of_memory() {
        let maps = "55f0c0000000-55f0c0100000 r--p 00000000 fe:00 42                         /usr/bin/network agent\n\
                    55f0c0100000-55f0c0900000 r-xp 000ff000 fe:00 42                         /usr/bin/network agent\n\
                    55f0c0900000-55f0c0a00000 rw-p 00000000 00:00 0                          [heap]\n\
                    7f0000000000-7f0000001000 r-xp 00000000 00:00 0 \n\
                    7f0000002000-7f0000003000 r-xp 00001000 fe:00 43                         /lib/libc.so.6 (deleted)\n\
                    7fff00000000-7fff00002000 r-xp 00000000 00:00 0                          [vdso]\n\
                    nonsense\n";
        let code = |path: &str, code, offset| Mapped { path: path.to_owned(), code, offset };
        let wanted = [
            code("/usr/bin/network agent", 0x55f0_c010_0000..0x55f0_c090_0000, 0xff000),
            code("/lib/libc.so.6 (deleted)", 0x7f00_0000_2000..0x7f00_0000_3000, 0x1000),
            code(VDSO, 0x7fff_0000_0000..0x7fff_0000_2000, 0),
        ];
        assert_eq!(parse(maps), wanted);
    }

    #[test]
    fn a_function_of_this_program_is_found_by_an_address_in_it() {
        let address = executable as *const () as u64;
        let all = mapped().unwrap();
        let own = all.iter().find(|mapped| mapped.code.contains(&address)).unwrap();
        let names = own.names(&BTreeSet::from([address, address + 1, 1]));
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names.values().all(|name| name == "network_agent::debugging::modules::executable"), "{names:?}");
        assert!(own.unwind_tables().is_some());
        let kernels = all.iter().find(|mapped| mapped.path == VDSO);
        assert!(kernels.is_none_or(|kernels| kernels.unwind_tables().is_some()), "{kernels:?}");
    }
}
