//! `Span` → the cells of one line, and cells → text that fits the screen.

use std::borrow::Cow;

use anstyle::{AnsiColor, Effects, Style};

use super::units;
use crate::export::terminal::Colour;
use crate::span::{Span, SpanKind, Value};

/// Which cells a line has; fewer on a narrow terminal, where the URL matters more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Layout {
    /// All of them.
    Wide,
    /// Without the server's socket: the URL names the server.
    Medium,
    /// Also without sizes and milliseconds, and closer together.
    Narrow,
}

impl Layout {
    /// The layout that leaves some 30 columns or more to the URL.
    pub(super) fn for_width(width: Option<usize>) -> Self {
        match width {
            Some(..110) => Self::Narrow,
            Some(110..140) => Self::Medium,
            Some(140..) | None => Self::Wide,
        }
    }

    /// Columns between two cells.
    fn gap(self) -> usize {
        if self == Self::Narrow { 1 } else { 2 }
    }

    /// Columns of the time: `15:04:05` or `15:04:05.123`.
    fn time(self) -> usize {
        if self == Self::Narrow { 8 } else { 12 }
    }
}

/// Widths of the cells that differ in width; they only grow, so that lines stay aligned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    client: usize,
    server: usize,
}

/// `255.255.255.255:65535`.
const IPV4_SOCKET: usize = 21;
/// The longest IPv6 address in brackets, with its port.
const IPV6_SOCKET: usize = 47;

impl Default for Columns {
    fn default() -> Self {
        Self { client: IPV4_SOCKET, server: IPV4_SOCKET }
    }
}

impl Columns {
    pub(super) fn widen_for(&mut self, line: &Line<'_>) {
        self.client = self.client.max(columns(&line.client).min(IPV6_SOCKET));
        self.server = self.server.max(columns(&line.server).min(IPV6_SOCKET));
    }
}

/// What a line says. All text is safe to print.
#[derive(Debug, Default)]
pub(super) struct Line<'a> {
    time: String,
    client: String,
    server: String,
    method: Cow<'a, str>,
    status: Option<i64>,
    duration: String,
    request_size: Option<u64>,
    response_size: Option<u64>,
    host: String,
    path: Cow<'a, str>,
    error: Cow<'a, str>,
    incomplete: bool,
}

