//! Base64 (RFC 4648 section 4, padded), for the `config` field of a cache file. Pure.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let six = (group >> (18 - 6 * index)) as usize & 63;
            text.push(if index > chunk.len() {
                '='
            } else {
                char::from(ALPHABET[six])
            });
        }
    }
    text
}

/// `None` for what [`encode`] could not have made.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in text.as_bytes().chunks(4) {
        let length = chunk
            .iter()
            .position(|byte| *byte == b'=')
            .unwrap_or(chunk.len());
        let (digits, padding) = chunk.split_at(length);
        if chunk.len() != 4 || length < 2 || padding.iter().any(|byte| *byte != b'=') {
            return None;
        }
        let mut group = 0_u32;
        for digit in digits {
            let six = ALPHABET.iter().position(|letter| letter == digit)?;
            group = group << 6 | six as u32;
        }
        let group = (group << (6 * (4 - length))).to_be_bytes();
        bytes.extend(group.iter().skip(1).take(length - 1));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)).unwrap(), all);
        for wrong in ["Zg", "Zg=", "Z===", "Zg==Zg=a", "Zg=a", "????", "Zm9vZ"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
