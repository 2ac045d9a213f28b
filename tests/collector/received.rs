//! What a Collector's exporter `file` wrote → spans, ids, counts.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::laboratory::attribute;

/// The attribute that tells exchanges apart, up to its value, in the JSON that the Collector writes.
const ID: &str = r#""network_agent.exchange.id","value":{"stringValue":""#;

/// All spans of a file, in the order in which they were written.
pub fn spans(path: &Path) -> Vec<Value> {
    spans_of(&fs::read_to_string(path).unwrap_or_default())
}

/// All spans of lines of OTLP/JSON. A line that is not whole was not acknowledged.
pub fn spans_of(text: &str) -> Vec<Value> {
    let requests = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    requests
        .flat_map(|request| list(&request, "resourceSpans"))
        .flat_map(|resource| list(&resource, "scopeSpans"))
        .flat_map(|scope| list(&scope, "spans"))
        .collect()
}

/// A span's attribute as text.
pub fn text<'a>(span: &'a Value, key: &str) -> Option<&'a str> {
    attribute(span, key)?["stringValue"].as_str()
}

/// What a span says, in one order whoever wrote it.
pub fn contents(span: &Value) -> Vec<String> {
    let field = |name: &str| format!("{name}: {}", span[name]);
    let names = ["traceId", "spanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano", "flags"];
    let mut contents: Vec<String> = names.map(field).into();
    contents.push(format!("status: {}", span["status"]["code"]));
    let attributes = span["attributes"].as_array().cloned().unwrap_or_default();
    // Some write 1 and some write 1.0.
    let number = |value: &Value| value["doubleValue"].as_f64();
    let value = |value: &Value| number(value).map_or_else(|| value.to_string(), |number| number.to_string());
    let attribute = |attribute: &Value| format!("{}: {}", attribute["key"], value(&attribute["value"]));
    let mut attributes: Vec<String> = attributes.iter().map(attribute).collect();
    attributes.sort();
    contents.extend(attributes);
    contents
}

/// The ids of the exchanges of a file, in the order in which they were written. Reads text, for there may be many.
pub fn ids(path: &Path) -> Vec<String> {
    ids_by_batch(path).into_iter().flatten().collect()
}

/// As [`ids`], batch by batch.
pub fn ids_by_batch(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // A line that is not whole was not acknowledged.
    let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
    let id = |rest: &str| Some(rest.split_once('"')?.0.to_owned());
    whole.lines().map(|line| line.split(ID).skip(1).filter_map(id).collect()).collect()
}

/// How often each came.
pub fn count(ids: &[String]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for id in ids {
        *counts.entry(id.as_str()).or_default() += 1;
    }
    counts
}

/// How many batches a file holds; counts ends of lines only, and so is fast enough to be asked again and again.
pub fn batches(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| memchr::memchr_iter(b'\n', &bytes).count())
}
