//! URLs and header lines → the same without what must not leave the machine.

use std::borrow::Cow;

/// What stands in place of a secret.
pub(super) const REDACTED: &str = "REDACTED";

/// Query keys whose values are credentials (conventions, HTTP spans, `url.query`); compared with case.
const SECRET_KEYS: [&str; 7] = [
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
];

/// Header names whose values are credentials.
const SECRET_HEADERS: [&str; 4] = ["authorization", "cookie", "set-cookie", "proxy-authorization"];

/// Whether the header line `name`, in lower case, holds credentials.
pub(super) fn is_secret_header(name: &str) -> bool {
    SECRET_HEADERS.contains(&name)
}

/// The query, without `?`, with the values of secret keys replaced.
pub(super) fn query(query: Cow<'_, str>) -> Cow<'_, str> {
    let is_secret = |part: &str| part.split_once('=').is_some_and(|(key, _)| SECRET_KEYS.contains(&key));
    if !query.split('&').any(is_secret) {
        return query;
    }
    let parts = query.split('&').map(|part| match part.split_once('=') {
        Some((key, _)) if SECRET_KEYS.contains(&key) => format!("{key}={REDACTED}"),
        _ => part.to_owned(),
    });
    Cow::Owned(parts.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_values_of_secret_keys_are_replaced() {
        let redacted = query(Cow::Borrowed("a=1&sig=abc=&X-Amz-Signature=s&Sig=x&sig&b"));
        assert_eq!(redacted, "a=1&sig=REDACTED&X-Amz-Signature=REDACTED&Sig=x&sig&b");
        assert!(matches!(query(Cow::Borrowed("a=1&b=2")), Cow::Borrowed(_)));
    }

    #[test]
    fn every_listed_key_is_redacted() {
        for key in SECRET_KEYS {
            assert!(!query(Cow::Owned(format!("x=1&{key}=hunter2"))).contains("hunter2"), "{key}");
        }
    }
}
