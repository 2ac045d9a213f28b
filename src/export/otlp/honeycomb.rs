//! A key → whose it is, as Honeycomb says (`GET /1/auth`).

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;

use super::OtlpConfig;
use super::connection::{connect_timeout, headers, http_client};
use super::explain::Destination;
use super::http::fetch;
use super::tls::Certificates;

/// The header that carries the key.
const KEY: &str = "x-honeycomb-team";

/// Whose the key is, or what is wrong with it. `None` when it does not go to Honeycomb, or nothing was heard of it.
pub(super) async fn ask_about_key(
    config: &OtlpConfig,
    destination: &Destination,
    certificates: &Certificates,
) -> Option<Result<String, String>> {
    if !config.is_honeycomb() {
        return None;
    }
    let client = http_client(config, certificates).ok()?;
    let request = request(config)?;
    let answer = tokio::time::timeout(connect_timeout(config), fetch(&client, request)).await;
    match answer {
        Ok(Ok(response)) => verdict(&response, destination),
        Ok(Err(error)) => {
            tracing::debug!("The key could not be checked: {}.", destination.explain_transport(&*error));
            None
        }
        Err(_) => {
            tracing::debug!("The key could not be checked: {} does not answer.", destination.endpoint());
            None
        }
    }
}

fn request(config: &OtlpConfig) -> Option<Request<Full<Bytes>>> {
    let key: HeaderValue = headers(config).ok()?.remove(KEY)?;
    let uri = Uri::builder().scheme(config.endpoint.scheme()?.clone()).authority(config.endpoint.authority()?.clone());
    let request = Request::get(uri.path_and_query("/1/auth").build().ok()?)
        .header(KEY, key)
        .header(http::header::USER_AGENT, super::connection::USER_AGENT);
    request.body(Full::default()).ok()
}

fn verdict(response: &Response<Bytes>, destination: &Destination) -> Option<Result<String, String>> {
    let endpoint = destination.endpoint();
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Some(Err(format!(
                "{endpoint} does not know the key: check HONEYCOMB_API_KEY, and that HONEYCOMB_API_ENDPOINT is in the \
                 region of the key (https://api.eu1.honeycomb.io in the EU)"
            )));
        }
        status => {
            tracing::debug!(%status, "The key could not be checked.");
            return None;
        }
    }
    let answer: serde_json::Value = serde_json::from_slice(response.body()).ok()?;
    if answer.pointer("/api_key_access/events").and_then(serde_json::Value::as_bool) == Some(false) {
        return Some(Err(format!(
            "{endpoint} knows the key, which may not send events: give it that permission, or set HONEYCOMB_API_KEY to an \
             ingest key"
        )));
    }
    let name = |of: &str| answer.pointer(of).and_then(serde_json::Value::as_str).filter(|name| !name.is_empty());
    let team = name("/team/slug").or_else(|| name("/team/name")).unwrap_or("unnamed");
    Some(Ok(match name("/environment/slug").or_else(|| name("/environment/name")) {
        Some(environment) => format!("the key is of team {team}, environment {environment}"),
        None => format!("the key is of team {team}"),
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::export::otlp::{Compression, Protocol, Secret};

    fn destination() -> Destination {
        Destination::new(&config("https://api.honeycomb.io:443"))
    }

    fn config(endpoint: &str) -> OtlpConfig {
        OtlpConfig {
            endpoint: endpoint.parse().unwrap(),
            protocol: Protocol::Grpc,
            headers: vec![(KEY.to_owned(), Secret::new("hcaik_secret"))],
            compression: Compression::None,
            timeout: Duration::from_secs(1),
            certificate: None,
            client_identity: None,
            concurrency: 1,
            proxy: None,
        }
    }

    fn heard(status: u16, body: &'static str) -> Option<Result<String, String>> {
        verdict(&Response::builder().status(status).body(Bytes::from(body)).unwrap(), &destination())
    }

    #[test]
    fn the_owner_of_a_key_is_named() {
        let body = r#"{"api_key_access":{"events":true},"team":{"slug":"shop"},"environment":{"slug":"prod"}}"#;
        assert_eq!(heard(200, body), Some(Ok("the key is of team shop, environment prod".to_owned())));
        let classic =
            r#"{"api_key_access":{"events":true},"team":{"slug":"shop"},"environment":{"slug":"","name":""}}"#;
        assert_eq!(heard(200, classic), Some(Ok("the key is of team shop".to_owned())));
    }

    #[test]
    fn a_wrong_key_and_one_without_the_right_are_told_with_the_remedy() {
        let unknown = heard(401, r#"{"error":"unknown API key"}"#).unwrap().unwrap_err();
        assert!(unknown.contains("HONEYCOMB_API_KEY") && unknown.contains("eu1"), "{unknown}");
        let without = heard(200, r#"{"api_key_access":{"events":false},"team":{"slug":"shop"}}"#).unwrap().unwrap_err();
        assert!(without.contains("may not send events"), "{without}");
    }

    #[test]
    fn what_is_no_answer_says_nothing_about_the_key() {
        assert_eq!(heard(500, ""), None);
        assert_eq!(heard(200, "<html>"), None);
    }

    #[tokio::test]
    async fn a_key_is_shown_to_nobody_but_honeycomb() {
        let elsewhere = config("https://honeycomb.io.example:1");
        assert_eq!(ask_about_key(&elsewhere, &destination(), &Certificates::default()).await, None);
        let request = request(&config("https://api.eu1.honeycomb.io:443")).unwrap();
        assert_eq!(request.uri(), "https://api.eu1.honeycomb.io:443/1/auth");
        assert!(request.headers()[KEY].is_sensitive());
    }
}