/// The attributes of a span that make a line.
#[derive(Debug, Default)]
struct Known<'a> {
    client: Socket<'a>,
    source: Socket<'a>,
    server: Socket<'a>,
    destination: Socket<'a>,
    local: Socket<'a>,
    peer: Socket<'a>,
    /// What Kubernetes calls both ends, in the layout of the agent: a pod, else a service, else a node.
    source_names: [Option<&'a str>; 3],
    destination_names: [Option<&'a str>; 3],
    /// In the layout of workloads: the other end, and the own one by its resource.
    peer_name: Option<&'a str>,
    own_name: Option<&'a str>,
    method: &'a str,
    original_method: &'a str,
    status: Option<i64>,
    request_size: Option<i64>,
    response_size: Option<i64>,
    path: Option<&'a str>,
    query: Option<&'a str>,
    full: Option<&'a str>,
    error: &'a str,
    incomplete: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Socket<'a> {
    address: Option<&'a str>,
    port: Option<i64>,
}

impl<'a> Known<'a> {
    fn of(span: &'a Span<'_>) -> Self {
        let mut known = Self::default();
        for attribute in &span.attributes {
            known.set(&attribute.key, &attribute.value);
        }
        if let Some(resource) = &span.resource {
            let name = |key| resource.attributes.iter().find(|attribute| attribute.key == key);
            let name = name("k8s.pod.name").or_else(|| name("k8s.node.name")).map(|attribute| &attribute.value);
            known.own_name = name.and_then(|name| if let Value::String(name) = name { Some(&**name) } else { None });
        }
        known
    }

    /// Client and server, by name where they have one. A client's port says nothing beside its name.
    fn ends(&self, kind: SpanKind) -> [Cow<'a, str>; 2] {
        let first = |names: [Option<&'a str>; 3]| names.into_iter().flatten().next();
        let (own, other) = (self.local, self.peer);
        let (client, server) = match kind {
            SpanKind::Server => ((self.peer_name, self.client.or(other)), (self.own_name, own)),
            SpanKind::Client => ((self.own_name, own), (self.peer_name, other)),
        };
        // In the layout of the agent both sockets are told.
        let client = (first(self.source_names).or(client.0), self.source.or(self.client).or(client.1));
        let server = (first(self.destination_names).or(server.0), self.destination.or(server.1).or(self.server));
        let named =
            |(name, socket): (Option<&'a str>, Socket<'a>)| Socket { address: name.or(socket.address), ..socket };
        let server = safe(named(server).text().into()).into_owned().into();
        [client.0.map_or_else(|| safe(client.1.text().into()).into_owned().into(), |name| safe(name.into())), server]
    }

    fn set(&mut self, key: &str, value: &'a Value<'_>) {
        match (key, value) {
            ("source.address", Value::String(text)) => self.source.address = Some(text),
            ("source.port", Value::Int(number)) => self.source.port = Some(*number),
            ("client.address", Value::String(text)) => self.client.address = Some(text),
            ("client.port", Value::Int(number)) => self.client.port = Some(*number),
            ("destination.address", Value::String(text)) => self.destination.address = Some(text),
            ("destination.port", Value::Int(number)) => self.destination.port = Some(*number),
            ("network.local.address", Value::String(text)) => self.local.address = Some(text),
            ("network.local.port", Value::Int(number)) => self.local.port = Some(*number),
            ("network.peer.address", Value::String(text)) => self.peer.address = Some(text),
            ("network.peer.port", Value::Int(number)) => self.peer.port = Some(*number),
            ("source.k8s.pod.name", Value::String(text)) => self.source_names[0] = Some(text),
            ("source.k8s.service.name", Value::String(text)) => self.source_names[1] = Some(text),
            ("source.k8s.node.name", Value::String(text)) => self.source_names[2] = Some(text),
            ("destination.k8s.pod.name", Value::String(text)) => self.destination_names[0] = Some(text),
            ("destination.k8s.service.name", Value::String(text)) => self.destination_names[1] = Some(text),
            ("destination.k8s.node.name", Value::String(text)) => self.destination_names[2] = Some(text),
            ("service.peer.name", Value::String(text)) => self.peer_name = Some(text),
            ("server.address", Value::String(text)) => self.server.address = Some(text),
            ("server.port", Value::Int(number)) => self.server.port = Some(*number),
            ("http.request.method", Value::String(text)) => self.method = text,
            ("http.request.method_original", Value::String(text)) => self.original_method = text,
            ("http.response.status_code", Value::Int(number)) => self.status = Some(*number),
            ("http.request.size", Value::Int(number)) => self.request_size = Some(*number),
            ("http.response.size", Value::Int(number)) => self.response_size = Some(*number),
            ("url.path", Value::String(text)) => self.path = Some(text),
            ("url.query", Value::String(text)) => self.query = Some(text),
            ("url.full", Value::String(text)) => self.full = Some(text),
            ("error.type", Value::String(text)) => self.error = text,
            ("network_agent.capture.incomplete", Value::Bool(truth)) => self.incomplete = *truth,
            _ => {}
        }
    }

    /// Path and query, from `url.path` and `url.query` or else from `url.full`.
    fn target(&self) -> Cow<'a, str> {
        match (self.path, self.query, self.full) {
            (Some(path), Some(query), _) => Cow::Owned(format!("{path}?{query}")),
            (Some(path), None, _) => Cow::Borrowed(path),
            (None, _, Some(full)) => {
                let after_scheme = full.split_once("://").map_or(full, |(_, rest)| rest);
                Cow::Borrowed(after_scheme.find('/').and_then(|slash| after_scheme.get(slash..)).unwrap_or_default())
            }
            (None, _, None) => Cow::Borrowed(""),
        }
    }
}

impl Socket<'_> {
    /// Address and port, `—` when the address is not known.
    fn text(self) -> String {
        match (self.address, self.port) {
            (None, _) => "—".to_owned(),
            (Some(address), None) => address.to_owned(),
            (Some(address), Some(port)) if address.contains(':') => format!("[{address}]:{port}"),
            (Some(address), Some(port)) => format!("{address}:{port}"),
        }
    }

    fn or(self, other: Self) -> Self {
        if self.address.is_some() { self } else { other }
    }
}

