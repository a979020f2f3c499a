//! Extended regular expressions of POSIX, as the C library has them (regex(7)). What libraries take for
//! different things is refused: an expression says which containers are killed.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;

/// The longest expression: the library's parser calls itself for every parenthesis, and our stack
/// is to hold that.
const MAX_LENGTH: usize = 1024;
/// The most that all repetitions `{m,n}` of an expression together may come to: the library copies
/// what is repeated, and those within others multiply.
const MAX_COPIES: usize = 1024;

/// A compiled expression.
pub struct Regex(libc::regex_t);

impl Regex {
    /// Compiles `text`; an error is what the library says is wrong with it.
    pub fn new(text: &str) -> std::result::Result<Self, String> {
        check_size(text)?;
        check_portable(text)?;
        let text = CString::new(text).map_err(|_| "a NUL in it".to_owned())?;
        let mut compiled = MaybeUninit::<libc::regex_t>::uninit();
        let flags = libc::REG_EXTENDED | libc::REG_NOSUB;
        // SAFETY: regcomp fills the structure that the pointer leads to, and `text` is a string
        // of C that lives past the call.
        let result = unsafe { libc::regcomp(compiled.as_mut_ptr(), text.as_ptr(), flags) };
        if result != 0 {
            return Err(reason(result, &compiled));
        }
        // SAFETY: regcomp answered 0, so the structure is filled in.
        Ok(Self(unsafe { compiled.assume_init() }))
    }

    /// Whether some part of `text` matches; never if it has a NUL.
    pub fn matches(&self, text: &str) -> bool {
        let Ok(text) = CString::new(text) else {
            return false;
        };
        let none = std::ptr::null_mut();
        // SAFETY: the expression is compiled, the text a string of C, and with REG_NOSUB no
        // match is written anywhere.
        unsafe { libc::regexec(&raw const self.0, text.as_ptr(), 0, none, 0) == 0 }
    }
}

/// Refuses what would take the library more stack or time than anybody has.
fn check_size(text: &str) -> std::result::Result<(), String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("{} bytes long, more than {MAX_LENGTH}", text.len()));
    }
    // Taken as if each were within all others, which is never too little.
    let counts = text.split('{').skip(1).filter_map(|after| {
        let bounds = after.split('}').next()?;
        let most = bounds.split(',').filter_map(|number| number.parse().ok());
        most.max()
    });
    let copies = counts.fold(1_usize, |all, count: usize| {
        all.saturating_mul(count.max(1))
    });
    if copies > MAX_COPIES {
        return Err(format!(
            "its repetitions {{m,n}} come to {copies}, more than {MAX_COPIES}"
        ));
    }
    Ok(())
}

/// Refuses what POSIX leaves open: `\\d` is a digit to one library and the letter to another.
fn check_portable(text: &str) -> std::result::Result<(), String> {
    let mut characters = text.chars().peekable();
    let mut before = None;
    while let Some(character) = characters.next() {
        match (character, before) {
            ('[', _) => pass_brackets(&mut characters),
            ('\\', _) => {
                let next = characters.next();
                if let Some(next) = next.filter(char::is_ascii_alphanumeric) {
                    return Err(format!(
                        "\\{next} means nothing in extended expressions (for a digit: [0-9])"
                    ));
                }
            }
            ('*' | '+' | '?' | '{', None | Some('(' | '|' | '^')) => {
                return Err(format!("nothing before {character:?} to repeat"));
            }
            (',', Some('{')) => return Err("no number after {".into()),
            _ => {}
        }
        before = Some(character);
    }
    Ok(())
}

/// Goes past a list in brackets, in which a backslash is itself, and so is `]` at the beginning.
fn pass_brackets(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    characters.next_if_eq(&'^');
    characters.next_if_eq(&']');
    characters.find(|character| *character == ']');
}

/// The words of the library for a failed regcomp.
fn reason(result: i32, compiled: &MaybeUninit<libc::regex_t>) -> String {
    let mut text = [0_u8; 256];
    // SAFETY: regerror writes at most the length given, with a NUL at the end; after a failed
    // regcomp it looks at the number alone (regex(3)).
    unsafe {
        libc::regerror(
            result,
            compiled.as_ptr(),
            text.as_mut_ptr().cast(),
            text.len(),
        )
    };
    CStr::from_bytes_until_nul(&text)
        .map(|text| text.to_string_lossy().into_owned())
        .unwrap_or_default()
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: compiled by `new`, and freed once, here.
        unsafe { libc::regfree(&raw mut self.0) };
    }
}

impl std::fmt::Debug for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Regex")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extended_syntax_is_understood() {
        let regex = Regex::new("^(web|db)-[0-9]{2,}$").unwrap();
        for (text, expected) in [
            ("web-01", true),
            ("db-123", true),
            ("web-1", false),
            ("a-web-01", false),
            ("web-01\0", false),
        ] {
            assert_eq!(regex.matches(text), expected, "{text:?}");
        }
        assert!(Regex::new("b").unwrap().matches("abc"));
    }

    #[test]
    fn one_that_takes_all_stack_or_time_is_refused() {
        let deep = "(".repeat(50_000) + &")".repeat(50_000);
        assert!(Regex::new(&deep).unwrap_err().contains("more than 1024"));
        for endless in ["(((a{1,200}){1,200}){1,200}){1,200}", "a{40}{40}"] {
            assert!(Regex::new(endless).unwrap_err().contains("repetitions"));
        }
        let allowed = "(".repeat(512) + &")".repeat(512);
        assert!(Regex::new(&allowed).is_ok());
        assert!(Regex::new("^[a-f0-9]{64}-[0-9]{1,3}$").is_ok());
    }

    #[test]
    fn what_libraries_take_for_different_things_is_refused() {
        for open in ["\\d", "a\\w", "*a", "(+b)", "a|?", "a{,3}", "^*"] {
            assert!(Regex::new(open).is_err(), "{open:?}");
        }
        for plain in ["\\.", "a\\*", "[*]a", "[]a]*", "[^]\\d]", "web-[0-9]+"] {
            assert!(Regex::new(plain).is_ok(), "{plain:?}");
        }
    }

    #[test]
    fn a_broken_expression_says_why() {
        for broken in ["(", "[a", "a{2,1}", "\0"] {
            assert!(!Regex::new(broken).unwrap_err().is_empty(), "{broken:?}");
        }
    }
}
