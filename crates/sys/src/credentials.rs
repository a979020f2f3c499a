//! Users, groups and capabilities of the calling process (credentials(7), capabilities(7)).
//!
//! The calls are the kernel's own, for this one thread: glibc's wrappers would broadcast them to
//! other threads, of which there are none.

use nix::errno::Errno;

use crate::error::{Result, SyscallError, SyscallResult};

/// A set of capabilities: bit n is capability number n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSet(pub u64);

impl CapSet {
    /// Whether capability `number` is in the set.
    pub fn contains(self, number: u32) -> bool {
        self.0 >> number & 1 == 1
    }

    /// The numbers in the set, ascending.
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        (0..64).filter(move |&number| self.contains(number))
    }
}

/// Permitted, effective and inheritable set, as capset(2) sets them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessCaps {
    /// What may be used.
    pub effective: CapSet,
    /// What may be made effective.
    pub permitted: CapSet,
    /// What may be kept through execve of a file that has it inheritable.
    pub inheritable: CapSet,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapWords {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Sets the three sets of the calling process.
pub fn capset(caps: ProcessCaps) -> Result<()> {
    let words = |shift: u32| CapWords {
        effective: (caps.effective.0 >> shift) as u32,
        permitted: (caps.permitted.0 >> shift) as u32,
        inheritable: (caps.inheritable.0 >> shift) as u32,
    };
    let mut header = CapHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let data = [words(0), words(32)];
    // SAFETY: version 3 reads one header and two data words, which live past the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("capset({caps:x?})"))
}

/// The three sets of the calling process.
pub fn capget() -> Result<ProcessCaps> {
    let mut header = CapHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let mut data = [CapWords::default(); 2];
    // SAFETY: version 3 reads one header and writes two data words, which live past the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    Errno::result(result).call(|| "capget()".to_owned())?;
    let [low, high] = data;
    let set = |of: fn(&CapWords) -> u32| CapSet(u64::from(of(&high)) << 32 | u64::from(of(&low)));
    Ok(ProcessCaps {
        effective: set(|words| words.effective),
        permitted: set(|words| words.permitted),
        inheritable: set(|words| words.inheritable),
    })
}

/// The highest capability number that this kernel knows.
pub fn last_cap() -> Result<u32> {
    last_known(|number| prctl(libc::PR_CAPBSET_READ, number, 0))
}

fn last_known(read: impl Fn(u64) -> nix::Result<()>) -> Result<u32> {
    // PR_CAPBSET_READ answers EINVAL beyond the last one; bisecting 64 needs six calls.
    let (mut known, mut unknown) = (0, 64);
    while unknown - known > 1 {
        let middle = (known + unknown) / 2;
        match read(middle) {
            Ok(()) => known = middle,
            Err(Errno::EINVAL) => unknown = middle,
            // A sandbox's refusal says nothing of the kernel: those above would be kept.
            Err(errno) => {
                let call = format!("prctl(PR_CAPBSET_READ, {middle})");
                return Err(SyscallError::new(call, errno));
            }
        }
    }
    Ok(known as u32)
}

/// Takes every capability up to [`last_cap`] that is not in `keep` out of the bounding set.
pub fn limit_bounding_set(keep: CapSet) -> Result<()> {
    for number in (0..=last_cap()?).filter(|&number| !keep.contains(number)) {
        prctl(libc::PR_CAPBSET_DROP, number.into(), 0)
            .call(|| format!("prctl(PR_CAPBSET_DROP, {number})"))?;
    }
    Ok(())
}

/// Empties the ambient set.
pub fn clear_ambient() -> Result<()> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as u64,
        0,
    )
    .call(|| "prctl(PR_CAP_AMBIENT, CLEAR_ALL)".into())
}

/// Raises one ambient capability; `EPERM` unless it is permitted and inheritable.
pub fn raise_ambient(number: u32) -> Result<()> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_RAISE as u64,
        number.into(),
    )
    .call(|| format!("prctl(PR_CAP_AMBIENT, RAISE, {number})"))
}

/// Keeps the permitted set through a change of user id until the next execve.
pub fn keep_capabilities(keep: bool) -> Result<()> {
    nix::sys::prctl::set_keepcaps(keep).call(|| format!("prctl(PR_SET_KEEPCAPS, {keep})"))
}

fn prctl(option: libc::c_int, second: u64, third: u64) -> nix::Result<()> {
    // SAFETY: the options used here take integers only.
    Errno::result(unsafe { libc::prctl(option, second, third, 0, 0) }).map(drop)
}

/// Sets the supplementary groups.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the slice lives past the call and has the length given.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("setgroups({groups:?})"))
}

/// Refuses the id that setresuid(2) takes for "leave it as it is".
fn meant(id: u32, call: &str) -> Result<()> {
    if id == u32::MAX {
        return Err(SyscallError::new(
            format!("{call}({id}, {id}, {id})"),
            Errno::EINVAL,
        ));
    }
    Ok(())
}

/// Sets real, effective and saved group id; `EINVAL` for the highest number, which is none.
pub fn set_gid(gid: u32) -> Result<()> {
    meant(gid, "setresgid")?;
    // SAFETY: only integers are passed.
    let result = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("setresgid({gid}, {gid}, {gid})"))
}

/// Sets real, effective and saved user id; `EINVAL` for the highest number, which is none.
pub fn set_uid(uid: u32) -> Result<()> {
    meant(uid, "setresuid")?;
    // SAFETY: only integers are passed.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("setresuid({uid}, {uid}, {uid})"))
}

/// Joins the session keyring called `name`, a new one unless the caller's user has one of that
/// name already (keyctl(2)); a kernel without keys is no error.
///
/// The possessor may search it, others as `add` says, so that the container can use what it puts
/// there and cannot see the caller's.
pub fn join_session_keyring(name: &std::ffi::CStr, add: u32) -> Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    const SETPERM: libc::c_int = 5;
    const DESCRIBE: libc::c_int = 6;
    // SAFETY: `name` is NUL-terminated.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) };
    let ring = match Errno::result(result) {
        Err(Errno::ENOSYS) => return Ok(()),
        other => other.call(|| format!("keyctl(JOIN_SESSION_KEYRING, {name:?})"))?,
    };
    let mut text = [0u8; 512];
    // SAFETY: the buffer lives past the call and has the length given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            DESCRIBE,
            ring,
            text.as_mut_ptr(),
            text.len(),
        )
    };
    Errno::result(result).call(|| format!("keyctl(DESCRIBE, {ring})"))?;
    // "keyring;uid;gid;perm;description", perm in hexadecimal.
    let described = String::from_utf8_lossy(&text);
    let permissions = described
        .split(';')
        .nth(3)
        .and_then(|p| u32::from_str_radix(p, 16).ok());
    let permissions = permissions
        .ok_or_else(|| SyscallError::new(format!("keyctl(DESCRIBE, {ring})"), Errno::EPROTO))?;
    if permissions | add == permissions {
        return Ok(());
    }
    // SAFETY: only integers are passed.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, ring, permissions | add) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("keyctl(SETPERM, {ring}, {permissions:#x})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_einval_ends_the_capabilities() {
        let kernel = |number| {
            if number <= 40 {
                Ok(())
            } else {
                Err(Errno::EINVAL)
            }
        };
        assert_eq!(last_known(kernel).unwrap(), 40);
        let sandbox = |number| {
            if number <= 20 {
                Ok(())
            } else {
                Err(Errno::EPERM)
            }
        };
        assert_eq!(last_known(sandbox).unwrap_err().errno(), Errno::EPERM);
    }
}
