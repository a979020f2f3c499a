//! The file that this program is mapped from, exchanged while it runs.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use crate::error::{Result, SyscallError, SyscallResult};

#[cfg(target_pointer_width = "32")]
use libc::{Elf32_Ehdr as Header, Elf32_Phdr as ProgramHeader};
#[cfg(target_pointer_width = "64")]
use libc::{Elf64_Ehdr as Header, Elf64_Phdr as ProgramHeader};

/// elf(5): `p_flags`.
const EXECUTABLE: u32 = 1;
const WRITABLE: u32 = 2;

/// What of the program is a file, mapped (elf(5), `PT_LOAD`).
struct Segment {
    /// Addresses, whole pages.
    range: Range<usize>,
    /// Where in the file they begin.
    offset: i64,
    flags: u32,
}

/// The numbers of `PR_SET_MM(2const)`; musl's binding has no second one.
const SET_EXE_FILE: libc::c_ulong = libc::PR_SET_MM_EXE_FILE as libc::c_ulong;
const SET_MAP: libc::c_ulong = 14;

/// `struct prctl_mm_map` of linux/prctl.h: where the parts of a process are, and its file.
#[repr(C)]
struct Layout {
    /// start_code, end_code, start_data, end_data, start_brk, brk, start_stack, arg_start, arg_end,
    /// env_start, env_end.
    addresses: [u64; 11],
    /// Left as it is by a length of 0.
    auxiliary_vector: u64,
    auxiliary_length: u32,
    file: u32,
}

/// Lets this process be mapped from `file` instead of the one it was executed from, so that
/// `/proc/PID/exe` and `/proc/PID/map_files` lead there (`PR_SET_MM(2const)`).
///
/// `file` must be the very same file, seen through another mount; it is for a process of one thread.
/// Before an error something may have been mapped anew, which changes nothing for the process.
/// `EPERM` with neither `CAP_SYS_RESOURCE` nor, on a kernel that restores checkpoints, `CAP_SYS_ADMIN`;
/// `ENOEXEC` where the program is not mapped as its linker laid it out; `EBUSY` where something else of it is
/// mapped.
pub fn move_onto(file: &File) -> Result<()> {
    let fd = file.as_raw_fd();
    let headers = Headers::find()?;
    for segment in headers.segments() {
        match segment.flags & WRITABLE {
            0 => map_anew(&segment, fd)?,
            _ => make_anonymous(&segment)?,
        }
    }
    for range in headers.read_only_after_start() {
        forbid_writing(&range)?;
    }
    match set_memory_map(SET_EXE_FILE, fd as libc::c_ulong, 0) {
        // The other way to say the same asks for another capability.
        Err(Errno::EPERM) => {
            let layout = layout(fd)?;
            let (place, size) = (&raw const layout as libc::c_ulong, size_of::<Layout>());
            set_memory_map(SET_MAP, place, size as libc::c_ulong)
                .call(|| format!("prctl(PR_SET_MM, PR_SET_MM_MAP, {{exe_fd={fd}}})"))
        }
        set => set.call(|| format!("prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, {fd})")),
    }
}

fn set_memory_map(
    what: libc::c_ulong,
    value: libc::c_ulong,
    size: libc::c_ulong,
) -> nix::Result<()> {
    let none: libc::c_ulong = 0;
    // SAFETY: the kernel reads a number of a descriptor, or a structure of `size` bytes that the caller
    // holds, and changes no memory of this process.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_MM, what, value, size, none) }).map(drop)
}

