//! Domain names as DNS writes them (RFC 1035 section 3.1), in DHCPv4 option 119 with pointers
//! (RFC 3397) and in DHCPv6 option 24 without (RFC 8415 section 10). Pure.

/// RFC 1035 section 2.3.4.
const LONGEST_NAME: usize = 253;
/// resolv.conf(5) has room for far fewer.
const MOST_NAMES: usize = 64;

/// The names in `bytes`; `None` if any of them is cut short, too long or goes round in circles.
///
/// A pointer may only lead backwards, so that every name ends.
pub(crate) fn names(bytes: &[u8]) -> Option<Vec<String>> {
    let (mut names, mut at) = (Vec::new(), 0);
    while at < bytes.len() && names.len() < MOST_NAMES {
        let (name, next) = name(bytes, at)?;
        if !name.is_empty() {
            names.push(name);
        }
        at = next;
    }
    Some(names)
}

/// The name at `start`, and where what follows it begins.
fn name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut text, mut at, mut end) = (String::new(), start, None);
    let mut limit = start;
    loop {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => return Some((text, end.unwrap_or(at + 1))),
            1..=63 => {
                add_label(&mut text, bytes.get(at + 1..at + 1 + length)?)?;
                at += 1 + length;
            }
            0xc0.. => {
                let target = (length & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?);
                end = end.or(Some(at + 2));
                // Strictly before everything read so far.
                if target >= limit {
                    return None;
                }
                (at, limit) = (target, target);
            }
            _ => return None,
        }
    }
}

/// Only what a host name may consist of: the text ends up in somebody's resolv.conf.
fn add_label(text: &mut String, label: &[u8]) -> Option<()> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !label.iter().all(is_plain) || text.len() + label.len() + 1 > LONGEST_NAME {
        return None;
    }
    if !text.is_empty() {
        text.push('.');
    }
    text.extend(label.iter().map(|byte| char::from(*byte)));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_pointers_are_read() {
        let plain = b"\x03eng\x05apple\x03com\x00\x03net\x00";
        assert_eq!(names(plain).unwrap(), ["eng.apple.com", "net"]);
        // The example of RFC 3397 section 2.
        let compressed = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04";
        assert_eq!(
            names(compressed).unwrap(),
            ["eng.apple.com", "marketing.apple.com"]
        );
        assert!(names(b"").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_list_of_names_is_refused() {
        let cases: [&[u8]; 8] = [
            b"\x03en",               // cut
            b"\x03eng",              // without an end
            b"\xc0\x00",             // leads to itself
            b"\x01a\xc0\x00",        // in a circle
            b"\x01a\xc0\x02\xc0",    // forwards
            b"\xc0",                 // half a pointer
            b"\x40a\x00",            // reserved kind of label
            b"\x06a\nname\x00x\x00", // a line of resolv.conf
        ];
        for case in cases {
            assert_eq!(names(case), None, "{case:?}");
        }
        let long = [&b"\x3f"[..], &[b'a'; 63]].concat().repeat(5);
        assert_eq!(names(&long), None);
    }
}
