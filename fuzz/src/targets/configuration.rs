//! Arguments and environment → a configuration, or faults that name their settings and keep secrets.
//!
//! The input is lines: `--flag=value` or another argument, or `VARIABLE=value`; a line `!` makes standard output a
//! terminal.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use network_agent::config::{Config, ConfigError, Fault, SETTINGS, Terminal};
use network_agent::pipeline::Pipeline;

use super::books::Footprint;

/// What stands for a secret in an input; no error, warning or `Debug` text may hold it.
const SECRET: &str = "s3cr3t";

pub fn words() -> Vec<Vec<u8>> {
    let mut words: Vec<String> = SETTINGS.iter().map(|setting| format!("\n{}=", setting.variable)).collect();
    words.extend(SETTINGS.iter().filter_map(|setting| Some(format!("\n--{}=", setting.flag?))));
    words.extend(SETTINGS.iter().map(|setting| setting.default.to_owned()));
    let values = "true false 0 1 -1 18446744073709551615 64KiB 16777216TiB 5s 99999999999999999h 1ms json otlp pretty \
                  none table debug http://a:1 https://[::1]:4317 api.honeycomb.io https://honeycomb.io http:// :// , = \
                  % %ff a=b a=b,c=%20 x=s3cr3t s3cr3t grpc http/protobuf traceidratio 0.5 NaN b3,b3multi - lo,eth0 \
                  10.0.0.1,fd00::1 --check -vv --read --version --help \n!\n ü 😀";
    words.extend(values.split(' ').map(str::to_owned));
    words.into_iter().map(String::into_bytes).collect()
}

pub fn run(input: &[u8]) -> Footprint {
    let mut arguments = vec![OsString::from("network-agent")];
    let mut environment: HashMap<String, String> = HashMap::new();
    let mut terminal = Terminal::No;
    for line in input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if line == b"!" {
            terminal = Terminal::Yes;
        } else if line.starts_with(b"-") {
            arguments.push(OsString::from_vec(line.to_vec()));
        } else {
            let text = String::from_utf8_lossy(line);
            let (name, value) = text.split_once('=').unwrap_or((&text, ""));
            environment.insert(name.to_owned(), value.to_owned());
        }
    }
    let given = arguments.clone();
    let secret = has_secret(&environment, &given);
    let mut footprint = Footprint::default();
    match Config::load(arguments, |name| environment.get(name).cloned(), terminal) {
        Ok(config) => {
            if secret {
                assert!(!format!("{config:?}").contains(SECRET), "a secret is shown: {config:?}");
            }
            for warning in &config.warnings {
                assert!(names_setting(warning), "of which setting? {warning}");
            }
            // What is resolved can be used.
            Pipeline::new(config.pipeline).finish(&mut Vec::new());
            footprint.note(config.warnings.len() as u64);
            footprint.note(config.spans.headers.len() as u64);
        }
        Err(ConfigError::Faults(faults)) => {
            assert!(!faults.0.is_empty());
            if secret {
                assert!(!faults.to_string().contains(SECRET), "a secret is shown: {faults}");
            }
            for Fault { setting, remedy, .. } in &faults.0 {
                assert!(is_setting(setting), "which setting is {setting:?}?");
                assert!(!remedy.is_empty(), "what to do about {setting}?");
                setting.bytes().for_each(|byte| footprint.note(u64::from(byte)));
            }
        }
        Err(ConfigError::Arguments(error)) => {
            let words = error.to_string();
            let named = given.iter().skip(1).any(|argument| {
                let argument = argument.to_string_lossy();
                // What a terminal would obey is shown otherwise, or not at all.
                let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '-';
                let name: String = argument.chars().take_while(is_plain).collect();
                // One letter of several in one argument.
                let is_short = !name.starts_with("--");
                let shows = |letter: char| letter.is_control() || words.contains(&format!("'-{letter}'"));
                words.contains(&name) || is_short && argument.chars().skip(1).any(shows)
            });
            assert!(named || !error.use_stderr(), "which argument of {given:?}? {words}");
            footprint.note(1 << 40);
            footprint.note(u64::from(error.use_stderr()));
        }
    }
    footprint
}

/// Whether the secret was given where secrets are given, and nowhere else.
fn has_secret(environment: &HashMap<String, String>, arguments: &[OsString]) -> bool {
    let holds_secrets = |name: &str| SETTINGS.iter().any(|setting| setting.variable == name && setting.is_secret());
    let is_elsewhere = environment.iter().any(|(name, value)| value.contains(SECRET) && !holds_secrets(name));
    // A header's name is no secret, in whatever case or encoding.
    let may_be_named = |name: &str| name.to_lowercase().contains(SECRET) || name.contains('%');
    let names_header = |pair: &str| pair.split_once('=').is_some_and(|(name, _)| may_be_named(name));
    let is_elsewhere = is_elsewhere || environment.values().any(|value| value.split(',').any(names_header));
    let in_arguments = arguments.iter().any(|argument| argument.to_string_lossy().contains(SECRET));
    !is_elsewhere && !in_arguments
}

fn is_setting(name: &str) -> bool {
    SETTINGS.iter().any(|setting| {
        setting.variable == name || setting.flag.is_some_and(|flag| name.strip_prefix("--") == Some(flag))
    })
}

/// Whether a text begins with a variable's name.
fn names_setting(text: &str) -> bool {
    let end = text.find(|character: char| !character.is_ascii_uppercase() && character != '_').unwrap_or(text.len());
    let (name, _) = text.split_at(end);
    !name.is_empty()
}