/// What this process looks like, but for its file: fields of `/proc/self/stat` (proc_pid_stat(5)).
fn layout(fd: RawFd) -> Result<Layout> {
    const PATH: &str = "/proc/self/stat";
    let file = openat(
        AT_FDCWD,
        PATH,
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .call(|| format!("open({PATH:?})"))?;
    // Longer than any; the kernel writes it in one piece.
    let mut text = [0; 2048];
    let length = nix::unistd::read(&file, &mut text).call(|| format!("read({PATH:?})"))?;
    let text = String::from_utf8_lossy(&text[..length]);
    let strange = || SyscallError::new(format!("read({PATH:?})"), Errno::ENOEXEC);
    // A name may have anything in it, parentheses too. What follows the last one is the third field.
    let (_, rest) = text.rsplit_once(") ").ok_or_else(strange)?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| {
        let text = fields.get(number - 3)?;
        text.parse::<u64>().ok()
    };
    // SAFETY: a brk(2) that asks for nothing tells where the heap ends.
    let end_of_heap = unsafe { libc::syscall(libc::SYS_brk, 0) } as u64;
    let addresses = || {
        let (code, code_end, stack) = (field(26)?, field(27)?, field(28)?);
        let (data, data_end, heap) = (field(45)?, field(46)?, field(47)?);
        let (args, args_end) = (field(48)?, field(49)?);
        let (environ, environ_end) = (field(50)?, field(51)?);
        Some([
            code,
            code_end,
            data,
            data_end,
            heap,
            end_of_heap,
            stack,
            args,
            args_end,
            environ,
            environ_end,
        ])
    };
    Ok(Layout {
        addresses: addresses().ok_or_else(strange)?,
        auxiliary_vector: 0,
        auxiliary_length: 0,
        file: fd as u32,
    })
}

fn page_size() -> usize {
    // SAFETY: sysconf(3) only answers.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// The program's headers, and how far from where they say it was mapped.
struct Headers {
    all: &'static [ProgramHeader],
    moved: usize,
    page: usize,
}

impl Headers {
    /// As they are in memory (`AT_PHDR` of getauxval(3)).
    fn find() -> Result<Self> {
        let strange = || SyscallError::new("getauxval(AT_PHDR)", Errno::ENOEXEC);
        let page = page_size();
        // SAFETY: getauxval(3) only answers.
        let (first, count) = unsafe {
            (
                libc::getauxval(libc::AT_PHDR) as usize,
                libc::getauxval(libc::AT_PHNUM) as usize,
            )
        };
        // Usually right behind the file's own header, with which the first page begins.
        let base = first.wrapping_sub(size_of::<Header>());
        if first == 0 || base % page != 0 || count == 0 {
            return Err(strange());
        }
        // SAFETY: the kernel says that `count` headers are there, which nobody changes.
        let all = unsafe { std::slice::from_raw_parts(first as *const ProgramHeader, count) };
        let mut loaded = all.iter().filter(|header| header.p_type == libc::PT_LOAD);
        let start = loaded.find(|header| header.p_offset == 0);
        let moved = base.wrapping_sub(start.ok_or_else(strange)?.p_vaddr as usize);
        Ok(Self { all, moved, page })
    }

    fn of(&self, kind: u32) -> impl Iterator<Item = &ProgramHeader> {
        self.all.iter().filter(move |header| header.p_type == kind)
    }

    fn start(&self, header: &ProgramHeader) -> usize {
        self.moved.wrapping_add(header.p_vaddr as usize)
    }

    /// What is mapped from the file.
    fn segments(&self) -> Vec<Segment> {
        let segment = |header: &ProgramHeader| {
            let start = self.start(header);
            let end = start + header.p_filesz as usize;
            let before = start % self.page;
            Segment {
                range: start - before..end.next_multiple_of(self.page),
                offset: header.p_offset as i64 - before as i64,
                flags: header.p_flags,
            }
        };
        let segments = self.of(libc::PT_LOAD).map(segment);
        segments
            .filter(|segment| !segment.range.is_empty())
            .collect()
    }

    /// What nobody writes once a program runs (`PT_GNU_RELRO`), in whole pages.
    fn read_only_after_start(&self) -> impl Iterator<Item = Range<usize>> {
        let pages = |header: &ProgramHeader| {
            let start = self.start(header);
            let end = start + header.p_memsz as usize;
            start - start % self.page..end - end % self.page
        };
        let ranges = self.of(libc::PT_GNU_RELRO).map(pages);
        ranges.filter(|range| !range.is_empty())
    }
}

/// Puts the same bytes of the same file in the place of what nobody may have changed.
fn map_anew(segment: &Segment, fd: RawFd) -> Result<()> {
    let Segment {
        range,
        offset,
        flags,
    } = segment;
    let protection = match flags & EXECUTABLE {
        0 => libc::PROT_READ,
        _ => libc::PROT_READ | libc::PROT_EXEC,
    };
    let how = libc::MAP_PRIVATE | libc::MAP_FIXED;
    let place = range.start as *mut libc::c_void;
    // SAFETY: what was there is what will be there, down to the page of the cache: the same part of
    // the same file, mapped in the same way, which as the text of a running program is kept from writers.
    let mapped = unsafe { libc::mmap(place, range.len(), protection, how, fd, *offset) };
    answer(mapped).call(|| {
        format!(
            "mmap({place:?}, {}, MAP_FIXED, {fd}, {offset:#x})",
            range.len()
        )
    })
}

/// Moves what may have been changed to memory of no file.
fn make_anonymous(segment: &Segment) -> Result<()> {
    let length = segment.range.len();
    let place = segment.range.start as *mut libc::c_void;
    let (protection, how) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: new memory at a place of the kernel's choice.
    let copy = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, how, -1, 0) };
    answer(copy).call(|| format!("mmap({length}, MAP_ANONYMOUS)"))?;
    let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: both are `length` bytes, the source is mapped for reading. One thread and no signal handler:
    // nothing is written to the source between the copy and the exchange, which is one step for
    // this process; and from then on all is as it was.
    let moved = unsafe {
        std::ptr::copy_nonoverlapping(place.cast::<u8>(), copy.cast::<u8>(), length);
        libc::mremap(copy, length, length, how, place)
    };
    answer(moved).call(|| format!("mremap({copy:?}, {length}, MREMAP_FIXED, {place:?})"))
}

/// As glibc's start leaves it; musl's does so for what is position independent only.
fn forbid_writing(range: &Range<usize>) -> Result<()> {
    let place = range.start as *mut libc::c_void;
    // SAFETY: the linker has put there what nobody writes after the start of the program.
    let result = unsafe { libc::mprotect(place, range.len(), libc::PROT_READ) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("mprotect({place:?}, {}, PROT_READ)", range.len()))
}

fn answer(mapped: *mut libc::c_void) -> nix::Result<()> {
    match mapped {
        libc::MAP_FAILED => Err(Errno::last()),
        _ => Ok(()),
    }
}
