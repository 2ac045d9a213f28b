//! Texts → sizes, times, switches, lists and pairs.

use std::net::SocketAddr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

/// `true` or `false`, without regard to case.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("use true or false".to_owned()),
    }
}

/// Bytes: a number, alone or with `k`, `M`, `G` (1000) or `Ki`, `Mi`, `Gi` (1024), and `B` or not.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = split_unit(text);
    let unit = unit.to_ascii_lowercase();
    let factor: usize = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 1,
        "k" => 1000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "ki" => 1 << 10,
        "mi" => 1 << 20,
        "gi" => 1 << 30,
        _ => return Err("use a number of bytes, such as 33554432 or 32MiB".to_owned()),
    };
    let bytes = number.parse::<usize>().ok().and_then(|number| number.checked_mul(factor));
    bytes.ok_or_else(|| "use a number of bytes, such as 33554432 or 32MiB".to_owned())
}

/// As [`size`], not less than `least`.
pub(super) fn size_from(text: &str, least: usize) -> Result<usize, String> {
    let bytes = size(text)?;
    if bytes >= least { Ok(bytes) } else { Err(format!("use at least {least} bytes")) }
}

/// A time: a number with `ms`, `s`, `m` or `h`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err("use a number with its unit, such as 500ms, 5s or 10m".to_owned()),
    };
    let millis = number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis));
    millis.map(Duration::from_millis).ok_or_else(|| "use a number with its unit, such as 500ms, 5s or 10m".to_owned())
}

/// A whole number of at least 1.
pub(super) fn count(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("use a whole number of at least 1".to_owned()),
    }
}

/// Where to listen: an IP address, or `localhost`, and a port. Other names would have to be looked up.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let remedy = "use localhost or an IP address, and a port, such as localhost:6060";
    local.as_deref().unwrap_or(text).parse().map_err(|_| remedy.to_owned())
}

/// The user and the password of a URL, between its scheme and its host.
pub(super) fn userinfo(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (userinfo, _) = rest.get(..end)?.rsplit_once('@')?;
    Some(userinfo)
}

/// A URL as it may be shown.
pub(super) fn without_userinfo(url: &str) -> String {
    let url = url.split_once('?').map_or_else(|| url.to_owned(), |(base, _)| format!("{base}?********"));
    let url = url.as_str();
    if may_hide_password(url) {
        let scheme = url.split_once("://").map(|(scheme, _)| format!("{scheme}://")).unwrap_or_default();
        return format!("{scheme}********");
    }
    userinfo(url)
        .filter(|secret| !secret.is_empty())
        .map_or_else(|| url.to_owned(), |secret| url.replacen(secret, "********", 1))
}

/// Whether what stands where a port does may be a password, after which the host is missing, or which holds a `/` that is
/// not encoded.
fn may_hide_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
    let port = host_and_port.rsplit_once(':').map_or("", |(_, port)| port);
    let is_address = port.contains(']') || host_and_port.starts_with('[');
    !is_address && !port.bytes().all(|byte| byte.is_ascii_digit()) && (port.len() > 5 || path.contains('@'))
}

/// Elements between commas, trimmed, without empty ones.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|element| !element.is_empty())
}

/// `name=value` pairs between commas, percent-decoded (W3C baggage, as the OpenTelemetry specification uses it).
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    list(text)
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} has no ="))?;
            let decode = |text: &str| {
                percent_decode_str(text.trim())
                    .decode_utf8()
                    .map(String::from)
                    .map_err(|_| "it is not UTF-8".to_owned())
            };
            let name = decode(name)?;
            if name.is_empty() { Err(format!("{pair:?} has no name")) } else { Ok((name, decode(value)?)) }
        })
        .collect()
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("64k", 64_000),
            ("64KiB", 65_536),
            ("2 MiB", 2 << 20),
            ("1GB", 1_000_000_000),
            ("1gi", 1 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "k", "-1", "1.5M", "10 apples", "99999999999999999999"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_need_units() {
        for (text, millis) in [("5s", 5000), ("500ms", 500), ("10m", 600_000), ("2h", 7_200_000), ("0s", 0)] {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "-5s", "1d"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_numbers_or_this_machine() {
        for (text, wanted) in [
            ("localhost:6060", "127.0.0.1:6060"),
            (" 10.0.0.1:1 ", "10.0.0.1:1"),
            ("[::1]:6060", "[::1]:6060"),
            ("0.0.0.0:6060", "0.0.0.0:6060"),
        ] {
            assert_eq!(address(text).map(|address| address.to_string()), Ok(wanted.to_owned()), "{text}");
        }
        for text in
            ["", "localhost", ":6060", "6060", "example.com:6060", "localhost:port", "127.0.0.1", "localhost:65536"]
        {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_password_of_a_url_is_not_shown() {
        for (url, shown) in [
            ("http://me:secret@collector:4317/x@y", "http://********@collector:4317/x@y"),
            ("me:se@cret@collector", "********@collector"),
            ("http://collector:4317", "http://collector:4317"),
            ("http://@collector", "http://@collector"),
            ("collector/a@b", "collector/a@b"),
            ("http://collector:43l7", "http://collector:43l7"),
            ("http://user:password", "http://********"),
            ("user:password", "********"),
            ("http://user:pa/ss@host:4317", "http://********"),
            ("http://[fd00::1]:4317", "http://[fd00::1]:4317"),
        ] {
            assert_eq!(without_userinfo(url), shown);
        }
    }

    #[test]
    fn pairs_are_decoded() {
        let wanted = vec![("a".to_owned(), "1,2".to_owned()), ("b".to_owned(), String::new())];
        assert_eq!(pairs("a=1%2C2, b= ,"), Ok(wanted));
        assert!(pairs("a").is_err() && pairs("=1").is_err() && pairs("a=%ff").is_err());
    }

    #[test]
    fn switches_are_true_or_false() {
        assert_eq!((switch("TRUE"), switch("false")), (Ok(true), Ok(false)));
        assert!(switch("maybe").is_err());
    }
}
