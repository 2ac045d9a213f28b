//! Arguments and environment → raw values by variable name.

use std::collections::HashMap;
use std::ffi::OsString;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};

use super::settings::{Group, OBSOLETE, SETTINGS, Setting};

/// Variables that say something when they are empty: none.
const SAYS_NONE: [&str; 3] = ["HTTP_HEADERS", "AGENT_ADMIN_ADDRESS", "AGENT_EXCLUDE_USER_AGENTS"];

/// What was set, as text, by the name of its variable.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    values: HashMap<&'static str, Given>,
    /// `--check`.
    pub check: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    /// Variables of the old agent that were found, and what to use instead.
    pub obsolete: Vec<(&'static str, &'static str)>,
}

/// A value and where it came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Given {
    /// As it was given.
    pub text: String,
    /// `--flag`, or the variable's name.
    pub origin: String,
}

impl Raw {
    /// Reads `arguments` (with the program's name first) and the environment; a flag beats its variable.
    ///
    /// # Errors
    /// What clap says: a wrong argument, or `--help` and `--version`, which are no mistakes.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        refuse_other_than_text(&arguments)?;
        // What the flags are for is put together only for who is to be told.
        let matches = grammar(Words::None).try_get_matches_from(&arguments);
        let matches = matches.or_else(|_| command().try_get_matches_from(&arguments))?;
        let mut raw =
            Self { check: matches.get_flag("check"), verbose: matches.get_count("verbose"), ..Self::default() };
        for setting in SETTINGS {
            let from_flag = setting.flag.and_then(|flag| {
                let text = matches.get_many::<String>(flag)?.cloned().collect::<Vec<_>>().join(",");
                Some(Given { text, origin: format!("--{flag}") })
            });
            // An empty variable is one that is not set; only of these it says something: none.
            let from_environment = || {
                let lower =
                    || environment(&setting.variable.to_ascii_lowercase()).filter(|_| setting.group == Group::Proxy);
                let text = environment(setting.variable).or_else(lower)?;
                let counts = !text.is_empty() || SAYS_NONE.contains(&setting.variable);
                counts.then(|| Given { text, origin: setting.variable.to_owned() })
            };
            if let Some(given) = from_flag.or_else(from_environment) {
                raw.values.insert(setting.variable, given);
            }
        }
        raw.obsolete =
            OBSOLETE.into_iter().filter(|(name, _)| environment(name).is_some_and(|text| !text.is_empty())).collect();
        Ok(raw)
    }

    /// What was given for `variable`.
    pub fn get(&self, variable: &str) -> Option<&Given> {
        self.values.get(variable)
    }

    /// The text given for `variable`.
    pub fn text(&self, variable: &str) -> Option<&str> {
        self.get(variable).map(|given| given.text.as_str())
    }
}

/// clap refuses such an argument too, and does not say which.
fn refuse_other_than_text(arguments: &[OsString]) -> Result<(), clap::Error> {
    match arguments.iter().skip(1).find(|argument| argument.to_str().is_none()) {
        Some(argument) => {
            Err(command()
                .error(ErrorKind::InvalidUtf8, format!("the argument {} is not UTF-8 text", argument.display())))
        }
        None => Ok(()),
    }
}

/// Whether the command line says what its flags are for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Words {
    All,
    None,
}

/// The command line, made from the table of settings.
pub fn command() -> Command {
    grammar(Words::All)
}

fn grammar(words: Words) -> Command {
    let mut command = Command::new("network-agent")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Sees the HTTP traffic of this machine in its packets and sends every exchange as an OpenTelemetry span")
        .override_usage(
            "network-agent [OPTIONS]                        live, to Honeycomb or an OTLP server\n       \
             network-agent --export pretty                  live, a line an exchange on the terminal\n       \
             network-agent --read FILE|- [--export …]       a capture file instead of an interface\n       \
             network-agent --check                          show the configuration and try it",
        )
        .styles(styles())
        .max_term_width(100)
        .after_help(if words == Words::All { otel_help() } else { String::new() })
        .arg(
            Arg::new("check")
                .long("check")
                .action(ArgAction::SetTrue)
                .help("Print the resolved configuration, try what start-up needs, and exit"),
        )
        .arg(Arg::new("verbose").short('v').action(ArgAction::Count).help("Say more: -v for debug, -vv for trace"));
    for setting in SETTINGS.iter().filter(|setting| setting.flag.is_some()) {
        command = command.arg(argument(setting, words));
    }
    command
}

fn argument(setting: &Setting, words: Words) -> Arg {
    let flag = setting.flag.unwrap_or_default();
    let mut arg = Arg::new(flag).long(flag).help_heading(setting.group.title()).action(if flag == "interface" {
        ArgAction::Append
    } else {
        ArgAction::Set
    });
    arg = if setting.is_switch() {
        arg.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true")
    } else {
        arg.value_name(setting.value)
    };
    if words == Words::All {
        let default = if setting.default.is_empty() { String::new() } else { format!("; default {}", setting.default) };
        arg = arg.help(format!("{} [{}{default}]", setting.help, setting.variable));
    }
    match flag {
        "interface" => arg.num_args(1..),
        "stats" => arg.num_args(0..=1).default_missing_value("table"),
        _ => arg,
    }
}

fn otel_help() -> String {
    let mut help = String::new();
    for group in [Group::OpenTelemetry, Group::Proxy] {
        help.push_str(group.title());
        help.push_str(":\n");
        for setting in SETTINGS.iter().filter(|setting| setting.group == group) {
            let default =
                if setting.default.is_empty() { String::new() } else { format!(" [default {}]", setting.default) };
            help.push_str(format!("  {:<44}  {}{default}", setting.variable, setting.help).trim_end());
            help.push('\n');
        }
        help.push('\n');
    }
    help + "Sizes take k, M, G or KiB, MiB, GiB; times take ms, s, m, h.\n\
            Exit codes: 0 well; 64 bad configuration; 65 bad capture file; 69 capture not permitted or no such interface; 1 anything else."
}

fn styles() -> Styles {
    Styles::styled()
        .header(AnsiColor::Green.on_default().bold())
        .usage(AnsiColor::Green.on_default().bold())
        .literal(AnsiColor::Cyan.on_default())
}
