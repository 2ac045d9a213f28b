//! Named stacks → pprof's `profile.proto`, gzipped, as `go tool pprof` reads it.
//!
//! <https://github.com/google/pprof/blob/main/proto/profile.proto>

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::modules::Mapped;

/// What was found.
#[derive(Debug)]
pub(super) struct Profile {
    /// When it began.
    pub(super) since: SystemTime,
    /// How long it took.
    pub(super) took: Duration,
    /// Samples in a second of the process's own time.
    pub(super) frequency: u32,
    /// Where code lies.
    pub(super) files: Vec<Mapped>,
    /// What was met.
    pub(super) stacks: Vec<Stack>,
    /// Functions by address.
    pub(super) names: BTreeMap<u64, String>,
    /// Samples that are not among `stacks`.
    pub(super) lost: u64,
}

/// A stack, and how often it was met.
#[derive(Clone, Debug)]
pub(super) struct Stack {
    /// The name of the thread.
    pub(super) thread: String,
    /// The innermost first.
    pub(super) addresses: Vec<u64>,
    pub(super) count: u64,
}

/// Writes the profile. Its order is that of names and addresses, the same for the same stacks.
pub(super) fn encode(profile: &Profile) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&Builder::default().build(profile).encode_to_vec())?;
    encoder.finish()
}

/// Tables of what the format says once and names by number.
#[derive(Default)]
struct Builder {
    strings: HashMap<String, i64>,
    table: Vec<String>,
    functions: BTreeMap<String, u64>,
    locations: BTreeMap<u64, messages::Location>,
}

impl Builder {
    fn build(mut self, profile: &Profile) -> messages::Profile {
        // The first text is empty, by the format.
        self.text("");
        let period = i64::from(1_000_000_000 / profile.frequency.max(1));
        let count = self.value_type("samples", "count");
        let time = self.value_type("cpu", "nanoseconds");
        let thread = self.text("thread");
        let mut stacks = profile.stacks.clone();
        stacks.sort_by(|left, right| (&left.thread, &left.addresses).cmp(&(&right.thread, &right.addresses)));
        let mut sample = Vec::new();
        for stack in &stacks {
            let count = i64::try_from(stack.count).unwrap_or(i64::MAX);
            sample.push(messages::Sample {
                location_id: stack.addresses.iter().map(|address| self.location(*address, profile)).collect(),
                value: vec![count, count.saturating_mul(period)],
                label: vec![messages::Label { key: thread, str: self.text(&stack.thread) }],
            });
        }
        let mut comment = Vec::new();
        if profile.lost > 0 {
            comment.push(self.text(&format!("{} samples were lost", profile.lost)));
        }
        let mapping = (1..).zip(&profile.files).map(|(id, file)| self.mapping(id, file)).collect();
        let function = std::mem::take(&mut self.functions)
            .into_iter()
            .map(|(name, id)| messages::Function { id, name: self.text(&name) });
        messages::Profile {
            function: function.collect(),
            sample_type: vec![count, time],
            sample,
            mapping,
            location: self.locations.into_values().collect(),
            string_table: self.table,
            time_nanos: nanos(profile.since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()),
            duration_nanos: nanos(profile.took),
            period_type: Some(time),
            period,
            comment,
        }
    }

    fn text(&mut self, text: &str) -> i64 {
        if let Some(number) = self.strings.get(text) {
            return *number;
        }
        let number = i64::try_from(self.table.len()).unwrap_or_default();
        self.table.push(text.to_owned());
        self.strings.insert(text.to_owned(), number);
        number
    }

