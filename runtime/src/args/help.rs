//! The help texts, in the layout that scripts know from runc: `NAME:` first.

use clap::Command;

/// Gives `command`, which is called `program` here, and all its operations their layout.
pub(super) fn layout(command: Command, program: &str) -> Command {
    let about = |command: &Command| command.get_about().map(ToString::to_string);
    let text = format!(
        "NAME:\n   {program} - {}\n\n\
         USAGE:\n   {program} [global options] command [command options] [arguments...]\n\n\
         COMMANDS:\n{{subcommands}}\n  help, h     print this text, or that of a command\n\n\
         GLOBAL OPTIONS:\n{{options}}\n",
        about(&command).unwrap_or_default()
    );
    let program = program.to_owned();
    command
        .disable_help_subcommand(true)
        // An option given twice: the last one counts, as in Go.
        .args_override_self(true)
        .bin_name(program.clone())
        .help_template(text)
        .mut_subcommands(move |operation| {
            let text = format!(
                "NAME:\n   {program} {} - {}\n\nUSAGE:\n   {{usage}}\n\nOPTIONS:\n{{options}}\n",
                operation.get_name(),
                about(&operation).unwrap_or_default()
            );
            operation.help_template(text).args_override_self(true)
        })
}

/// The text of `operation`, or of the program.
pub(super) fn text(command: &mut Command, operation: Option<&str>) -> String {
    // Building gives the operations their full names.
    command.build();
    let found = operation.and_then(|name| command.find_subcommand_mut(name).cloned());
    match found {
        Some(mut operation) => operation.render_help().to_string(),
        None => command.render_help().to_string(),
    }
}
