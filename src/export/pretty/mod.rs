//! `Span` → one aligned line for people: when, who asked whom for what, and how that went.
//!
//! ```text
//! 15:04:05.123  10.244.0.4:58188      → 10.96.0.10:80          GET      200   12.3 ms    128 B  20.5 kB  inventory.shop/items/42
//! ```

mod line;
mod units;

use crate::export::batch::Format;
use crate::export::terminal::{Colour, Screen};
use crate::span::Draft;

use line::{Columns, Layout, Line};

/// Writes one line a span.
#[derive(Debug)]
pub struct PrettyFormat {
    screen: Screen,
    colour: Colour,
    columns: Columns,
    /// The layout whose header stands above, if any does.
    announced: Option<Layout>,
    /// Columns of a line, asked for once a batch.
    width: Option<usize>,
}

impl PrettyFormat {
    /// For standard output as it is, in the colours that the environment asks for.
    pub fn for_standard_output() -> Self {
        let screen = Screen::of_standard_output();
        Self::new(screen, Colour::from_environment(screen))
    }

    fn new(screen: Screen, colour: Colour) -> Self {
        Self { screen, colour, columns: Columns::default(), announced: None, width: None }
    }

    /// Measures the screen, and writes the header when it is a terminal's first or the layout has changed.
    fn measure(&mut self, out: &mut Vec<u8>) {
        self.width = self.screen.width();
        let layout = Layout::for_width(self.width);
        if matches!(self.screen, Screen::Terminal(_)) && self.announced != Some(layout) {
            self.announced = Some(layout);
            line::write_header(layout, &self.columns, self.width, self.colour, out);
        }
    }
}

impl Format for PrettyFormat {
    fn opening(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.measure(&mut out);
        out
    }

    fn begin(&mut self, buffer: &mut Vec<u8>) {
        self.measure(buffer);
    }

    fn append(&mut self, span: &Draft<'_>, buffer: &mut Vec<u8>) {
        let span = span.to_span();
        let line = Line::of(&span);
        self.columns.widen_for(&line);
        line.write(Layout::for_width(self.width), &self.columns, self.width, self.colour, buffer);
    }

    fn finish(&mut self, _buffer: &mut Vec<u8>) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing::{attribute, encode_batch, get_span, number};
    use crate::span::Span;
    use crate::span::{Attribute, Value};

    fn piped(span: &Span<'_>) -> String {
        text(PrettyFormat::new(Screen::Elsewhere, Colour::Off), [span])
    }

