//! The words of a command line, from the way Go programs read them to the way clap does.
//!
//! Go takes a long option with one dash or two and a flag with a value (`-force=false`), and
//! leaves the words after a container's id to the program that they are for. What comes out has
//! two dashes, `=` before every value, and the counted number of operands.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, Command};

/// Words that clap can read.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// The program's name, options, the operation, its options and operands.
    pub(super) argv: Vec<OsString>,
    operation: Option<String>,
    operands: usize,
    help: bool,
}

/// Why words cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misread {
    /// There is no such operation.
    NoTopic(String),
    /// The arguments of an operation (or of none) are wrong. `aloud` is said twice, as Go does.
    Wrong { message: String, aloud: bool },
}

impl Words {
    /// Reads `argv`, the program's name first. The words so far come with an error, too.
    pub(super) fn read(command: &Command, argv: Vec<OsString>) -> (Self, Result<(), Misread>) {
        let mut words = Self::default();
        let mut argv = argv.into_iter();
        words.argv.extend(argv.next());
        let outcome = words.take(command, &mut argv);
        let outcome = outcome.and_then(|()| words.check_operands(command));
        (words, outcome)
    }

    /// The operation that was named.
    pub(super) fn operation(&self) -> Option<&str> {
        self.operation.as_deref()
    }

    /// The value of a global option given so far.
    pub(super) fn value(&self, option: &str) -> Option<&OsStr> {
        let prefix = format!("--{option}=");
        let mut values = self.argv.iter().filter_map(|word| {
            let rest = word.as_bytes().strip_prefix(prefix.as_bytes())?;
            Some(OsStr::from_bytes(rest))
        });
        values.next_back()
    }

    fn take(
        &mut self,
        command: &Command,
        argv: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), Misread> {
        while let Some(word) = argv.next() {
            let scope = self.scope(command);
            if word == "--" || !word.as_bytes().starts_with(b"-") || word == "-" {
                if word != "--" {
                    self.operand(command, word)?;
                }
                let passes_on = self.operation.is_some() && passes_words_on(self.scope(command));
                if word_ends_options(self.operands, passes_on) {
                    return self.rest(command, argv);
                }
            } else {
                self.option(scope, &word, argv)?;
            }
        }
        Ok(())
    }

    /// Everything after the id of a container that words are passed on to.
    fn rest(
        &mut self,
        command: &Command,
        argv: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), Misread> {
        self.argv.push("--".into());
        let mut first = true;
        for word in argv {
            if !(std::mem::take(&mut first) && word == "--") {
                self.operand(command, word)?;
            }
        }
        Ok(())
    }

    fn scope<'a>(&self, command: &'a Command) -> &'a Command {
        let operation = self.operation.as_deref();
        let found = operation.and_then(|name| command.find_subcommand(name));
        found.unwrap_or(command)
    }

    fn operand(&mut self, command: &Command, word: OsString) -> Result<(), Misread> {
        if self.operation.is_some() {
            self.operands += 1;
            self.argv.push(word);
            return Ok(());
        }
        let name = word.to_string_lossy().into_owned();
        if name == "help" || name == "h" {
            // `help COMMAND` is `COMMAND --help`.
            self.help = true;
        } else if command.find_subcommand(&name).is_some() {
            self.argv.push(word);
            self.operation = Some(name);
        } else {
            return Err(Misread::NoTopic(name));
        }
        Ok(())
    }

    fn option(
        &mut self,
        scope: &Command,
        word: &OsStr,
        argv: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), Misread> {
        let bytes = word.as_bytes();
        let (name, value) = match bytes.iter().position(|&byte| byte == b'=') {
            Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
            None => (bytes, None),
        };
        let name = String::from_utf8_lossy(name);
        let bare = name.trim_start_matches('-');
        if bare == "help" || bare == "h" {
            self.help = true;
            return Ok(());
        }
        let Some(arg) = scope.get_arguments().find(|arg| is_called(arg, bare)) else {
            return self.unknown(scope, word, bare);
        };
        let long = format!("--{}", arg.get_long().unwrap_or_default());
        if arg.get_action().takes_values() {
            let value = value.map(|bytes| OsStr::from_bytes(bytes).to_owned());
            let Some(value) = value.or_else(|| argv.next()) else {
                return Err(wrong(format!("flag needs an argument: -{bare}")));
            };
            let joined = [long.as_bytes(), b"=", value.as_bytes()].concat();
            self.argv.push(OsString::from_vec(joined));
            return Ok(());
        }
        // The last one counts.
        self.argv.retain(|word| *word != *long);
        match value {
            None | Some(b"true" | b"TRUE" | b"True" | b"t" | b"T" | b"1") => {
                self.argv.push(long.into());
            }
            Some(b"false" | b"FALSE" | b"False" | b"f" | b"F" | b"0") => {}
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                let text = format!("invalid boolean value {other:?} for -{bare}: parse error");
                return Err(wrong(text));
            }
        }
        Ok(())
    }

    /// Not an option as Go has them: some flags in one word (`-dt`), or a negative operand.
    fn unknown(&mut self, scope: &Command, word: &OsStr, bare: &str) -> Result<(), Misread> {
        let is_flag = |letter: char| {
            scope
                .get_arguments()
                .any(|arg| arg.get_short() == Some(letter) && !arg.get_action().takes_values())
        };
        let letters = bare.len() > 1 && bare.chars().all(is_flag);
        let number = bare.bytes().all(|byte| byte.is_ascii_digit()) && !bare.is_empty();
        if !letters && !number {
            let text = format!("flag provided but not defined: -{bare}");
            return Err(wrong(text));
        }
        self.operands += usize::from(number);
        self.argv.push(word.to_owned());
        Ok(())
    }

    fn check_operands(&mut self, command: &Command) -> Result<(), Misread> {
        if self.help {
            self.argv.push("--help".into());
            return Ok(());
        }
        let Some(name) = &self.operation else {
            return Ok(());
        };
        let scope = self.scope(command);
        let least = scope
            .get_positionals()
            .filter(|arg| arg.is_required_set())
            .count();
        let most = scope.get_positionals().count();
        let how = if self.operands < least && least == most {
            format!("exactly {least}")
        } else if self.operands < least {
            format!("a minimum of {least}")
        } else if self.operands > most && !passes_words_on(scope) {
            let kind = if least == most {
                "exactly"
            } else {
                "a maximum of"
            };
            format!("{kind} {most}")
        } else {
            return Ok(());
        };
        let program = super::program_name(self.argv.first());
        Err(Misread::Wrong {
            message: format!("{program}: {name:?} requires {how} argument(s)"),
            aloud: false,
        })
    }
}

