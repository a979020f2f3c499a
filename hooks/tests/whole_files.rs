//! Whoever reads a container's file while it is rewritten sees what was or what is to be.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use hooks::kept_files::{HOSTS, KeptFiles};

#[test]
fn a_reader_never_finds_a_hosts_file_empty_or_cut() {
    let root = tempfile::tempdir().unwrap();
    let files = KeptFiles::open_or_create(&root.path().join("c1")).unwrap();
    files.ensure(HOSTS).unwrap();
    let path = root.path().join("c1/hosts");
    let short = "127.0.0.1 localhost\n10.0.0.2 c1\n".to_owned();
    let neighbours = (3..100).map(|last| format!("10.0.0.{last} c{last}\n"));
    let long: String = std::iter::once(short.clone()).chain(neighbours).collect();
    files.change(HOSTS, |_| short.clone().into_bytes()).unwrap();
    let (over, reads) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let text = std::fs::read_to_string(&path).unwrap();
                // ext4 locks out no reader while a file is cut, who finds the old length then, and NULs.
                let text = text.trim_end_matches('\0');
                assert!(
                    text.starts_with(&short) && long.starts_with(text),
                    "{text:?}"
                );
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        for text in [&long, &short].into_iter().cycle().take(300) {
            files.change(HOSTS, |_| text.clone().into_bytes()).unwrap();
            // Every state is looked at by somebody.
            let seen = reads.load(Ordering::Relaxed);
            while reads.load(Ordering::Relaxed) == seen && !reader.is_finished() {
                std::hint::spin_loop();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}
