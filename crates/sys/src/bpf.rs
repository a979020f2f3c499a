//! bpf(2) for one purpose: the device programs of cgroup v2.
//!
//! What a program says is the caller's business.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::error::{Result, SyscallError, SyscallResult};

/// One instruction of extended BPF: `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Source register in the high half, destination in the low half.
    pub registers: u8,
    /// Jump distance or memory offset.
    pub offset: i16,
    /// The operand.
    pub immediate: i32,
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;

/// The most programs that a cgroup can have (`BPF_CGROUP_MAX_PROGS`).
const MAX_PROGRAMS: usize = 64;

/// `union bpf_attr`, larger than any kernel's.
///
/// Kernels 6.17 to 7.1 write beyond the attribute size that an older caller passes to
/// `BPF_PROG_QUERY` (runc crashed on it); what they write lands in the spare room.
#[repr(C, align(8))]
struct Attribute([u32; 128]);

impl Attribute {
    /// The size that every kernel since 5.6 knows: up to `prog_attach.replace_bpf_fd`.
    const SIZE: usize = 120;

    fn new(words: &[(usize, u32)]) -> Self {
        let mut attribute = Self([0; 128]);
        for (index, word) in words {
            attribute.0[*index] = *word;
        }
        attribute
    }

    /// Stores a pointer at a pair of words (`__aligned_u64`).
    fn set_pointer(&mut self, index: usize, pointer: *const u8) {
        let address = pointer as u64;
        let halves = if cfg!(target_endian = "little") {
            [address as u32, (address >> 32) as u32]
        } else {
            [(address >> 32) as u32, address as u32]
        };
        self.0[index..index + 2].copy_from_slice(&halves);
    }

    fn call(&mut self, command: libc::c_int) -> nix::Result<libc::c_long> {
        // SAFETY: the attribute is larger than `SIZE`, zeroed beyond what was set, and every
        // pointer in it leads to memory that the callers below keep alive during the call.
        Errno::result(unsafe {
            libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), Self::SIZE)
        })
    }
}

/// Loads a device program. `EPERM` without `CAP_SYS_ADMIN` (or `CAP_BPF`).
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd> {
    let license = c"Apache-2.0";
    let length = u32::try_from(program.len()).unwrap_or(u32::MAX);
    let mut attribute = Attribute::new(&[(0, PROG_TYPE_CGROUP_DEVICE), (1, length)]);
    attribute.set_pointer(2, program.as_ptr().cast());
    attribute.set_pointer(4, license.as_ptr().cast());
    let fd = attribute
        .call(PROG_LOAD)
        .call(|| format!("bpf(BPF_PROG_LOAD, CGROUP_DEVICE, [{length} instructions])"))?;
    // SAFETY: the kernel has just made this descriptor for us; a descriptor fits an int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Makes `program` the only device program of the cgroup, with no moment without one.
///
/// A single program there before is replaced in one step (Linux 5.6). If there are several, or
/// the kernel is older, the new one is added before the old ones go: access is never wider than
/// the wider of both. Programs of parent cgroups stay and must allow as well.
pub fn replace_device_program(cgroup: impl AsFd, program: impl AsFd) -> Result<()> {
    let old = attached(&cgroup)?;
    if let [only] = old.as_slice()
        && attach(&cgroup, &program, Some(only)).is_ok()
    {
        return Ok(());
    }
    attach(&cgroup, &program, None)?;
    old.iter().try_for_each(|old| detach(&cgroup, old))
}

fn attach(cgroup: &impl AsFd, program: &impl AsFd, replaced: Option<&OwnedFd>) -> Result<()> {
    let (target, new) = (raw(cgroup), raw(program));
    let flags = F_ALLOW_MULTI | if replaced.is_some() { F_REPLACE } else { 0 };
    let words = [
        (0, target),
        (1, new),
        (2, CGROUP_DEVICE),
        (3, flags),
        (4, replaced.map_or(0, raw)),
    ];
    Attribute::new(&words)
        .call(PROG_ATTACH)
        .map(drop)
        .call(|| format!("bpf(BPF_PROG_ATTACH, CGROUP_DEVICE, cgroup={target}, {flags:#x})"))
}

fn detach(cgroup: &impl AsFd, program: &OwnedFd) -> Result<()> {
    let target = raw(cgroup);
    let words = [(0, target), (1, raw(program)), (2, CGROUP_DEVICE)];
    match Attribute::new(&words).call(PROG_DETACH) {
        Ok(_) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => {
            let call = format!("bpf(BPF_PROG_DETACH, CGROUP_DEVICE, cgroup={target})");
            Err(SyscallError::new(call, errno))
        }
    }
}

/// The device programs attached to this very cgroup.
fn attached(cgroup: &impl AsFd) -> Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; MAX_PROGRAMS];
    let target = raw(cgroup);
    let mut attribute =
        Attribute::new(&[(0, target), (1, CGROUP_DEVICE), (6, MAX_PROGRAMS as u32)]);
    attribute.set_pointer(4, ids.as_mut_ptr().cast_const().cast());
    attribute
        .call(PROG_QUERY)
        .call(|| format!("bpf(BPF_PROG_QUERY, CGROUP_DEVICE, cgroup={target})"))?;
    let count = (attribute.0[6] as usize).min(MAX_PROGRAMS);
    ids[..count].iter().map(|id| program_by_id(*id)).collect()
}

fn program_by_id(id: u32) -> Result<OwnedFd> {
    let fd = Attribute::new(&[(0, id)])
        .call(PROG_GET_FD_BY_ID)
        .call(|| format!("bpf(BPF_PROG_GET_FD_BY_ID, {id})"))?;
    // SAFETY: the kernel has just made this descriptor for us; a descriptor fits an int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// A descriptor as the kernel reads it from the attribute; an open one is never negative.
fn raw(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checker_takes_a_program_that_denies_all() {
        let deny = [
            Instruction {
                code: 0xb7,
                registers: 0,
                offset: 0,
                immediate: 0,
            },
            Instruction {
                code: 0x95,
                registers: 0,
                offset: 0,
                immediate: 0,
            },
        ];
        match load_device_program(&deny) {
            Ok(_) => {}
            Err(error) => eprintln!("SKIP: {error}"),
        }
        assert!(load_device_program(&[]).is_err());
    }
}
