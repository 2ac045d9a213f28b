//! Keys, tokens and passwords in every place that takes them → nothing of them in anything that the agent says.

use tonic::Code;

use crate::run::{SHOP, export, run, words};
use crate::server::{Honeycomb, Mood};

/// A key that Honeycomb could have given, and parts of which stand for the whole.
const KEY: &str = "hcaik_s3cr3tk3yn0b0dym4ys33";
/// All messages that there are.
const LOUD: &[&str] = &["--log-level", "trace", "-vv", "--debug"];

/// Neither the key nor half of it is in what was printed.
#[track_caller]
fn hides(words: &str, situation: &str) {
    for secret in [KEY, &KEY[6..18], &KEY[18..]] {
        assert!(!words.contains(secret), "{situation} shows {secret}: {words}");
    }
}

/// With the usual messages and with all that can be had, as text and as JSON.
async fn every_level(situation: &str, flags: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let mut all = Vec::new();
    for (loud, format) in [(&[][..], "text"), (LOUD, "text"), (LOUD, "json")] {
        let soon = [("AGENT_SHUTDOWN_TIMEOUT", "100ms"), ("AGENT_LOG_FORMAT", format)];
        let output = export(&[flags, loud].concat(), &[&soon[..], variables].concat()).await;
        hides(&words(&output), situation);
        all.push(words(&output));
    }
    all
}

/// As [`every_level`], and with `--check`.
async fn checked(situation: &str, variables: &[(&str, &str)]) {
    every_level(situation, &[], variables).await;
    let arguments = [&["--check", "--read", SHOP, "--export", "otlp"], LOUD].concat();
    hides(&words(&run(&arguments, variables).await), situation);
}

#[tokio::test]
async fn a_server_that_takes_spans_makes_no_secret_known() {
    let honeycomb = Honeycomb::start(KEY, Mood::Takes).await;
    let endpoint = honeycomb.endpoint();
    checked("a key", &[("HONEYCOMB_API_KEY", KEY), ("HONEYCOMB_API_ENDPOINT", &endpoint)]).await;
    assert!(!honeycomb.log().spans.is_empty(), "the key was sent");
    let flags = ["--honeycomb-api-key", KEY, "--honeycomb-api-endpoint", &endpoint];
    every_level("a key given as a flag", &flags, &[]).await;
}

#[tokio::test]
async fn a_server_that_repeats_the_key_is_quoted_without_it() {
    let codes = [Code::Unauthenticated, Code::PermissionDenied, Code::Internal, Code::InvalidArgument];
    let codes = codes.into_iter().chain([Code::ResourceExhausted, Code::Unavailable, Code::Unknown]);
    for mood in codes.map(Mood::Echoes).chain([Mood::EchoesInPartialSuccess]) {
        let honeycomb = Honeycomb::start(KEY, mood).await;
        let endpoint = honeycomb.endpoint();
        let variables = [("HONEYCOMB_API_KEY", KEY), ("HONEYCOMB_API_ENDPOINT", &endpoint)];
        let said = every_level(&format!("{mood:?}"), &[], &variables).await;
        assert!(said.iter().all(|words| words.contains("********")), "{mood:?}: {said:?}");
    }
}

#[tokio::test]
async fn a_connection_that_fails_makes_no_secret_known() {
    let honeycomb = Honeycomb::start(KEY, Mood::Takes).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoints = [
        ("TLS with a server that does not speak it", format!("https://{}", honeycomb.address)),
        ("nobody", format!("http://{nobody}")),
        ("nobody, by TLS", format!("https://{nobody}")),
        ("a host that is not there", "https://no-such-host.invalid".to_owned()),
        ("a password in the endpoint", format!("http://user:{KEY}@{}", honeycomb.address)),
        ("a password in an endpoint that is wrong", format!("http://user:{KEY}@[::1")),
        ("a password in an endpoint of another scheme", format!("ftp://user:{KEY}@host")),
        ("a password without a host", format!("http://user:{KEY}")),
        ("a password with a slash", format!("http://user:{}/{KEY}@host:4317", &KEY[..5])),
        ("a password without a user", format!("http://{KEY}@host:port")),
    ];
    for (situation, endpoint) in endpoints {
        let endpoint = endpoint.as_str();
        checked(situation, &[("HONEYCOMB_API_KEY", KEY), ("HONEYCOMB_API_ENDPOINT", endpoint)]).await;
        let headers = format!("authorization=Bearer%20{KEY}");
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_EXPORTER_OTLP_HEADERS", &headers)];
        checked(situation, &variables).await;
        checked(situation, &[&variables[..], &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]].concat()).await;
    }
}

