//! Programs of a few instructions, for system calls that no tool of an image makes.
//!
//! Static ELF files of one segment, written byte by byte (elf(5)), so that a test needs no
//! compiler. The exit status is what the program found out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::{IoContext, Result};

/// Where the file is mapped; the code follows the headers.
const BASE: u32 = 0x40_0000;
const HEADERS_64: u32 = 64 + 56;
const HEADERS_32: u32 = 52 + 32;

/// Writes an x86_64 program that makes the system call `number` with `args` and exits with its
/// errno, or with bits `shift` to `shift` + 7 of its result.
pub fn x86_64_call(path: &Path, number: u32, args: [u32; 3], shift: u8) -> Result<()> {
    let mut code = Vec::new();
    load(&mut code, 0xbf, args[0]); // edi
    load(&mut code, 0xbe, args[1]); // esi
    load(&mut code, 0xba, args[2]); // edx
    load(&mut code, 0xb8, number); // eax
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0x85, 0xc0, 0x79, 0x04, 0xf7, 0xd8, 0xeb, 0x03]); // negative: negate it
    code.extend([0xc1, 0xe8, shift]); // else shift it
    exit_64(&mut code);
    write(path, &file_64(&code))
}

/// Writes an i386 program that makes the system call `number` and exits with its errno.
pub fn i386_call(path: &Path, number: u32) -> Result<()> {
    let mut code = vec![0x31, 0xdb, 0x31, 0xc9]; // ebx and ecx: 0
    load(&mut code, 0xb8, number);
    code.extend([0xcd, 0x80]); // int 0x80
    code.extend([0xf7, 0xd8, 0x89, 0xc3]); // neg eax; mov ebx, eax
    load(&mut code, 0xb8, 1); // exit
    code.extend([0xcd, 0x80]);
    write(path, &file_32(&code))
}

/// Writes an x86_64 program that sends `message` as one datagram to the Unix socket `socket`
/// and exits with the errno.
pub fn x86_64_datagram(path: &Path, socket: &str, message: &str) -> Result<()> {
    let mut code = Vec::new();
    load(&mut code, 0xbf, 1); // AF_UNIX
    load(&mut code, 0xbe, 2); // SOCK_DGRAM
    load(&mut code, 0xba, 0);
    load(&mut code, 0xb8, 41); // socket
    code.extend([0x0f, 0x05, 0x89, 0xc7]); // syscall; mov edi, eax
    let data = BASE + HEADERS_64 + code.len() as u32 + REST;
    let address = data + message.len() as u32;
    load(&mut code, 0xbe, data);
    load(&mut code, 0xba, message.len() as u32);
    code.extend([0x45, 0x31, 0xd2]); // xor r10d, r10d
    code.push(0x41);
    load(&mut code, 0xb8, address); // r8d
    code.push(0x41);
    load(&mut code, 0xb9, 2 + socket.len() as u32 + 1); // r9d
    load(&mut code, 0xb8, 44); // sendto
    code.extend([0x0f, 0x05]);
    code.extend([0x85, 0xc0, 0x79, 0x04, 0xf7, 0xd8, 0xeb, 0x02, 0x31, 0xc0]); // errno or 0
    exit_64(&mut code);
    code.extend(message.as_bytes());
    code.extend(1u16.to_le_bytes());
    code.extend(socket.as_bytes());
    code.push(0);
    write(path, &file_64(&code))
}

/// Writes an x86_64 program whose first thread makes a second one and ends, while the second waits for
/// ever, as a program does that calls pthread_exit(3) in `main`.
pub fn x86_64_first_thread_ends(path: &Path) -> Result<()> {
    let mut code = Vec::new();
    load(&mut code, 0xbf, 0x1_0f00); // CLONE_VM, FS, FILES, SIGHAND, THREAD
    code.extend([0x31, 0xf6, 0x31, 0xd2, 0x45, 0x31, 0xd2, 0x45, 0x31, 0xc0]); // esi edx r10d r8d: 0
    load(&mut code, 0xb8, 56); // clone
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0x85, 0xc0, 0x74, EXIT_64]); // zero is the second thread: pass over
    exit_64(&mut code);
    load(&mut code, 0xb8, 34); // pause
    code.extend([0x0f, 0x05, 0xeb, 0xf7]); // syscall; again
    write(path, &file_64(&code))
}

/// The code between the first use of an address and the data, in bytes.
const REST: u32 = 5 + 5 + 3 + 6 + 6 + 5 + 2 + 10 + EXIT_64 as u32;
const EXIT_64: u8 = 2 + 5 + 2;

fn load(code: &mut Vec<u8>, register: u8, value: u32) {
    code.push(register);
    code.extend(value.to_le_bytes());
}

fn exit_64(code: &mut Vec<u8>) {
    code.extend([0x89, 0xc7]); // mov edi, eax
    load(code, 0xb8, 60); // exit
    code.extend([0x0f, 0x05]);
}

/// Class, little endian, version; then type, machine, version as the header has them.
fn ident(class: u8, machine: u16) -> Vec<u8> {
    let mut bytes = b"\x7fELF".to_vec();
    bytes.extend([class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(2u16.to_le_bytes());
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes
}

fn file_64(code: &[u8]) -> Vec<u8> {
    let mut bytes = ident(2, 62);
    let size = u64::from(HEADERS_64) + code.len() as u64;
    let base = u64::from(BASE);
    for word in [base + u64::from(HEADERS_64), 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    // One loadable segment, readable and executable.
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(5u32.to_le_bytes());
    for word in [0, base, base, size, size, 0x1000] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(code);
    bytes
}

fn file_32(code: &[u8]) -> Vec<u8> {
    let mut bytes = ident(1, 3);
    let size = HEADERS_32 + code.len() as u32;
    for word in [BASE + HEADERS_32, 52, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    for half in [52u16, 32, 1, 0, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    for word in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(code);
    bytes
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).because(|| format!("write {path:?}"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .because(|| format!("chmod {path:?}"))
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::Invocation;
    use std::os::unix::net::UnixDatagram;

    fn status(path: &Path) -> Option<i32> {
        let program = path.to_string_lossy().into_owned();
        Invocation::new([program]).run().unwrap().code()
    }

    #[test]
    fn the_exit_status_is_the_errno_or_the_result() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("call");
        // close(99) is EBADF, dup(0) some small descriptor.
        x86_64_call(&path, 3, [99, 0, 0], 0).unwrap();
        assert_eq!(status(&path), Some(9));
        x86_64_call(&path, 32, [0, 0, 0], 0).unwrap();
        assert!(matches!(status(&path), Some(3..=20)));
        x86_64_call(&path, 32, [0, 0, 0], 8).unwrap();
        assert_eq!(status(&path), Some(0));
    }

    #[test]
    fn a_datagram_arrives() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, path) = (dir.path().join("sock"), dir.path().join("send"));
        let receiver = UnixDatagram::bind(&socket).unwrap();
        x86_64_datagram(&path, &socket.to_string_lossy(), "READY=1\n").unwrap();
        assert_eq!(status(&path), Some(0));
        let mut buffer = [0; 64];
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\n");
        drop(receiver);
        assert_eq!(status(&path), Some(111), "ECONNREFUSED");
    }
}
