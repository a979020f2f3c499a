//! The part of a file that is ours, between two lines that say so. Pure.
//!
//! Everything outside of it is somebody else's and stays, byte for byte and in its order: a person
//! or the container may have written it. A second block is taken out; one without an end goes to
//! the end of the file.

/// The lines around a block.
#[derive(Clone, Copy, Debug)]
pub struct Markers {
    /// Before it; only the start of the line counts, so that more can be said there.
    pub begin: &'static str,
    /// After it.
    pub end: &'static str,
}

/// davit-cni's own.
pub const OURS: Markers = Markers {
    begin: "# davit-cni:",
    end: "# davit-cni end",
};

/// nerdctl's, in its hosts files.
pub const NERDCTL: Markers = Markers {
    begin: "# <nerdctl>",
    end: "# </nerdctl>",
};

impl Markers {
    /// `old` with `block`, whose lines include the markers, in the place of its block; at the end
    /// if it has none.
    pub fn replace(self, old: &[u8], block: &str) -> Vec<u8> {
        let (mut before, mut after): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        let (mut seen, mut inside) = (false, false);
        for line in old.split_inclusive(|byte| *byte == b'\n') {
            let text = line.trim_ascii();
            if inside {
                inside = text != self.end.as_bytes();
            } else if text.starts_with(self.begin.as_bytes()) {
                (seen, inside) = (true, true);
            } else if seen {
                after.extend(line);
            } else {
                before.extend(line);
            }
        }
        if !before.is_empty() && !before.ends_with(b"\n") {
            before.push(b'\n');
        }
        before.extend(block.as_bytes());
        before.extend(after);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "# davit-cni: note\nnew\n# davit-cni end\n";

    fn replaced(old: &str) -> String {
        String::from_utf8(OURS.replace(old.as_bytes(), BLOCK)).unwrap()
    }

    #[test]
    fn a_file_without_a_block_gets_it_at_its_end() {
        assert_eq!(replaced(""), BLOCK);
        assert_eq!(replaced("mine\n"), format!("mine\n{BLOCK}"));
        assert_eq!(replaced("mine"), format!("mine\n{BLOCK}"));
    }

    #[test]
    fn lines_around_a_block_stay() {
        let old = "one\n# davit-cni: old words\nold\n# davit-cni end\n\ttwo\n# three";
        assert_eq!(replaced(old), format!("one\n{BLOCK}\ttwo\n# three"));
        assert_eq!(replaced(&replaced(old)), replaced(old));
    }

    #[test]
    fn there_is_one_block_however_many_there_were() {
        let old = format!("a\n{BLOCK}b\n{BLOCK}c\n");
        assert_eq!(replaced(&old), format!("a\n{BLOCK}b\nc\n"));
        assert_eq!(replaced("a\n# davit-cni: x\ncut"), format!("a\n{BLOCK}"));
    }

    #[test]
    fn what_is_no_text_stays() {
        let old = b"\xff\xfe\n\0";
        assert!(OURS.replace(old, BLOCK).starts_with(old));
    }
}