impl<'a> Line<'a> {
    pub(super) fn of(span: &'a Span<'_>) -> Self {
        let known = Known::of(span);
        let status = known.status.map(|status| status.to_string());
        let method = if known.original_method.is_empty() { known.method } else { known.original_method };
        let host = Socket { port: known.server.port.filter(|port| !matches!(port, 80 | 443)), ..known.server };
        let [client, server] = known.ends(span.kind);
        Line {
            time: units::time_of_day(span.start),
            client: client.into_owned(),
            server: server.into_owned(),
            method: safe(method.into()),
            status: known.status,
            duration: units::duration(span.end.saturating_since(span.start)),
            request_size: known.request_size.map(i64::unsigned_abs),
            response_size: known.response_size.map(i64::unsigned_abs),
            host: safe(host.text().into()).into_owned(),
            path: safe(known.target()),
            // The status code says it already.
            error: if status.as_deref() == Some(known.error) { Cow::Borrowed("") } else { safe(known.error.into()) },
            incomplete: known.incomplete,
        }
    }

    pub(super) fn write(
        &self,
        layout: Layout,
        columns: &Columns,
        width: Option<usize>,
        colour: Colour,
        out: &mut Vec<u8>,
    ) {
        let mut row = Row { out, colour, remaining: width };
        let gap = layout.gap();
        row.cell(DIM, self.time.get(..layout.time()).unwrap_or_default());
        row.gap(gap);
        row.left(PLAIN, &self.client, columns.client);
        if layout == Layout::Wide {
            row.cell(DIM, " → ");
            row.left(PLAIN, &self.server, columns.server);
        }
        row.gap(gap);
        row.left(BOLD, &self.method, METHOD);
        row.gap(1);
        match self.status {
            Some(status) => row.right(status_style(status), &status.to_string(), STATUS),
            None => row.right(FAILED, "—", STATUS),
        }
        row.gap(gap);
        row.right(DIM, &self.duration, DURATION);
        if layout != Layout::Narrow {
            for size in [self.request_size, self.response_size] {
                row.gap(gap);
                row.right(PLAIN, &size.map_or_else(|| "—".to_owned(), units::size), SIZE);
            }
        }
        row.gap(gap);
        self.write_end(&mut row);
    }

    /// The URL and what went wrong. When both do not fit, the URL is cut first, to no less than a third of the room.
    fn write_end(&self, row: &mut Row<'_>) {
        let mark = if self.incomplete { "incomplete" } else { "" };
        let notes: usize =
            [&self.error, mark].iter().filter(|note| !note.is_empty()).map(|note| 2 + columns(note)).sum();
        let after = row.remaining.map(|remaining| notes.min(remaining * 2 / 3));
        row.remaining = row.remaining.zip(after).map(|(remaining, after)| remaining - after);
        row.url(&self.host, &self.path);
        row.remaining = row.remaining.zip(after).map(|(remaining, after)| remaining + after);
        for (style, note) in [(FAILED, self.error.as_ref()), (WARNING, mark)] {
            if !note.is_empty() {
                row.gap(2);
                row.cut(style, note);
            }
        }
        row.end();
    }
}

/// The names of the cells, above them.
pub(super) fn write_header(layout: Layout, columns: &Columns, width: Option<usize>, colour: Colour, out: &mut Vec<u8>) {
    let mut row = Row { out, colour, remaining: width };
    let gap = layout.gap();
    row.left(HEADER, if layout == Layout::Narrow { "UTC" } else { "TIME (UTC)" }, layout.time());
    row.gap(gap);
    row.left(HEADER, "CLIENT", columns.client);
    if layout == Layout::Wide {
        row.gap(3);
        row.left(HEADER, "SERVER", columns.server);
    }
    row.gap(gap);
    row.left(HEADER, "METHOD", METHOD);
    row.gap(1);
    row.right(HEADER, "CODE", STATUS);
    row.gap(gap);
    row.right(HEADER, "DURATION", DURATION);
    if layout != Layout::Narrow {
        for size in ["REQ", "RESP"] {
            row.gap(gap);
            row.right(HEADER, size, SIZE);
        }
    }
    row.gap(gap);
    row.cell(HEADER, "URL");
    row.end();
}

