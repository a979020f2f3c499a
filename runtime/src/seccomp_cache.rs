//! Compiled filters, kept by content below the state root: `ROOT/~seccomp/HASH`.
//!
//! A filter decides what a container may do, so a kept one is believed only if nobody but this
//! user can have written it, and only for exactly the profile that it was made of: the file holds
//! all that went into the program, byte for byte, and the hash in its name is no more than a place
//! to look. A file that is anything else is as good as none. docs/decisions/0016 has the figures.
//!
//! ```text
//!   MAGIC | length of key | instructions | flags | notify | checksum of the rest | key | program
//! ```

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oci::LinuxSeccomp;
use sys::Dir;

use crate::seccomp::{Arch, Error, Instruction, Program, compile};

/// Begins with what no id has, so that nobody takes it for a container.
const DIRECTORY: &str = "~seccomp";
const MAGIC: &[u8] = b"davit filter 2\n";
/// How many programs are kept; the oldest goes.
const MAX_FILES: usize = 64;
/// The largest file that is read, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;
/// A profile that names fewer calls is compiled sooner than its program is read.
const WORTHWHILE: usize = 64;
const HEADER: usize = MAGIC.len() + 4 * 4 + 8;

/// Where programs are kept; nowhere by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs(Option<PathBuf>);

impl Programs {
    /// Below the state root at `path`.
    pub fn below(path: &Path) -> Self {
        Self(Some(path.join(DIRECTORY)))
    }

    /// The program of the profile that is written so, if it was kept. One whose listener goes to an
    /// agent is none: the profile says to whom.
    pub fn kept(&self, written: &[u8]) -> Option<Program> {
        let path = self
            .0
            .as_ref()
            .filter(|_| written.len() >= WORTHWHILE * 2)?;
        let key = key(written, &this_build()?);
        read(path, &name(&key), &key).filter(|program| !program.notify)
    }

    /// The program of `profile`, which is kept for when the same is `written` again.
    pub fn compile(
        &self,
        profile: &LinuxSeccomp,
        written: Option<&[u8]>,
    ) -> Result<Program, Error> {
        let program = compile(profile, Arch::NATIVE)?;
        let syscalls = profile.syscalls().iter().flatten();
        let names: usize = syscalls.map(|syscall| syscall.names().len()).sum();
        let path = self
            .0
            .as_ref()
            .filter(|_| names >= WORTHWHILE && !program.notify);
        // Those bytes and nothing else are what the program was made of.
        let alone = |written: &&[u8]| {
            oci::from_slice(written).is_ok_and(|alone: LinuxSeccomp| alone == *profile)
        };
        if let (Some(path), Some(written), Some(build)) =
            (path, written.filter(alone), this_build())
        {
            let key = key(written, &build);
            // Whoever cannot keep it has it all the same.
            let _ = keep(path, &name(&key), &encode(&key, &program));
        }
        Ok(program)
    }
}

/// What tells this executable from an older one, which may have compiled otherwise.
fn this_build() -> Option<String> {
    let own = std::fs::metadata("/proc/self/exe").ok()?;
    let (size, seconds, nanos) = (own.size(), own.mtime(), own.mtime_nsec());
    Some(format!(
        "{} {size} {seconds}.{nanos}",
        env!("CARGO_PKG_VERSION")
    ))
}

/// All that the program depends on. The kernel is not among it: flags that it does not know are
/// its own error when the filter is loaded.
fn key(written: &[u8], build: &str) -> Vec<u8> {
    [build.as_bytes(), Arch::NATIVE.name().as_bytes(), written].join(&b'\n')
}

fn name(key: &[u8]) -> String {
    format!("{:016x}", hash(key))
}

/// In the manner of FNV-1a, eight bytes a step: finds a file and notices a damaged one. Against malice
/// there are owner, mode and key.
fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]);
    // A multiplication carries upwards only; the turn brings it down again.
    words.fold(bytes.len() as u64 ^ 0xcbf2_9ce4_8422_2325, |hash, word| {
        let mixed = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed.rotate_left(29)
    })
}

fn encode(key: &[u8], program: &Program) -> Vec<u8> {
    let mut body = key.to_vec();
    for one in &program.filters {
        body.extend(one.code.to_le_bytes());
        body.extend([one.jt, one.jf]);
        body.extend(one.k.to_le_bytes());
    }
    let numbers = [
        key.len() as u32,
        program.filters.len() as u32,
        program.flags,
        program.notify.into(),
    ];
    let mut text = MAGIC.to_vec();
    numbers
        .iter()
        .for_each(|number| text.extend(number.to_le_bytes()));
    text.extend(hash(&body).to_le_bytes());
    text.extend(body);
    text
}

