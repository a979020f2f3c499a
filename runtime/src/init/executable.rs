//! Why a file could not be executed, read from its first bytes: pure.
//!
//! execve(2) says ENOENT for a script whose interpreter is missing and for a program whose
//! dynamic loader is, and ENOEXEC for a program of another processor: the file itself is there,
//! and nobody understands the message.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use crate::fault::{Code, Fault};

/// How much of a file is looked at: more than the kernel reads of a script, and enough for the
/// headers of a program as linkers lay them out.
pub const HEAD: usize = 4096;

/// What the first bytes of a file say.
#[derive(Debug, PartialEq, Eq)]
enum Kind<'a> {
    Empty,
    Script {
        interpreter: &'a Path,
    },
    Elf {
        machine: Machine,
        loader: Option<&'a Path>,
    },
    Other,
}

/// The processor that a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Machine {
    /// `e_machine` (elf(5)).
    number: u16,
    wide: bool,
    little: bool,
}

/// The processors that davit knows by name; those that differ in width or byte order twice.
const MACHINES: [(&str, Machine); 14] = [
    ("x86_64", machine(62, true, true)),
    ("x32", machine(62, false, true)),
    ("i386", machine(3, false, true)),
    ("aarch64", machine(183, true, true)),
    ("arm", machine(40, false, true)),
    ("riscv64", machine(243, true, true)),
    ("riscv32", machine(243, false, true)),
    ("s390x", machine(22, true, false)),
    ("powerpc64le", machine(21, true, true)),
    ("powerpc64", machine(21, true, false)),
    ("loongarch64", machine(258, true, true)),
    ("mips64el", machine(8, true, true)),
    ("mipsel", machine(8, false, true)),
    ("mips", machine(8, false, false)),
];

const fn machine(number: u16, wide: bool, little: bool) -> Machine {
    Machine {
        number,
        wide,
        little,
    }
}

impl Machine {
    fn name(self) -> String {
        let known = MACHINES.iter().find(|(_, machine)| *machine == self);
        known.map_or_else(
            || format!("ELF machine {}", self.number),
            |(name, _)| (*name).to_owned(),
        )
    }
}

/// The fault of an execve of `path` that failed with `errno`; `head` are the first bytes of the
/// file, if it could be read, and `exists` tells what else is in the image.
pub fn explain(
    path: &Path,
    errno: Errno,
    head: Option<&[u8]>,
    exists: impl Fn(&Path) -> bool,
) -> Fault {
    let text = format!("exec {}: {}", path.display(), words(errno));
    let plain = |code| Fault::new(code, text.as_str());
    match (errno, head.map(read)) {
        (Errno::ENOENT, Some(Kind::Script { interpreter })) => script(plain, interpreter),
        (
            Errno::ENOENT,
            Some(Kind::Elf {
                loader: Some(loader),
                ..
            }),
        ) if !exists(loader) => plain(Code::ProgramLoader).hint(format!(
            "the program is there, but its dynamic loader {} is not in the image: add it, or \
                 link the program statically",
            loader.display()
        )),
        (Errno::ENOENT, _) => plain(Code::ProgramNotFound),
        (Errno::ENOEXEC, Some(Kind::Elf { machine, .. })) => {
            plain(Code::ProgramArchitecture).hint(format!(
                "the program is for {}, this host is {}: use an image for this architecture, or \
                 set up binfmt_misc with an emulator",
                machine.name(),
                std::env::consts::ARCH
            ))
        }
        (Errno::ENOEXEC, Some(Kind::Empty)) => plain(Code::ProgramFormat).hint("the file is empty"),
        (Errno::ENOEXEC, _) => plain(Code::ProgramFormat).hint(
            "the file is neither a program nor a script that begins with #! and its interpreter",
        ),
        (Errno::EACCES | Errno::EPERM, Some(Kind::Script { interpreter })) => {
            plain(Code::ProgramDenied).hint(format!(
                "the script, or its interpreter {}, may not be executed by this user",
                interpreter.display()
            ))
        }
        (Errno::EACCES | Errno::EPERM, _) => plain(Code::ProgramDenied),
        (Errno::ENOMEM | Errno::E2BIG, _) => plain(Code::NoMemory).hint(
            "RLIMIT_AS or RLIMIT_STACK leaves the program no room, or its arguments and \
             environment are too long",
        ),
        _ => plain(Code::Failed),
    }
}

fn script(plain: impl Fn(Code) -> Fault, interpreter: &Path) -> Fault {
    let shown = interpreter.display();
    if interpreter.as_os_str().as_bytes().ends_with(b"\r") {
        let name = interpreter.to_string_lossy();
        return plain(Code::ProgramInterpreter).hint(format!(
            "the #! line of the script names {} and a carriage return: save it with Unix line ends",
            name.trim_end()
        ));
    }
    plain(Code::ProgramInterpreter).hint(format!(
        "the script is there, but its interpreter {shown}, or that one's loader, is not in the image"
    ))
}