fn wrong(message: String) -> Misread {
    Misread::Wrong {
        message,
        aloud: true,
    }
}

fn is_called(arg: &Arg, name: &str) -> bool {
    let mut letters = name.chars();
    arg.get_long() == Some(name) || (arg.get_short() == letters.next() && letters.next().is_none())
}

/// Whether the words after the id are another program's.
fn passes_words_on(scope: &Command) -> bool {
    scope.get_positionals().any(Arg::is_trailing_var_arg_set)
}

fn word_ends_options(operands: usize, passes_on: bool) -> bool {
    passes_on && operands > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ArgAction;

    fn command() -> Command {
        let flag = |name: &'static str, short| {
            Arg::new(name)
                .long(name)
                .short(short)
                .action(ArgAction::SetTrue)
        };
        let id = || Arg::new("id").required(true);
        let args = Arg::new("args").num_args(0..).trailing_var_arg(true);
        Command::new("x")
            .arg(Arg::new("root").long("root"))
            .subcommand(Command::new("kill").args([
                flag("all", 'a'),
                flag("fast", 'f'),
                id(),
                Arg::new("signal"),
            ]))
            .subcommand(Command::new("exec").args([
                flag("tty", 't'),
                Arg::new("env").long("env").short('e'),
                id(),
                args,
            ]))
            .subcommand(Command::new("start").arg(id()))
    }

    fn read(line: &str) -> Result<String, Misread> {
        let argv = line.split(' ').map(OsString::from).collect();
        let (words, outcome) = Words::read(&command(), argv);
        let words: Vec<_> = words
            .argv
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        outcome.map(|()| words.join(" "))
    }

    #[test]
    fn go_s_spellings_become_clap_s() {
        for (line, expected) in [
            ("x -root start start c", "x --root=start start c"),
            ("x --root=/r kill -a c 9", "x --root=/r kill --all c 9"),
            ("x kill --all --all=false c", "x kill c"),
            ("x kill -all=1 c -9", "x kill --all c -9"),
            ("x kill -af c", "x kill -af c"),
            (
                "x exec -e -A=1 -t c sh -t",
                "x exec --env=-A=1 --tty c -- sh -t",
            ),
            ("x exec c -- sh -- x", "x exec c -- sh -- x"),
            ("x help kill", "x kill --help"),
            ("x start", "x start"),
            ("x -h", "x --help"),
        ] {
            match read(line) {
                Ok(words) => assert_eq!(words, expected, "{line}"),
                Err(misread) => assert_eq!(line, "x start", "{misread:?}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_go_s_words() {
        let message = |line: &str| match read(line) {
            Err(Misread::Wrong { message, .. }) => message,
            other => panic!("{line}: {other:?}"),
        };
        for (line, text) in [
            ("x start", "x: \"start\" requires exactly 1 argument(s)"),
            ("x start a b", "x: \"start\" requires exactly 1 argument(s)"),
            ("x kill", "x: \"kill\" requires a minimum of 1 argument(s)"),
            (
                "x kill a b c",
                "x: \"kill\" requires a maximum of 2 argument(s)",
            ),
            ("x start --nope a", "flag provided but not defined: -nope"),
            ("x --root", "flag needs an argument: -root"),
            (
                "x kill --all=maybe a",
                "invalid boolean value \"maybe\" for -all: parse error",
            ),
        ] {
            assert_eq!(message(line), text);
        }
        for line in ["x foo", "x foo -h", "x help foo"] {
            assert_eq!(read(line), Err(Misread::NoTopic("foo".into())));
        }
    }

    #[test]
    fn the_words_before_a_mistake_are_known() {
        let argv = ["x", "--root", "/r", "start"].map(OsString::from).into();
        let (words, outcome) = Words::read(&command(), argv);
        assert!(outcome.is_err());
        assert_eq!(words.value("root"), Some(OsStr::new("/r")));
        assert_eq!(words.operation(), Some("start"));
    }
}
