//! mountinfo, whose paths a container can choose.

#![no_main]

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sys::mountinfo::{self, Mount};

fuzz_target!(|text: &[u8]| fuzz::bounded(|| check(text)));

fn check(text: &[u8]) {
    let mounts = mountinfo::parse(text);
    let written: Vec<u8> = mounts.iter().flat_map(line).collect();
    assert_eq!(mountinfo::parse(&written), mounts);
    // A path is never taken apart: escaped as the kernel does it, any is itself again.
    let path = Path::new(std::ffi::OsStr::from_bytes(text));
    assert_eq!(mountinfo::unescape(&escape(path)), path);
}

/// As the kernel writes it, but for what nobody reads.
fn line(mount: &Mount) -> Vec<u8> {
    let Mount {
        id,
        parent,
        device,
        root,
        point,
        fs_type,
    } = mount;
    let start = format!("{id} {parent} {device} ");
    let end = format!(" rw shared:1 - {fs_type} source rw\n");
    [
        start.as_bytes(),
        &escape(root),
        b" ",
        &escape(point),
        end.as_bytes(),
    ]
    .concat()
}

fn escape(path: &Path) -> Vec<u8> {
    let octal = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        _ => vec![*byte],
    };
    path.as_os_str().as_bytes().iter().flat_map(octal).collect()
}