/// Errnos in the words that runc's callers look for.
pub fn words(errno: Errno) -> String {
    match errno {
        Errno::ENOEXEC => "exec format error".into(),
        other => other.desc().to_lowercase(),
    }
}

fn read(head: &[u8]) -> Kind<'_> {
    if head.is_empty() {
        return Kind::Empty;
    }
    if let Some(rest) = head.strip_prefix(b"#!") {
        let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let mut words = line.split(blank).filter(|word| !word.is_empty());
        return match words.next() {
            Some(word) => Kind::Script {
                interpreter: Path::new(OsStr::from_bytes(word)),
            },
            None => Kind::Other,
        };
    }
    elf(head).unwrap_or(Kind::Other)
}

/// The headers of a program (elf(5)); `None` if it is none.
fn elf(head: &[u8]) -> Option<Kind<'_>> {
    let ident = head.strip_prefix(b"\x7fELF")?;
    let (wide, little) = (*ident.first()? == 2, *ident.get(1)? == 1);
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = head.get(at..at.checked_add(length)?)?;
        let fold = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
        Some(if little {
            bytes.iter().rev().fold(0, fold)
        } else {
            bytes.iter().fold(0, fold)
        })
    };
    let machine = machine(u16::try_from(number(18, 2)?).ok()?, wide, little);
    // Offset, size and number of the program headers; in each, offset and size in the file.
    let (table, size, count, offset, length, word) = if wide {
        (number(32, 8)?, number(54, 2)?, number(56, 2)?, 8, 32, 8)
    } else {
        (number(28, 4)?, number(42, 2)?, number(44, 2)?, 4, 16, 4)
    };
    const PT_INTERP: usize = 3;
    let header = |index: usize| table.checked_add(index.checked_mul(size)?);
    let interp = (0..count)
        .filter_map(header)
        .find(|&at| number(at, 4) == Some(PT_INTERP));
    let loader = interp.and_then(|at| {
        let start = number(at.checked_add(offset)?, word)?;
        let end = start.checked_add(number(at.checked_add(length)?, word)?)?;
        let text = head.get(start..end)?.split(|&byte| byte == 0).next()?;
        Some(Path::new(OsStr::from_bytes(text)))
    });
    Some(Kind::Elf { machine, loader })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(errno: Errno, head: &[u8], present: bool) -> Fault {
        explain(Path::new("/run.sh"), errno, Some(head), |_| present)
    }

    #[test]
    fn a_script_names_its_interpreter() {
        let missing = fault(Errno::ENOENT, b"#! /bin/lua -w\nprint()", false);
        assert_eq!(
            missing.to_string(),
            "exec /run.sh: no such file or directory"
        );
        assert_eq!(missing.code(), Code::ProgramInterpreter);
        assert!(
            missing.remedy().contains("/bin/lua,"),
            "{}",
            missing.remedy()
        );
        let dos = fault(Errno::ENOENT, b"#!/bin/sh\r\necho\r\n", true);
        assert!(dos.remedy().contains("carriage return"), "{}", dos.remedy());
    }

    #[test]
    fn a_program_of_this_host_names_its_loader() {
        let me = std::fs::read("/proc/self/exe").unwrap();
        let head = &me[..HEAD.min(me.len())];
        let Kind::Elf { machine, loader } = read(head) else {
            panic!("this program is no ELF file")
        };
        assert_eq!(machine.name(), std::env::consts::ARCH);
        if let Some(loader) = loader {
            assert!(std::fs::metadata(loader).is_ok(), "{loader:?}");
            let missing = fault(Errno::ENOENT, head, false);
            assert_eq!(missing.code(), Code::ProgramLoader);
            assert!(missing.remedy().contains(&*loader.to_string_lossy()));
        }
    }

    #[test]
    fn another_processor_is_named_beside_this_one() {
        let mut head = [0; 64];
        head[..6].copy_from_slice(b"\x7fELF\x02\x02");
        head[19] = 22;
        let foreign = fault(Errno::ENOEXEC, &head, true);
        assert_eq!(foreign.code(), Code::ProgramArchitecture);
        assert!(foreign.remedy().contains("s390x"), "{}", foreign.remedy());
        assert!(foreign.remedy().contains(std::env::consts::ARCH));
    }

    #[test]
    fn no_head_makes_the_reader_leave_its_bounds() {
        let mut head = [0xff; 200];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        for length in 0..head.len() {
            let _ = fault(Errno::ENOEXEC, &head[..length], true);
        }
        for empty in [&b"#!"[..], b"#!\n", b"#! \t\n", b""] {
            assert_eq!(
                fault(Errno::ENOEXEC, empty, true).code(),
                Code::ProgramFormat
            );
        }
    }
}