    fn value_type(&mut self, name: &str, unit: &str) -> messages::ValueType {
        messages::ValueType { r#type: self.text(name), unit: self.text(unit) }
    }

    fn mapping(&mut self, id: u64, file: &Mapped) -> messages::Mapping {
        messages::Mapping {
            id,
            memory_start: file.code.start,
            memory_limit: file.code.end,
            file_offset: file.offset,
            filename: self.text(&file.path),
            has_functions: true,
        }
    }

    /// The number of an address, which is also that of its function's only line here.
    fn location(&mut self, address: u64, profile: &Profile) -> u64 {
        let next = self.locations.len() as u64 + 1;
        if let Some(known) = self.locations.get(&address) {
            return known.id;
        }
        let line = profile.names.get(&address).map(|name| {
            let next = self.functions.len() as u64 + 1;
            messages::Line { function_id: *self.functions.entry(name.clone()).or_insert(next) }
        });
        let mapping = profile.files.iter().position(|file| file.code.contains(&address));
        let mapping_id = mapping.map_or(0, |place| place as u64 + 1);
        let location = messages::Location { id: next, mapping_id, address, line: line.into_iter().collect() };
        self.locations.insert(address, location);
        next
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// The parts of `profile.proto` that are written, by its field numbers. Texts are numbers of `string_table`.
pub(super) mod messages {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Profile {
        #[prost(message, repeated, tag = "1")]
        pub(crate) sample_type: Vec<ValueType>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) sample: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) mapping: Vec<Mapping>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) location: Vec<Location>,
        #[prost(message, repeated, tag = "5")]
        pub(crate) function: Vec<Function>,
        #[prost(string, repeated, tag = "6")]
        pub(crate) string_table: Vec<String>,
        #[prost(int64, tag = "9")]
        pub(crate) time_nanos: i64,
        #[prost(int64, tag = "10")]
        pub(crate) duration_nanos: i64,
        #[prost(message, optional, tag = "11")]
        pub(crate) period_type: Option<ValueType>,
        #[prost(int64, tag = "12")]
        pub(crate) period: i64,
        #[prost(int64, repeated, tag = "13")]
        pub(crate) comment: Vec<i64>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
    pub(crate) struct ValueType {
        #[prost(int64, tag = "1")]
        pub(crate) r#type: i64,
        #[prost(int64, tag = "2")]
        pub(crate) unit: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Sample {
        #[prost(uint64, repeated, tag = "1")]
        pub(crate) location_id: Vec<u64>,
        #[prost(int64, repeated, tag = "2")]
        pub(crate) value: Vec<i64>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) label: Vec<Label>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
    pub(crate) struct Label {
        #[prost(int64, tag = "1")]
        pub(crate) key: i64,
        #[prost(int64, tag = "2")]
        pub(crate) str: i64,
    }

    #[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
    pub(crate) struct Mapping {
        #[prost(uint64, tag = "1")]
        pub(crate) id: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) memory_start: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) memory_limit: u64,
        #[prost(uint64, tag = "4")]
        pub(crate) file_offset: u64,
        #[prost(int64, tag = "5")]
        pub(crate) filename: i64,
        #[prost(bool, tag = "7")]
        pub(crate) has_functions: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Location {
        #[prost(uint64, tag = "1")]
        pub(crate) id: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) mapping_id: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) address: u64,
        #[prost(message, repeated, tag = "4")]
        pub(crate) line: Vec<Line>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
    pub(crate) struct Line {
        #[prost(uint64, tag = "1")]
        pub(crate) function_id: u64,
    }

    /// Without the linker's name, pprof takes this one as it is; where both are equal it cuts off what is in angle brackets.
    #[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
    pub(crate) struct Function {
        #[prost(uint64, tag = "1")]
        pub(crate) id: u64,
        #[prost(int64, tag = "2")]
        pub(crate) name: i64,
    }

    #[cfg(test)]
    impl Profile {
        fn text(&self, number: i64) -> String {
            self.string_table[usize::try_from(number).unwrap()].clone()
        }

        /// Each sample's thread and functions, the innermost first.
        pub(crate) fn stacks(&self) -> Vec<(String, Vec<String>)> {
            let name = |id: &u64| {
                let location = self.location.iter().find(|location| location.id == *id).unwrap();
                let line = location.line.first()?;
                let function = self.function.iter().find(|function| function.id == line.function_id).unwrap();
                Some(self.text(function.name))
            };
            let stack = |sample: &Sample| {
                (self.text(sample.label[0].str), sample.location_id.iter().filter_map(name).collect())
            };
            self.sample.iter().map(stack).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_met_often_is_written_once_and_times_follow_from_counts() {
        let stack = |thread: &str, addresses: &[u64], count| Stack {
            thread: thread.to_owned(),
            addresses: addresses.to_vec(),
            count,
        };
        let profile = Profile {
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(5),
            took: Duration::from_secs(2),
            frequency: 100,
            files: vec![Mapped { path: "/agent".to_owned(), code: 0x1000..0x2000, offset: 0x100 }],
            stacks: vec![stack("b", &[0x1010, 0x1900], 3), stack("a", &[0x1018, 0x1900, 0x9000], 1)],
            names: BTreeMap::from([(0x1010, "leaf".into()), (0x1018, "leaf".into()), (0x1900, "main".into())]),
            lost: 7,
        };
        let built = Builder::default().build(&profile);
        assert_eq!(built.string_table[0], "");
        assert_eq!((built.function.len(), built.location.len()), (2, 4));
        assert_eq!(
            (built.sample[0].value.clone(), built.sample[1].value.clone()),
            (vec![1, 10_000_000], vec![3, 30_000_000])
        );
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let wanted = [("a".to_owned(), names(&["leaf", "main"])), ("b".to_owned(), names(&["leaf", "main"]))];
        assert_eq!(built.stacks(), wanted);
        let unknown = built.location.iter().find(|location| location.address == 0x9000).unwrap();
        assert_eq!((unknown.mapping_id, unknown.line.len()), (0, 0));
        assert!(built.string_table.contains(&"7 samples were lost".to_owned()));
        assert_eq!((built.time_nanos, built.duration_nanos, built.period), (5_000_000_000, 2_000_000_000, 10_000_000));
    }
}
