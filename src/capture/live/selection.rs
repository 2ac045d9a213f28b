//! Names and patterns → which of the interfaces that there are now are captured.

use wildmatch::WildMatch;

pub(super) use crate::capture::system::Interface;

/// The name that stands for all interfaces.
pub(super) const ANY: &str = "any";

/// What the user wants to see.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    wanted: Vec<Pattern>,
    unwanted: Vec<Pattern>,
}

/// A name, or a pattern with `*` and `?`.
#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    matcher: WildMatch,
}

/// Which packets of the capture on all interfaces are taken, by the kernel's number of the interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Choice {
    /// All.
    All,
    /// Those of these; others that come are not taken until somebody looks again.
    Only(Vec<u32>),
    /// All but those of these; others that come are taken at once.
    AllBut(Vec<u32>),
}

impl Choice {
    /// Whether packets of this interface count.
    pub(super) fn takes(&self, index: u32) -> bool {
        match self {
            Self::All => true,
            Self::Only(indices) => indices.contains(&index),
            Self::AllBut(indices) => !indices.contains(&index),
        }
    }
}

impl Selection {
    /// `wanted` are names, patterns, or [`ANY`]; `unwanted` likewise.
    pub(super) fn new(wanted: &[String], unwanted: &[String]) -> Self {
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        Self { wanted: patterns(wanted), unwanted: patterns(unwanted) }
    }

    /// What to take while `there` are the interfaces.
    pub(super) fn choose(&self, there: &[Interface]) -> Choice {
        let is_unwanted = |name: &str| self.unwanted.iter().any(|pattern| pattern.matches(name));
        let indices = |keep: &dyn Fn(&str) -> bool| {
            let mut kept: Vec<u32> =
                there.iter().filter(|interface| keep(&interface.name)).map(|interface| interface.index).collect();
            kept.sort_unstable();
            kept
        };
        if !self.wanted.iter().any(|pattern| pattern.text == ANY) {
            let is_wanted = |name: &str| self.wanted.iter().any(|pattern| pattern.matches(name));
            return Choice::Only(indices(&|name| is_wanted(name) && !is_unwanted(name)));
        }
        if self.unwanted.is_empty() {
            return Choice::All;
        }
        Choice::AllBut(indices(&is_unwanted))
    }

    /// Names, not patterns, of interfaces that are not `there`.
    pub(super) fn missing<'a>(&'a self, there: &'a [Interface]) -> impl Iterator<Item = &'a str> {
        let is_there = |name: &str| name == ANY || there.iter().any(|interface| interface.name == name);
        let names = self.wanted.iter().filter(|pattern| pattern.is_name()).map(|pattern| pattern.text.as_str());
        names.filter(move |name| !is_there(name))
    }

    /// Whether the choice can change while the agent runs.
    pub(super) fn depends_on_interfaces(&self) -> bool {
        self.choose(&[]) != Choice::All
    }
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), matcher: WildMatch::new(text) }
    }

    fn is_name(&self) -> bool {
        !self.text.contains(['*', '?'])
    }

    fn matches(&self, name: &str) -> bool {
        self.matcher.matches(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there() -> Vec<Interface> {
        [(1, "lo"), (2, "eth0"), (7, "veth1a2b"), (9, "veth3c4d"), (11, "cni0")]
            .map(|(index, name)| Interface { index, name: name.to_owned() })
            .to_vec()
    }

    fn choose(wanted: &[&str], unwanted: &[&str]) -> Choice {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        Selection::new(&owned(wanted), &owned(unwanted)).choose(&there())
    }

    #[test]
    fn any_is_all_and_names_and_patterns_are_those() {
        assert_eq!(choose(&["any"], &[]), Choice::All);
        assert_eq!(choose(&["eth0", "lo"], &[]), Choice::Only(vec![1, 2]));
        assert_eq!(choose(&["veth*", "eth?"], &[]), Choice::Only(vec![2, 7, 9]));
        assert_eq!(choose(&["none*"], &[]), Choice::Only(vec![]));
    }

    #[test]
    fn what_is_unwanted_is_left_out() {
        assert_eq!(choose(&["any"], &["cni0", "lo"]), Choice::AllBut(vec![1, 11]));
        assert_eq!(choose(&["veth*"], &["*2b"]), Choice::Only(vec![9]));
        assert_eq!(choose(&["any", "eth0"], &[]), Choice::All);
    }

    #[test]
    fn only_names_can_be_missing() {
        let wanted = ["eth9", "any", "veth*", "lo", "tun*"].map(str::to_owned);
        let selection = Selection::new(&wanted, &[]);
        assert_eq!(selection.missing(&there()).collect::<Vec<_>>(), ["eth9"]);
        assert!(!selection.depends_on_interfaces());
        assert!(Selection::new(&["eth0".to_owned()], &[]).depends_on_interfaces());
    }
}