#[tokio::test]
async fn a_proxys_password_is_not_told() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxies = [
        format!("http://user:{KEY}@{nobody}"),
        format!("user:{KEY}@{nobody}"),
        format!("http://{KEY}@{nobody}"),
        format!("socks5://user:{KEY}@{nobody}"),
        format!("http://user:{KEY}@[::1"),
        format!("http://user:{KEY}"),
        format!("user:{KEY}"),
        format!("http://user:{}/{KEY}@{nobody}", &KEY[..5]),
    ];
    for proxy in proxies {
        for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
            let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.invalid"), (variable, proxy.as_str())];
            checked(&proxy, &variables).await;
        }
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_used_is_named_without_its_value() {
    let honeycomb = Honeycomb::start(KEY, Mood::Takes).await;
    let endpoint = honeycomb.endpoint();
    let malformed = [
        format!("x-honeycomb-team={KEY},garbage"),
        KEY.to_owned(),
        format!("={KEY}"),
        format!("{KEY}="),
        format!("{KEY}=="),
        format!("Bearer {KEY}=="),
        format!("bad name={KEY}"),
        format!("x-honeycomb-team=%zz{KEY}"),
        format!("x-honeycomb-team=%00{KEY}"),
        format!("x-honeycomb-team={KEY}%0a"),
        format!("x-honeycomb-team=k\u{e9}{KEY}"),
        format!("authorization=Bearer%20{KEY};x=y"),
        format!("a=1,,b={KEY}=,{KEY}"),
        format!("x-honeycomb-team:{KEY}"),
        format!("\"x-honeycomb-team={KEY}\""),
        format!("grpc-timeout={KEY}"),
        format!("content-type={KEY},te={KEY},user-agent={KEY}"),
    ];
    for headers in malformed {
        for variable in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"] {
            checked(&headers, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), (variable, &headers)]).await;
        }
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_one_is_named_without_its_value() {
    let keys = [
        format!("{KEY} "),
        format!("{KEY}\n"),
        format!("{KEY}\nX"),
        format!("\"{KEY}\""),
        format!("{KEY}\u{7f}"),
        format!("k\u{e9}{KEY}"),
    ];
    for key in keys {
        let variables = [("HONEYCOMB_API_KEY", key.as_str()), ("HONEYCOMB_API_ENDPOINT", "http://127.0.0.1:9")];
        checked(&format!("{key:?}"), &variables).await;
    }
}

#[tokio::test]
async fn help_and_wrong_arguments_show_no_secret() {
    let headers = format!("authorization={KEY}");
    let variables = [("HONEYCOMB_API_KEY", KEY), ("OTEL_EXPORTER_OTLP_HEADERS", headers.as_str())];
    let cases: [&[&str]; 8] = [
        &["--help"],
        &["-h"],
        &["--version"],
        &["--nope"],
        &["--honeycomb-api-key", KEY, "--nope"],
        &["--honeycomb-api-key", KEY, "--honeycomb-api-key", KEY],
        &["--honeycomb-api-key", KEY, "--loss-grace", "5", "--export", "fax"],
        &["--honeycomb-api-keys", KEY],
    ];
    for arguments in cases {
        hides(&words(&run(arguments, &variables).await), &arguments.join(" "));
    }
}

/// Too little of everything: whatever fails, and if it is by a panic, shows nothing.
#[cfg(unix)]
#[tokio::test]
async fn a_process_without_memory_or_descriptors_shows_no_secret() {
    let honeycomb = Honeycomb::start(KEY, Mood::Takes).await;
    let endpoint = honeycomb.endpoint();
    let limits = ["-v 20000", "-v 60000", "-v 120000", "-v 250000", "-n 4", "-n 6", "-n 9", "-n 12", "-s 64"];
    for limit in limits {
        let script = format!("ulimit {limit}; exec \"$@\"");
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_network-agent")]).args(["--read", SHOP, "-vv"]);
        command.args(["--export", "otlp", "--shutdown-timeout", "1s", "--honeycomb-api-key", KEY]);
        command.args(["--honeycomb-api-endpoint", &endpoint]).env("RUST_BACKTRACE", "full");
        let output = command.output().await.unwrap();
        hides(&words(&output), limit);
    }
}

/// What is answered to who asks, and what is said while nobody takes spans and metrics, and when it ends.
#[cfg(target_os = "linux")]
#[test]
fn a_running_agent_shows_no_secret_to_who_asks() {
    use crate::laboratory::{Agent, Namespace, exists, skip, wait_for};

    if !exists("curl") {
        skip("there is no curl");
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let headers = format!("OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20{KEY}");
    let program =
        [&headers, "OTEL_METRIC_EXPORT_INTERVAL=100", "RUST_BACKTRACE=full", env!("CARGO_BIN_EXE_network-agent")];
    let flags = ["--export", "otlp", "--honeycomb-api-key", KEY, "--honeycomb-api-endpoint", "http://127.0.0.1:9"];
    let flags = [&flags[..], LOUD, &["--shutdown-timeout", "100ms"]].concat();
    let mut agent = Agent::start_as(&namespace, &program, "lo", folder.path(), &flags);
    let ask = |port: &str, path: &str| {
        let mut curl = namespace.command("curl");
        curl.args(["--silent", "--max-time", "20", "--noproxy", "*"]).arg(format!("http://127.0.0.1:{port}{path}"));
        String::from_utf8_lossy(&curl.output().unwrap().stdout).into_owned()
    };
    wait_for("the agent to tell why spans wait", || ask("9464", "/readyz").contains("spans wait to be exported"));
    for path in ["/", "/livez", "/readyz", "/metrics", "/config", "/nothing"] {
        let answer = ask("9464", path);
        assert!(!answer.is_empty(), "{path} is not answered");
        hides(&answer, path);
    }
    for path in ["/", "/debug/pprof", "/debug/pprof/profile?seconds=1", "/debug/allocations", "/debug/connections"] {
        let answer = ask("6060", path);
        assert!(!answer.is_empty(), "{path} is not answered");
        hides(&answer, path);
    }
    wait_for("the metrics to fail", || agent.messages().contains("etrics"));
    agent.signal("TERM");
    agent.wait();
    hides(&agent.messages(), "a running agent");
}
