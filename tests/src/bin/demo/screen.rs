//! What the demo shows, for a terminal of 100 columns: headings, commands as a person would type them, a client's course.
//! Colours only on a terminal.

// A program for people; a closed pipe may end it.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{IsTerminal, Write, stdout};

use lab::Report;

/// Text is wrapped here.
const WIDTH: usize = 92;
/// How many steps of a client's course are shown.
const COURSE: usize = 80;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";

/// The terminal, or the pipe, that the demo writes to.
pub(crate) struct Screen {
    terminal: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { terminal: stdout().is_terminal() && !plain }
    }

    /// The first lines.
    pub(crate) fn title(&self, name: &str, about: &str) {
        println!("\n  {}  {}", self.paint(BOLD, name), self.paint(DIM, about));
    }

    /// A heading, and what is going to happen.
    pub(crate) fn scene(&self, title: &str, about: &str) {
        println!(
            "\n  {} {}",
            self.paint(BOLD, title),
            self.paint(DIM, &"─".repeat(WIDTH - title.chars().count() - 1))
        );
        self.say(about);
    }

    /// A short text.
    pub(crate) fn say(&self, text: &str) {
        for line in wrap(text) {
            println!("  {line}");
        }
    }

    /// What went wrong.
    pub(crate) fn error(&self, text: &str) {
        eprintln!("  {text}");
    }

    /// A text with commands below it.
    pub(crate) fn hint(&self, text: &str, commands: &[&str]) {
        println!("\n  {text}");
        for command in commands {
            println!("    {}", self.paint(CYAN, command));
        }
        println!();
    }

    /// A command as it is typed on a machine, before it runs.
    pub(crate) fn prompt(&self, machine: &str, command: &str) {
        println!("\n  {} {}", self.paint(DIM, &format!("{machine}#")), self.paint(CYAN, command));
    }

    /// What a command prints.
    pub(crate) fn output(&self, text: &str) {
        for line in text.trim_matches('\n').lines() {
            println!("  {line}");
        }
    }

    /// An event that is not a command.
    pub(crate) fn event(&self, text: &str) {
        println!("\n  {} {}", self.paint(RED, "⚡"), self.paint(BOLD, text));
    }

    /// What has come of it.
    pub(crate) fn result(&self, text: &str) {
        for (place, line) in wrap(text).iter().enumerate() {
            let mark = if place == 0 { self.paint(GREEN, "✔") } else { " ".to_owned() };
            println!("  {mark} {line}");
        }
    }

    /// The course of a client's measurement, one mark for each step of `step`; with `live` it is overwritten by the next.
    pub(crate) fn course(&self, report: &Report, step: std::time::Duration, live: bool) {
        if live && !self.terminal {
            return;
        }
        let timeline = report.timeline(step);
        let shown = timeline.get(timeline.len().saturating_sub(COURSE)..).unwrap_or_default();
        let marks: String = shown
            .iter()
            .map(|answered| match answered {
                Some(true) => self.paint(GREEN, "█"),
                Some(false) => self.paint(RED, "░"),
                None => " ".to_owned(),
            })
            .collect();
        if self.terminal {
            print!("\r\x1b[K");
        }
        print!("  client {marks}");
        if !live {
            println!();
        }
        let _ = stdout().flush();
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.terminal { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The text in lines that fit.
fn wrap(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_in_wrapping() {
        let text = "one or two words ".repeat(40);
        let lines = wrap(&text);
        assert!(lines.iter().all(|line| line.len() <= WIDTH));
        assert_eq!(lines.join(" "), text.trim_end());
    }
}