/// `OPTIONS`, the longest of the common ones.
const METHOD: usize = 7;
/// `CODE` above `200`.
const STATUS: usize = 4;
/// `12.3 ms` below `DURATION`.
const DURATION: usize = 8;
/// `20.5 kB`.
const SIZE: usize = 7;

const PLAIN: Style = Style::new();
const DIM: Style = Style::new().effects(Effects::DIMMED);
const BOLD: Style = Style::new().effects(Effects::BOLD);
const HEADER: Style = DIM;
const FAILED: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
const WARNING: Style = AnsiColor::Yellow.on_default();

/// By class: went well, went elsewhere, the client's fault, the server's.
fn status_style(status: i64) -> Style {
    match status {
        200..300 => AnsiColor::Green.on_default(),
        300..400 => AnsiColor::Cyan.on_default(),
        400..500 => WARNING,
        500..600 => FAILED,
        _ => PLAIN,
    }
}

/// A line being written, never wider than the screen.
struct Row<'a> {
    out: &'a mut Vec<u8>,
    colour: Colour,
    remaining: Option<usize>,
}

impl Row<'_> {
    /// Text as wide as it is, cut where the screen ends.
    fn cell(&mut self, style: Style, text: &str) {
        let text = match self.remaining {
            Some(remaining) => {
                let text = fitting(text, remaining);
                self.remaining = Some(remaining.saturating_sub(columns(text)));
                text
            }
            None => text,
        };
        if self.colour == Colour::On && style != PLAIN && !text.is_empty() {
            self.out.extend_from_slice(format!("{style}{text}{style:#}").as_bytes());
        } else {
            self.out.extend_from_slice(text.as_bytes());
        }
    }

    fn left(&mut self, style: Style, text: &str, width: usize) {
        self.cell(style, text);
        self.gap(width.saturating_sub(columns(text)));
    }

    fn right(&mut self, style: Style, text: &str, width: usize) {
        self.gap(width.saturating_sub(columns(text)));
        self.cell(style, text);
    }

    fn gap(&mut self, width: usize) {
        let width = self.remaining.map_or(width, |remaining| remaining.min(width));
        self.remaining = self.remaining.map(|remaining| remaining - width);
        self.out.resize(self.out.len() + width, b' ');
    }

    /// Host and path. When they do not fit, the path has two thirds of the room: hosts are alike, paths are not.
    fn url(&mut self, host: &str, path: &str) {
        if let Some(room) = self.remaining {
            let for_host = (room / 3).max(room.saturating_sub(columns(path))).min(room);
            self.remaining = Some(for_host);
            self.cut(DIM, host);
            self.remaining = self.remaining.map(|unused| room - for_host + unused);
        } else {
            self.cell(DIM, host);
        }
        self.cut(PLAIN, path);
    }

    /// Text that ends with an ellipsis when it does not fit.
    fn cut(&mut self, style: Style, text: &str) {
        match self.remaining {
            Some(room @ 1..) if columns(text) > room => {
                let text = fitting(text, room - 1);
                self.cell(style, text);
                self.cell(DIM, "…");
            }
            _ => self.cell(style, text),
        }
    }

    fn end(&mut self) {
        while self.out.last() == Some(&b' ') {
            self.out.pop();
        }
        self.out.push(b'\n');
    }
}

/// The longest beginning of `text` that is at most `width` columns.
fn fitting(text: &str, width: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, character)| {
        used += character_columns(*character);
        used > width
    });
    end.and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// Columns that `text` takes at most.
fn columns(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().map(character_columns).sum() }
}

/// Scripts that terminals show two columns wide begin at U+1100; punctuation and arrows are in between.
fn character_columns(character: char) -> usize {
    match character {
        '\u{1100}'..='\u{1fff}' | '\u{2600}'.. => 2,
        _ => 1,
    }
}

/// `text` with everything escaped that a terminal obeys or that would reorder the line: control characters, marks of
/// direction, line separators. What was captured was written by anybody.
fn safe(text: Cow<'_, str>) -> Cow<'_, str> {
    fn is_plain(character: char) -> bool {
        matches!(character, ' '..='~') || (character > '\u{9f}' && character.escape_debug().len() == 1)
    }
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || text.chars().all(is_plain) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_plain(character) {
            escaped.push(character);
        } else {
            escaped.extend(character.escape_debug());
        }
    }
    Cow::Owned(escaped)
}
