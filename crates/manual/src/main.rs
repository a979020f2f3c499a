//! Writes the man pages of davit, davit-cni and the plugins, and the shell completions of both, below
//! a directory, as `make build` asks for: `man/man8`, and where bash, zsh and fish look.
//!
//! They come from the very definition that parses the command line, so they cannot disagree with
//! it. A program of its own, so that davit does not carry them.

mod plugin_pages; // the pages of CNI plugins

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;

fn main() -> Result<()> {
    let target = std::env::args_os().nth(1).map(PathBuf::from);
    write_all(&target.context("usage: manual DIRECTORY")?)
}

fn write_all(share: &Path) -> Result<()> {
    write_program(share, "davit", runtime::args::command())?;
    write_program(share, "davit-cni", hooks::args::command())?;
    let pages = share.join("man/man8");
    for entry in plugins::PLUGINS {
        let name = format!("cni-{}.8", entry.name);
        write(&pages.join(name), &plugin_pages::page(entry))?;
    }
    Ok(())
}

/// The completions of a program, its page, and one for each command.
fn write_program(share: &Path, name: &str, mut command: Command) -> Result<()> {
    for (shell, path) in [
        (Shell::Bash, format!("bash-completion/completions/{name}")),
        (Shell::Zsh, format!("zsh/site-functions/_{name}")),
        (
            Shell::Fish,
            format!("fish/vendor_completions.d/{name}.fish"),
        ),
    ] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command, name, &mut text);
        write(&share.join(path), &text)?;
    }
    // Now that the operations have their full names.
    command.build();
    let pages = share.join("man/man8");
    write(&pages.join(format!("{name}.8")), &page(&command)?)?;
    let operations = command.get_subcommands();
    for operation in operations.filter(|one| one.get_name() != "help") {
        let file = format!("{name}-{}.8", operation.get_name());
        write(&pages.join(file), &page(operation)?)?;
    }
    Ok(())
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone())
        .section("8")
        .manual("davit")
        .render(&mut text)
        .context("render a man page")?;
    Ok(text)
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("mkdir {parent:?}"))?;
    }
    let mut options = fs::File::options();
    let opened = options.write(true).create(true).truncate(true).open(path);
    opened
        .and_then(|mut file| file.write_all(text))
        .with_context(|| format!("write {path:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_page_and_is_completed() {
        let share = tempfile::tempdir().unwrap();
        write_all(share.path()).unwrap();
        for (program, command) in [
            ("davit", runtime::args::command()),
            ("davit-cni", hooks::args::command()),
        ] {
            let completion = share
                .path()
                .join("bash-completion/completions")
                .join(program);
            let completion = fs::read_to_string(completion).unwrap();
            for operation in command.get_subcommands() {
                let name = operation.get_name();
                let page = share.path().join(format!("man/man8/{program}-{name}.8"));
                let page = fs::read_to_string(&page).unwrap();
                let title = format!("{program}-{name}").replace('-', "\\-");
                assert!(page.contains(&title), "{page}");
                assert!(completion.contains(name), "{name}");
            }
        }
        let hook = fs::read_to_string(share.path().join("man/man8/davit-cni.8")).unwrap();
        for part in [
            "org.davit.networks",
            "DAVIT_CNI_STATE_DIR",
            "/var/lib/cni",
            "gc",
        ] {
            assert!(hook.contains(&part.replace('-', "\\-")), "{part}: {hook}");
        }
        let operations = hooks::args::command();
        for operation in operations.get_subcommands() {
            let name = operation.get_name();
            let mut operation = operation.clone();
            let help = operation.render_long_help().to_string();
            assert!(
                help.contains("Example"),
                "davit-cni {name} --help has no example: {help}"
            );
        }
        for entry in plugins::PLUGINS {
            let page = share.path().join(format!("man/man8/cni-{}.8", entry.name));
            let page = fs::read_to_string(&page).unwrap();
            for part in [".SH NAME", ".SH EXAMPLE", "cniVersion"] {
                assert!(page.contains(part), "{}: {page}", entry.name);
            }
            for (key, _, _) in entry.manual.keys {
                assert!(page.contains(&key.replace('-', "\\-")), "{key}: {page}");
            }
        }
        let main = fs::read_to_string(share.path().join("man/man8/davit.8")).unwrap();
        assert!(main.contains(".TH davit 8"), "{main}");
    }
}
