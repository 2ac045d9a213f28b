//! The attribute names that boards made for the Honeycomb Network Agent use (`AGENT_LEGACY_ATTRIBUTES`).

use std::borrow::Cow;

use super::attributes::{AttributeSink, Attributes};
use super::build::{HeaderKeys, Reading};
use super::redact::{REDACTED, is_secret_header};
use super::{Key, SpanSettings};
use crate::http::Headers;
use crate::time::Timestamp;

const META_STREAM_IDENT: &Key = &Key::new("meta.stream.ident");
const META_SEQACK: &Key = &Key::new("meta.seqack");
const CLIENT_SOCKET_ADDRESS: &Key = &Key::new("client.socket.address");
const SERVER_SOCKET_ADDRESS: &Key = &Key::new("server.socket.address");
const HTTP_METHOD: &Key = &Key::new("http.method");
const HTTP_TARGET: &Key = &Key::new("http.target");
const HTTP_REQUEST_CONTENT_LENGTH: &Key = &Key::new("http.request_content_length");
const HTTP_REQUEST_TIMESTAMP: &Key = &Key::new("http.request.timestamp");
const META_REQUEST_PACKET_COUNT: &Key = &Key::new("meta.request.packet_count");
const HTTP_STATUS_CODE: &Key = &Key::new("http.status_code");
const HTTP_RESPONSE_CONTENT_LENGTH: &Key = &Key::new("http.response_content_length");
const HTTP_RESPONSE_TIMESTAMP: &Key = &Key::new("http.response.timestamp");
const META_RESPONSE_PACKET_COUNT: &Key = &Key::new("meta.response.packet_count");
const ERROR: &Key = &Key::new("error");

/// Adds them, with the types that they had.
pub(super) fn add<'a, S: AttributeSink<'a>>(
    list: &mut Attributes<'_, S>,
    reading: &Reading<'a>,
    headers: &'a [HeaderKeys],
    settings: &SpanSettings,
) {
    let exchange = reading.exchange;
    let (client, server) = (exchange.client, exchange.server);
    let ident = format!("{}->{}:{}->{}", client.ip(), server.ip(), client.port(), server.port());
    list.text(META_STREAM_IDENT, ident);
    // Once the request's acknowledgement number; the exchange's identity says the same thing and more.
    let low = exchange.id.0.first_chunk::<4>().map_or(0, |start| u32::from_be_bytes(*start));
    list.int(META_SEQACK, low);
    list.text(CLIENT_SOCKET_ADDRESS, client.ip().to_string());
    list.text(SERVER_SOCKET_ADDRESS, server.ip().to_string());
    list.text(HTTP_METHOD, reading.method.clone());
    if settings.include_url {
        list.text(HTTP_TARGET, reading.target.path.clone());
    }
    let request = &exchange.request;
    list.int(HTTP_REQUEST_CONTENT_LENGTH, request.transfer.body_bytes);
    list.text(HTTP_REQUEST_TIMESTAMP, rfc3339(request.transfer.first_byte));
    list.int(META_REQUEST_PACKET_COUNT, request.transfer.packets);
    let mut packets = 0;
    if let Some(response) = &exchange.response {
        packets = response.transfer.packets;
        list.int(HTTP_STATUS_CODE, response.head.status());
        list.int(HTTP_RESPONSE_CONTENT_LENGTH, response.transfer.body_bytes);
        list.text(HTTP_RESPONSE_TIMESTAMP, rfc3339(response.transfer.first_byte));
    }
    list.int(META_RESPONSE_PACKET_COUNT, packets);
    if let Some(error) = error_text(reading) {
        list.text(ERROR, error);
    }
    for keys in headers {
        add_header(list, &keys.legacy_request, keys, request.head.headers(), settings);
        if let Some(response) = &exchange.response {
            add_header(list, &keys.legacy_response, keys, response.head.headers(), settings);
        }
    }
}

fn error_text(reading: &Reading<'_>) -> Option<&'static str> {
    match reading.exchange.response.as_ref().map(|response| response.head.status()) {
        Some(500..) => Some("HTTP server error"),
        Some(400..) => Some("HTTP client error"),
        _ => reading.error.as_ref().map(|_| "HTTP exchange failed"),
    }
}

/// Lower case with underscores, all lines joined into one text. A name without a dash is the same in both
/// conventions and already there as a list.
fn add_header<'a, S: AttributeSink<'a>>(
    list: &mut Attributes<'_, S>,
    key: &'a Key,
    keys: &HeaderKeys,
    headers: Headers<'a>,
    settings: &SpanSettings,
) {
    if !keys.name.contains('-') {
        return;
    }
    let values: Vec<Cow<'a, str>> = headers
        .filter(|(name, _)| name.eq_ignore_ascii_case(keys.name.as_bytes()))
        .map(|(_, value)| String::from_utf8_lossy(value))
        .collect();
    if values.is_empty() {
        return;
    }
    if is_secret_header(&keys.name) && !settings.unsafe_headers {
        list.text(key, REDACTED);
    } else {
        list.text(key, values.join(","));
    }
}

/// `2026-11-23T16:20:00.123456789Z` (RFC 3339 §5.6), by the civil-from-days rule of the Gregorian calendar.
fn rfc3339(at: Timestamp) -> String {
    let (seconds, nanos) = (at.as_nanos() / 1_000_000_000, at.as_nanos() % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 1 March of the year 0, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        let text = |seconds: u64| rfc3339(Timestamp::from_nanos(seconds * 1_000_000_000 + 7));
        assert_eq!(text(0), "1970-01-01T00:00:00.000000007Z");
        assert_eq!(text(951_782_399), "2000-02-28T23:59:59.000000007Z");
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00.000000007Z");
        assert_eq!(text(951_868_800), "2000-03-01T00:00:00.000000007Z");
        assert_eq!(text(1_795_450_800), "2026-11-23T16:20:00.000000007Z");
        assert_eq!(text(4_107_542_400), "2100-03-01T00:00:00.000000007Z");
    }
}
