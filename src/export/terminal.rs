//! Standard output → what it is: a terminal or not, how wide, coloured or not.

use std::ffi::OsString;
use std::io::IsTerminal as _;

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Colour {
    /// With escape sequences.
    On,
    /// Plain.
    Off,
}

/// Where lines are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Screen {
    /// On a terminal, whose width in columns may change at any time.
    Terminal(fn() -> Option<usize>),
    /// In a file or by another program: lines are as long as they are.
    Elsewhere,
}

impl Screen {
    /// What standard output is.
    pub(super) fn of_standard_output() -> Self {
        if std::io::stdout().is_terminal() { Self::Terminal(width) } else { Self::Elsewhere }
    }

    /// Columns of a line, if they are limited.
    pub(super) fn width(self) -> Option<usize> {
        match self {
            Self::Terminal(width) => width(),
            Self::Elsewhere => None,
        }
    }
}

impl Colour {
    /// What the user wants: `NO_COLOR` beats `CLICOLOR_FORCE`, which beats what standard output is.
    pub(super) fn from_environment(screen: Screen) -> Self {
        Self::choose(screen, |name| std::env::var_os(name))
    }

    fn choose(screen: Screen, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name| variable(name).is_some_and(|value| !value.is_empty());
        let forced = set("CLICOLOR_FORCE") && variable("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        let terminal = matches!(screen, Screen::Terminal(_)) && variable("TERM").is_none_or(|term| term != "dumb");
        if !set("NO_COLOR") && (forced || terminal) { Self::On } else { Self::Off }
    }
}

/// Columns of the terminal that standard output is.
fn width() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    #[expect(unsafe_code, reason = "the standard library cannot ask for the size of a terminal")]
    // SAFETY: TIOCGWINSZ writes a `winsize` and nothing else to the address it gets, and `size` outlives the call.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: Screen = Screen::Terminal(|| Some(80));

    fn colour(screen: Screen, variables: &[(&str, &str)]) -> Colour {
        Colour::choose(screen, |name| {
            variables.iter().find(|(found, _)| *found == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn only_a_terminal_is_coloured() {
        assert_eq!(colour(TERMINAL, &[("TERM", "xterm-256color")]), Colour::On);
        assert_eq!(colour(Screen::Elsewhere, &[("TERM", "xterm-256color")]), Colour::Off);
    }

    #[test]
    fn no_color_and_a_dumb_terminal_mean_plain_text() {
        assert_eq!(colour(TERMINAL, &[("NO_COLOR", "1")]), Colour::Off);
        assert_eq!(colour(TERMINAL, &[("TERM", "dumb")]), Colour::Off);
        assert_eq!(colour(TERMINAL, &[("NO_COLOR", "")]), Colour::On);
    }

    #[test]
    fn colour_can_be_forced_into_a_pipe_but_not_over_no_color() {
        assert_eq!(colour(Screen::Elsewhere, &[("CLICOLOR_FORCE", "1")]), Colour::On);
        assert_eq!(colour(Screen::Elsewhere, &[("CLICOLOR_FORCE", "0")]), Colour::Off);
        assert_eq!(colour(Screen::Elsewhere, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), Colour::Off);
    }
}