    fn text<'a, 'b: 'a>(format: PrettyFormat, spans: impl IntoIterator<Item = &'a Span<'b>>) -> String {
        String::from_utf8(encode_batch(format, spans).to_vec()).unwrap()
    }

    fn set<'a>(span: &mut Span<'a>, attribute: Attribute<'a>) {
        span.attributes.retain(|found| found.key != attribute.key);
        span.attributes.push(attribute);
    }

    #[test]
    fn a_line_says_when_who_whom_what_and_how() {
        assert_eq!(
            piped(&get_span("GET", "/items/42")),
            "22:13:20.123  10.244.0.4:58188      → 10.96.0.10:80          GET      200   12.3 ms    128 B  20.5 kB  \
             inventory.shop/items/42\n"
        );
    }

    #[test]
    fn columns_stay_in_line_for_usual_lengths() {
        let mut other = get_span("OPTIONS", "/");
        set(&mut other, attribute("source.address", "192.168.100.200"));
        set(&mut other, attribute("destination.address", "255.255.255.255"));
        set(&mut other, number("destination.port", 65535));
        set(&mut other, number("http.response.size", 5_000_000_000));
        let spans = [get_span("GET", "/"), other];
        let text = text(PrettyFormat::new(Screen::Elsewhere, Colour::Off), &spans);
        let starts: Vec<usize> = text.lines().map(|line| line.find("inventory").unwrap()).collect();
        assert_eq!(starts[0], starts[1], "{text}");
    }

    #[test]
    fn an_address_wider_than_its_column_widens_it_for_the_lines_below() {
        let mut six = get_span("GET", "/");
        set(&mut six, attribute("source.address", "2001:db8:1234:5678:9abc:def0:1234:5678"));
        let spans = [six, get_span("GET", "/")];
        let text = text(PrettyFormat::new(Screen::Elsewhere, Colour::Off), &spans);
        assert!(text.starts_with("22:13:20.123  [2001:db8:1234:5678:9abc:def0:1234:5678]:58188 → "), "{text}");
        let starts: Vec<usize> = text.lines().map(|line| line.find("inventory").unwrap()).collect();
        assert_eq!(starts[0], starts[1], "{text}");
    }

    #[test]
    fn a_failure_without_a_response_shows_its_kind() {
        let mut span = get_span("POST", "/orders");
        span.attributes.retain(|attribute| attribute.key != "http.response.status_code");
        set(&mut span, attribute("error.type", "connection_reset"));
        let line = piped(&span);
        assert!(line.contains(" POST       —  "), "{line}");
        assert!(line.ends_with("inventory.shop/orders  connection_reset\n"), "{line}");
    }

    #[test]
    fn ends_are_called_by_their_names() {
        let mut span = get_span("GET", "/");
        set(&mut span, attribute("source.k8s.pod.name", "checkout-1"));
        set(&mut span, attribute("source.k8s.node.name", "node-a"));
        set(&mut span, attribute("destination.k8s.service.name", "inventory"));
        assert!(piped(&span).contains("  checkout-1            → inventory:80           GET "), "{}", piped(&span));
    }

    #[test]
    fn a_workload_s_span_says_its_own_name_and_its_peer_s() {
        let mut span = get_span("GET", "/");
        span.attributes.retain(|attribute| !attribute.key.starts_with("source.") && !attribute.key.starts_with("dest"));
        set(&mut span, attribute("network.local.address", "10.244.1.5"));
        set(&mut span, number("network.local.port", 8080));
        set(&mut span, attribute("network.peer.address", "10.244.0.4"));
        set(&mut span, number("network.peer.port", 40000));
        assert!(piped(&span).contains("  10.244.0.4:40000      → 10.244.1.5:8080        GET "), "{}", piped(&span));
        set(&mut span, attribute("service.peer.name", "checkout"));
        let mut resource = crate::span::Resource::default();
        resource.set("k8s.pod.name", "inventory-1");
        span.resource = Some(std::sync::Arc::new(resource));
        assert!(piped(&span).contains("  checkout              → inventory-1:8080       GET "), "{}", piped(&span));
        span.kind = crate::span::SpanKind::Client;
        assert!(piped(&span).contains("  inventory-1           → checkout:40000         GET "), "{}", piped(&span));
    }

    #[test]
    fn an_error_that_is_the_status_is_not_said_twice() {
        let mut span = get_span("GET", "/");
        set(&mut span, number("http.response.status_code", 503));
        set(&mut span, attribute("error.type", "503"));
        assert!(piped(&span).ends_with("inventory.shop/\n"));
    }

    #[test]
    fn an_exchange_with_missing_bytes_is_marked() {
        let mut span = get_span("GET", "/");
        set(&mut span, Attribute { key: "network_agent.capture.incomplete".into(), value: Value::Bool(true) });
        assert!(piped(&span).ends_with("inventory.shop/  incomplete\n"));
    }

    #[test]
    fn a_port_other_than_the_schemes_is_part_of_the_host() {
        let mut span = get_span("GET", "/");
        set(&mut span, number("server.port", 8080));
        assert!(piped(&span).ends_with("  inventory.shop:8080/\n"));
    }

    #[test]
    fn a_method_outside_the_known_set_shows_as_it_was_sent() {
        let mut span = get_span("_OTHER", "/");
        set(&mut span, attribute("http.request.method_original", "purge"));
        assert!(piped(&span).contains(" purge "));
    }

    #[test]
    fn a_query_is_shown_when_the_span_has_one() {
        let mut span = get_span("GET", "/search");
        set(&mut span, attribute("url.query", "q=tea"));
        assert!(piped(&span).ends_with("inventory.shop/search?q=tea\n"));
    }

    #[test]
    fn without_url_path_the_path_of_url_full_is_shown() {
        let mut span = get_span("GET", "/");
        span.attributes.retain(|attribute| attribute.key != "url.path");
        set(&mut span, attribute("url.full", "http://inventory.shop/from/full"));
        assert!(piped(&span).ends_with("  inventory.shop/from/full\n"));
    }

    #[test]
    fn a_hostile_request_cannot_steer_the_terminal() {
        let path = "/\x1b]0;owned\x07\x1b[2J\r\n\u{9b}31m\u{202e}\u{2028}\u{7f}é";
        let mut span = get_span("GET", path);
        for key in ["server.address", "error.type", "source.address", "http.request.method"] {
            set(&mut span, attribute(key, path));
        }
        let line = piped(&span);
        assert!(line.contains(r"/\u{1b}]0;owned\u{7}\u{1b}[2J\r\n\u{9b}31m\u{202e}\u{2028}\u{7f}é"), "{line}");
        let body = line.strip_suffix('\n').unwrap();
        assert!(!body.contains(|c: char| c.is_control() || c == '\u{202e}' || c == '\u{2028}'), "{body:?}");
    }

    #[test]
    fn on_a_terminal_a_line_is_never_wider_than_it() {
        let long = "/very/long/path".repeat(30);
        let mut span = get_span("GET", &long);
        set(&mut span, attribute("error.type", "response_incomplete"));
        for width in [20, 60, 80, 100, 120, 160, 200] {
            let screen = match width {
                20 => Screen::Terminal(|| Some(20)),
                60 => Screen::Terminal(|| Some(60)),
                80 => Screen::Terminal(|| Some(80)),
                100 => Screen::Terminal(|| Some(100)),
                120 => Screen::Terminal(|| Some(120)),
                160 => Screen::Terminal(|| Some(160)),
                _ => Screen::Terminal(|| Some(200)),
            };
            let text = text(PrettyFormat::new(screen, Colour::Off), [&span]);
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{} > {width}: {line}", line.chars().count());
            }
            if width >= 120 {
                assert!(text.contains("…  response_incomplete\n"), "what failed stays visible: {text}");
            }
        }
    }

    #[test]
    fn on_a_narrow_terminal_a_long_host_leaves_room_for_the_path() {
        let mut span = get_span("GET", "/items/42");
        set(&mut span, attribute("server.address", "inventory.shop.svc.cluster.local"));
        let text = text(PrettyFormat::new(Screen::Terminal(|| Some(80)), Colour::Off), [&span]);
        assert!(text.ends_with(" inventory.shop.sv…/items/42\n"), "{text}");
    }

    #[test]
    fn a_pipe_gets_long_paths_whole_and_no_header() {
        let long = "/very/long/path".repeat(100);
        let line = piped(&get_span("GET", &long));
        assert!(line.ends_with(&format!("{long}\n")));
        assert_eq!(line.lines().count(), 1);
        assert!(PrettyFormat::new(Screen::Elsewhere, Colour::Off).opening().is_empty());
    }

    #[test]
    fn a_terminal_gets_one_header_above_its_columns() {
        let mut format = PrettyFormat::new(Screen::Terminal(|| Some(160)), Colour::Off);
        let header = String::from_utf8(format.opening()).unwrap();
        let line = text(format, [&get_span("GET", "/items")]);
        assert_eq!(line.lines().count(), 1, "the header is not repeated: {line}");
        let column = |text: &str, word: &str| text[..text.find(word).unwrap()].chars().count();
        assert_eq!(column(&header, "CLIENT"), column(&line, "10.244"));
        assert_eq!(column(&header, "SERVER"), column(&line, "10.96"));
        assert_eq!(column(&header, "METHOD"), column(&line, "GET"));
        assert_eq!(column(&header, "URL"), column(&line, "inventory"));
    }

    #[test]
    fn colour_wraps_text_and_changes_no_column() {
        let span = get_span("GET", "/items");
        let coloured = text(PrettyFormat::new(Screen::Elsewhere, Colour::On), [&span]);
        assert!(coloured.contains("\u{1b}[32m200\u{1b}[0m"), "{coloured:?}");
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some(start) = rest.find('\u{1b}') {
            plain.push_str(&rest[..start]);
            rest = &rest[start + rest[start..].find('m').unwrap() + 1..];
        }
        plain.push_str(rest);
        assert_eq!(plain, piped(&span));
    }
}
