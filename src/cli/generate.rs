//! `depsync completions` and `depsync generate`: what is made from the definition of the command line.

use std::fmt::Write as _;

use super::args::{self, ColorWhen, Generate};
use super::console::Console;
use super::{refuse, usage};
use crate::os::operator_file;

/// Columns of the reference.
const WIDTH: usize = 100;

/// Prints the completions of a shell.
pub(super) fn completions(shell: clap_complete::Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "depsync", &mut script);
    let console = Console::new(ColorWhen::Never, false);
    console.results(&String::from_utf8_lossy(&script)).exit_code(0)
}

/// Makes documentation.
pub(super) fn run(what: &Generate) -> u8 {
    let console = Console::new(ColorWhen::Never, false);
    match what {
        Generate::CliReference => console.results(&reference()).exit_code(0),
        Generate::Man { directory } => {
            for (name, page) in manual_pages() {
                if let Err(error) = operator_file::write_document(directory, &name, &page) {
                    let message = format!("write the manual page {name}");
                    return refuse(console, &usage(message, vec![error.to_string()], None));
                }
            }
            0
        }
    }
}

/// The commands that people call, ready to print: the program itself first.
fn commands() -> Vec<clap::Command> {
    fn narrow(command: clap::Command) -> clap::Command {
        command.term_width(WIDTH).mut_subcommands(narrow)
    }
    fn with_subcommands(command: &clap::Command) -> Vec<clap::Command> {
        let subcommands = command
            .get_subcommands()
            .filter(|command| !command.is_hide_set() && command.get_name() != "help");
        let below: Vec<clap::Command> = subcommands.flat_map(with_subcommands).collect();
        [vec![command.clone()], below].concat()
    }
    let mut program = narrow(args::command());
    program.build();
    with_subcommands(&program)
}

/// The reference of the command line in Markdown.
fn reference() -> String {
    let mut text = String::from(
        "# Command line\n\nWritten by `depsync generate cli-reference`: change the program, not this file.\n",
    );
    for mut command in commands() {
        let name = command.get_bin_name().unwrap_or("depsync").to_owned();
        let help = command.render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        // Writing to a string does not fail.
        let _ = write!(text, "\n## `{name}`\n\n```text\n{}\n```\n", help.join("\n").trim_end());
    }
    text
}

/// Name and text of each manual page.
fn manual_pages() -> Vec<(String, Vec<u8>)> {
    let mut pages = Vec::new();
    for command in commands() {
        let name = command.get_bin_name().unwrap_or("depsync").replace(' ', "-");
        let mut page = Vec::new();
        let manual =
            clap_mangen::Man::new(command.display_name(name.clone())).title(name.to_uppercase());
        // Memory takes every byte.
        let _always_ok = manual.render(&mut page);
        pages.push((format!("{name}.1"), page));
    }
    pages
}