/// Eight bytes a step: a C library may compare byte by byte.
fn are_same(one: &[u8], other: &[u8]) -> bool {
    let ((words, rest), (others, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let mut pairs = words.iter().zip(others);
    words.len() == others.len()
        && rest == other_rest
        && pairs.all(|(one, other)| u64::from_ne_bytes(*one) == u64::from_ne_bytes(*other))
}

/// The program in `text`, if that is whole and was made of `key`.
fn decode(text: &[u8], key: &[u8]) -> Option<Program> {
    let (header, body) = text.split_at_checked(HEADER)?;
    let numbers = header.strip_prefix(MAGIC)?;
    let number = |index: usize| {
        Some(u32::from_le_bytes(
            numbers.get(index * 4..index * 4 + 4)?.try_into().ok()?,
        ))
    };
    let checksum = u64::from_le_bytes(numbers.get(16..)?.try_into().ok()?);
    let (own_key, code) = body.split_at_checked(number(0)? as usize)?;
    let count = number(1)? as usize;
    if !are_same(own_key, key) || code.len() != count * 8 || count == 0 || hash(body) != checksum {
        return None;
    }
    let instruction = |bytes: &[u8]| Instruction {
        code: u16::from_le_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    Some(Program {
        filters: code.chunks_exact(8).map(instruction).collect(),
        flags: number(2)?,
        notify: number(3)? == 1,
    })
}

fn read(path: &Path, name: &str, key: &[u8]) -> Option<Program> {
    let directory = Dir::open(path).ok()?;
    is_ours(&directory)?;
    let file = directory.open_file(name).ok()?;
    let text = read_ours(file)?;
    decode(&text, key)
}

/// Whether nobody else can put a file into the directory.
fn is_ours(directory: &Dir) -> Option<()> {
    let stat = directory.stat_self().ok()?;
    let own = stat.st_uid == nix::unistd::geteuid().as_raw();
    (own && stat.st_mode & 0o022 == 0).then_some(())
}

/// The contents of a file that nobody else can have written.
fn read_ours(file: File) -> Option<Vec<u8>> {
    let metadata = file.metadata().ok()?;
    let own = metadata.uid() == nix::unistd::geteuid().as_raw();
    let sound =
        own && metadata.is_file() && metadata.mode() & 0o7777 == 0o600 && metadata.nlink() == 1;
    if !sound || metadata.len() > MAX_SIZE {
        return None;
    }
    let mut text = Vec::with_capacity(metadata.len() as usize);
    file.take(MAX_SIZE).read_to_end(&mut text).ok()?;
    Some(text)
}

fn keep(path: &Path, name: &str, text: &[u8]) -> sys::Result<()> {
    let directory = Dir::open_or_create(path, 0o700)?;
    if is_ours(&directory).is_none() {
        return Ok(());
    }
    make_room(&directory)?;
    directory.replace_volatile(name, text, 0o600)
}

/// Removes the oldest until there is room for one more.
fn make_room(directory: &Dir) -> sys::Result<()> {
    let names = directory.names()?;
    if names.len() < MAX_FILES {
        return Ok(());
    }
    let age = |name: &std::ffi::OsString| directory.stat(name).map_or(0, |stat| stat.st_mtime);
    let mut aged: Vec<_> = names.iter().map(|name| (age(name), name)).collect();
    aged.sort();
    for (_, name) in &aged[..=names.len() - MAX_FILES] {
        // Another create may have removed it.
        let _ = directory.remove(name);
    }
    Ok(())
}

/// Whatever a file holds; and a program that was kept is the one that is read.
#[cfg(fuzzing)]
pub fn understand(text: &[u8], program: Option<&Program>) {
    let _ = decode(text, b"");
    let Some(program) = program.filter(|program| !program.filters.is_empty()) else {
        return;
    };
    assert_eq!(decode(&encode(text, program), text).as_ref(), Some(program));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn written(errno: u32) -> String {
        let names: Vec<String> = (0..80)
            .map(|n| format!("call{n}"))
            .chain(["mkdir".into()])
            .collect();
        let rule =
            serde_json::json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno});
        serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}).to_string()
    }

    fn compiled(programs: &Programs, written: &str) -> Program {
        let profile = oci::from_str(written).unwrap();
        programs
            .compile(&profile, Some(written.as_bytes()))
            .unwrap()
    }

    fn only_file(root: &Path) -> PathBuf {
        let mut files = std::fs::read_dir(root.join(DIRECTORY)).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none());
        file
    }

    #[test]
    fn a_kept_program_is_the_compiled_one() {
        let root = tempfile::tempdir().unwrap();
        let programs = Programs::below(root.path());
        let (seven, eight) = (written(7), written(8));
        assert_eq!(programs.kept(seven.as_bytes()), None);
        let first = compiled(&programs, &seven);
        assert_eq!(first, compiled(&Programs::default(), &seven));
        let mode = only_file(root.path()).metadata().unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(programs.kept(seven.as_bytes()), Some(first.clone()));
        assert_eq!(programs.kept(eight.as_bytes()), None);
        assert_ne!(compiled(&programs, &eight), first);
    }

    #[test]
    fn a_program_is_kept_for_the_profile_it_was_made_of_alone() {
        let root = tempfile::tempdir().unwrap();
        let programs = Programs::below(root.path());
        let profile = oci::from_str(&written(7)).unwrap();
        for other in [written(8), format!("{} x", written(7))] {
            programs.compile(&profile, Some(other.as_bytes())).unwrap();
            assert_eq!(programs.kept(other.as_bytes()), None);
        }
        let asking = written(7).replace("SCMP_ACT_ERRNO", "SCMP_ACT_NOTIFY");
        let asking = asking.replace(",\"errnoRet\":7}]", "}],\"listenerPath\":\"/agent\"");
        assert!(compiled(&programs, &asking).notify);
        assert_eq!(programs.kept(asking.as_bytes()), None);
    }

    #[test]
    fn what_somebody_else_may_have_written_is_not_believed() {
        let root = tempfile::tempdir().unwrap();
        let programs = Programs::below(root.path());
        let written = written(7);
        let made = compiled(&programs, &written);
        let file = only_file(root.path());
        let key = key(written.as_bytes(), &this_build().unwrap());
        // A program that would allow everything, told from the real one by nothing but this.
        let forged = Program {
            filters: vec![Instruction {
                code: 6,
                jt: 0,
                jf: 0,
                k: 0x7fff_0000,
            }],
            ..made.clone()
        };
        let put = |text: &[u8], mode: u32| {
            let dir = Dir::open(root.path().join(DIRECTORY)).unwrap();
            dir.replace_volatile(file.file_name().unwrap(), text, 0o600)
                .unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        };
        let answer = || programs.kept(written.as_bytes());
        put(&encode(&key, &forged), 0o600);
        assert_eq!(answer(), Some(forged.clone()), "the file is read at all");
        put(&encode(&key, &forged), 0o620);
        assert_eq!(answer(), None, "writable by others");
        put(&encode(b"another profile", &forged), 0o600);
        assert_eq!(answer(), None, "of another profile");
        let mut torn = encode(&key, &made);
        torn.truncate(torn.len() - 8);
        put(&torn, 0o600);
        assert_eq!(answer(), None, "torn");
        let mut flipped = encode(&key, &made);
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        put(&flipped, 0o600);
        assert_eq!(answer(), None, "damaged");
    }

    /// Not a promise, only the number, beside `compile_time` in `seccomp/tests.rs`.
    #[test]
    #[ignore = "a measurement"]
    fn time_of_a_kept_program() {
        let root = tempfile::tempdir().unwrap();
        let profiles = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/profiles/docker-20.10.json"
        );
        let written = std::fs::read_to_string(profiles).unwrap();
        for programs in [Programs::below(root.path()), Programs::default()] {
            let mut times: Vec<_> = (0..201)
                .map(|_| {
                    let start = std::time::Instant::now();
                    let kept = programs.kept(written.as_bytes());
                    kept.unwrap_or_else(|| compiled(&programs, &written));
                    start.elapsed()
                })
                .collect();
            times.sort_unstable();
            println!(
                "{programs:?}: median {:?}, worst {:?}",
                times[100], times[200]
            );
        }
    }

    #[test]
    fn the_number_of_programs_is_bounded() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..MAX_FILES + 5 {
            keep(root.path(), &number.to_string(), b"x").unwrap();
        }
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), MAX_FILES);
    }
}
