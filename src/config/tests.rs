//! Configurations resolved from arguments and an environment.

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::export::OutputConfig;
use crate::export::otlp::{Compression, OtlpConfig, Protocol};
use crate::span::Sampler;

fn load(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment: HashMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let arguments = std::iter::once("network-agent").chain(arguments.iter().copied()).map(OsString::from);
    Config::load(arguments, |name| environment.get(name).cloned(), Terminal::No)
}

fn otlp(environment: &[(&str, &str)]) -> OtlpConfig {
    match load(&[], environment).unwrap().export.output {
        OutputConfig::Otlp(otlp) => *otlp,
        other => panic!("{other:?}"),
    }
}

fn header(otlp: &OtlpConfig, name: &str) -> Option<String> {
    otlp.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.reveal().to_owned())
}

#[test]
fn honeycomb_is_the_default_destination() {
    let otlp = otlp(&[("HONEYCOMB_API_KEY", "key")]);
    assert_eq!(otlp.endpoint.to_string(), "https://api.honeycomb.io:443/");
    assert_eq!(header(&otlp, "x-honeycomb-team"), Some("key".to_owned()));
    assert_eq!((otlp.compression, otlp.concurrency), (Compression::Gzip, 4));
    assert_eq!(header(&otlp, "x-honeycomb-dataset"), None);
}

#[test]
fn a_classic_key_needs_its_dataset() {
    let key = "0123456789abcdef0123456789abcdef";
    let otlp = otlp(&[("HONEYCOMB_API_KEY", key), ("HONEYCOMB_DATASET", "traffic")]);
    assert_eq!(header(&otlp, "x-honeycomb-dataset"), Some("traffic".to_owned()));
}

#[test]
fn a_dataset_of_the_headers_beats_the_one_for_classic_keys() {
    let key = "0123456789abcdef0123456789abcdef";
    let mine = ("OTEL_EXPORTER_OTLP_HEADERS", "x-honeycomb-dataset=mine");
    let otlp = otlp(&[("HONEYCOMB_API_KEY", key), ("HONEYCOMB_DATASET", "traffic"), mine]);
    assert_eq!(otlp.headers.iter().filter(|(name, _)| name == "x-honeycomb-dataset").count(), 1);
    assert_eq!(header(&otlp, "x-honeycomb-dataset"), Some("mine".to_owned()));
}

#[test]
fn variables_for_traces_beat_general_ones_beat_honeycomb_s() {
    let mut environment = vec![("HONEYCOMB_API_KEY", "key"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317")];
    assert_eq!(otlp(&environment).endpoint.to_string(), "http://a:4317/");
    assert_eq!(header(&otlp(&environment), "x-honeycomb-team"), None, "the key goes to Honeycomb only");
    assert_eq!((otlp(&environment).compression, otlp(&environment).concurrency), (Compression::None, 1));
    environment.push(("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b"));
    assert_eq!(otlp(&environment).endpoint.to_string(), "http://b:4317/");
}

#[test]
fn the_protocol_is_grpc_or_http_with_the_path_of_the_signal() {
    const HTTP: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    for (endpoint, url) in [
        (("HONEYCOMB_API_ENDPOINT", "https://api.eu1.honeycomb.io"), "https://api.eu1.honeycomb.io:443/v1/traces"),
        (("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"), "http://a:4318/v1/traces"),
        (("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a/otlp/"), "http://a:80/otlp/v1/traces"),
        (("OTEL_EXPORTER_OTLP_ENDPOINT", "a:4318"), "https://a:4318/v1/traces"),
        (("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:4318/otlp"), "http://a:4318/otlp"),
        (("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://a"), "https://a:443/"),
    ] {
        let otlp = otlp(&[("HONEYCOMB_API_KEY", "key"), HTTP, endpoint]);
        assert_eq!((otlp.endpoint.to_string().as_str(), otlp.protocol), (url, Protocol::HttpProtobuf));
    }
    let wrong = load(&[], &[("HONEYCOMB_API_KEY", "key"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]).unwrap_err();
    assert!(format!("{wrong:?}").contains("http/protobuf"), "{wrong:?}");
}

#[test]
fn a_port_that_is_none_is_a_fault_with_either_protocol() {
    for protocol in ["grpc", "http/protobuf"] {
        for endpoint in ["http://a:43l8", "http://a:0", "http://a:65536", "http://user:password"] {
            let environment = [("OTEL_EXPORTER_OTLP_PROTOCOL", protocol), ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)];
            let faults = faults(&[], &environment);
            assert_eq!(faults.len(), 1, "{endpoint}: {faults:?}");
            assert!(!format!("{faults:?}").contains("password"), "{faults:?}");
        }
    }
    let faults = faults(&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a"), ("HTTPS_PROXY", "http://user:password")]);
    assert!(!faults.is_empty() && !format!("{faults:?}").contains("password"), "{faults:?}");
}

#[test]
fn a_proxy_is_for_tls_to_other_machines() {
    const PROXY: (&str, &str) = ("HTTPS_PROXY", "http://me:secret@proxy.example:3128");
    let through = |endpoint, more: &[(&str, &str)]| {
        let environment = [&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)], more].concat();
        otlp(&environment).proxy.map(|proxy| (proxy.uri.to_string(), proxy.authorization.is_some()))
    };
    let wanted = Some(("http://proxy.example:3128/".to_owned(), true));
    assert_eq!(through("https://otlp.example", &[PROXY]), wanted);
    assert_eq!(through("http://otlp.example", &[PROXY]), None);
    assert_eq!(through("https://localhost:4317", &[PROXY]), None);
    assert_eq!(through("https://[::1]:4317", &[PROXY]), None);
    for without in ["otlp.example", ".example", "*", "a,otlp.example"] {
        assert_eq!(through("https://otlp.example", &[PROXY, ("NO_PROXY", without)]), None, "{without}");
    }
    assert_eq!(through("https://10.1.2.3", &[PROXY, ("no_proxy", "10.0.0.0/8")]), None);
    assert_eq!(through("https://a", &[("all_proxy", "proxy:1")]), Some(("http://proxy:1/".to_owned(), false)));
    for wrong in ["socks5://me:secret@proxy", "http://me:secret@", "https://me:secret@proxy:1"] {
        let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a"), ("HTTPS_PROXY", wrong)];
        let fault = format!("{:?}", load(&[], &environment).unwrap_err());
        assert!(fault.contains("HTTPS_PROXY") && !fault.contains("secret"), "{fault}");
    }
}

#[test]
fn a_batch_processors_own_bounds_are_kept() {
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "2048"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "3000"),
    ];
    let config = load(&[], &environment).unwrap();
    assert_eq!(config.export.batch.queue_spans, Some(2048));
    assert_eq!(otlp(&environment).timeout, Duration::from_secs(3));
    let longer = [environment[0], ("OTEL_BSP_EXPORT_TIMEOUT", "30000")];
    assert_eq!(otlp(&longer).timeout, Duration::from_secs(10));
}

/// What a panic or a line of the log could print of it.
#[tokio::test]
async fn nothing_that_is_printed_of_a_configuration_holds_a_secret() {
    let environment = [
        ("HONEYCOMB_API_KEY", "hcaik_hunter2"),
        ("HONEYCOMB_API_ENDPOINT", "https://me:hunter2@otlp.example"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2"),
        ("HTTPS_PROXY", "http://me:hunter2@proxy.example:3128"),
    ];
    for protocol in ["grpc", "http/protobuf"] {
        let environment = [&environment[..], &[("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)]].concat();
        let config = load(&[], &environment).unwrap();
        let OutputConfig::Otlp(otlp) = &config.export.output else { panic!("{config:?}") };
        let exporter = crate::export::otlp::OtlpExporter::new(otlp).unwrap();
        let printed = format!("{config:?} {config:#?} {exporter:?} {}", otlp.shown());
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

#[test]
fn networks_are_lists_and_a_wrong_one_is_a_fault() {
    let given = ["--local-networks", "10.244.1.0/24, fd00:1::/64", "--export", "none"];
    let networks = load(&given, &[("AGENT_CLUSTER_NETWORKS", "10.244.0.0/16")]).unwrap().networks;
    assert_eq!((networks.local.len(), networks.cluster.len()), (2, 1));
    let wrong = load(&["--export", "none"], &[("AGENT_LOCAL_NETWORKS", "10.244.1.0/40")]).unwrap_err();
    assert!(format!("{wrong:?}").contains("10.244.1.0/40"), "{wrong:?}");
}

#[test]
fn an_endpoint_without_a_scheme_is_tls_unless_said_otherwise() {
    let bare = [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")];
    assert_eq!(otlp(&bare).endpoint.scheme_str(), Some("https"));
    let insecure = [bare[0], ("OTEL_EXPORTER_OTLP_INSECURE", "true")];
    assert_eq!(otlp(&insecure).endpoint.scheme_str(), Some("http"));
}

#[test]
fn a_flag_beats_its_variable_and_an_empty_variable_is_none() {
    let config = load(&["--read", "x", "--max-head-bytes", "1KiB"], &[("AGENT_MAX_HEAD_BYTES", "9")]).unwrap();
    assert_eq!(config.pipeline.max_head_bytes, 1024);
    let config = load(&["--read", "x"], &[("AGENT_MAX_HEAD_BYTES", "")]).unwrap();
    assert_eq!(config.pipeline.max_head_bytes, 64 << 10);
    assert!(load(&["--read", "x"], &[("HTTP_HEADERS", "")]).unwrap().spans.headers.is_empty());
}

#[test]
fn an_argument_that_is_no_text_is_named() {
    use std::os::unix::ffi::OsStringExt;
    let argument = OsString::from_vec(b"--filter=caf\xe9".to_vec());
    let loaded = Config::load([OsString::from("network-agent"), argument], |_| None, Terminal::No);
    let words = loaded.unwrap_err().to_string();
    assert!(words.contains("--filter=caf"), "{words}");
}

#[test]
fn what_opentelemetry_variables_say_wrongly_is_warned_of_and_ignored() {
    let config =
        load(&["--read", "x"], &[("OTEL_BSP_SCHEDULE_DELAY", "soon"), ("OTEL_TRACES_SAMPLER", "dice")]).unwrap();
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
    assert_eq!((config.export.batch.delay, config.spans.sampler), (Duration::from_secs(1), Sampler::AlwaysOn));
}

#[test]
fn a_header_that_no_message_can_have_is_warned_of_and_the_others_are_kept() {
    let config = load(&["--read", "x"], &[("HTTP_HEADERS", "X-Request-Id, Accept Host,a:b,,ETag")]).unwrap();
    assert_eq!(config.spans.headers, ["x-request-id", "etag"]);
    let [first, second] = &*config.warnings else { panic!("{:?}", config.warnings) };
    assert!(first.contains("\"Accept Host\"") && second.contains("\"a:b\""), "{first} {second}");
}

#[test]
fn defaults_of_the_table_are_the_defaults_of_the_core() {
    let config = load(&["--read", "x"], &[]).unwrap();
    assert_eq!(format!("{:?}", config.pipeline), format!("{:?}", PipelineConfig::default()));
    assert_eq!(format!("{:?}", config.spans), format!("{:?}", SpanSettings::default()));
}

#[test]
fn the_resource_has_each_name_once_and_the_dataset_as_its_service() {
    let environment = [
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=a"),
        ("ADDITIONAL_ATTRIBUTES", "team=b"),
        ("AGENT_NODE_NAME", "n1"),
    ];
    let resource = load(&["--read", "x"], &environment).unwrap().resource;
    let value = |key: &str| {
        let found: Vec<_> = resource.attributes.iter().filter(|attribute| attribute.key == key).collect();
        assert_eq!(found.len(), 1, "{key}");
        format!("{:?}", found[0].value)
    };
    assert!(value("service.name").contains("hny-network-agent"));
    assert!(value("team").contains("\"b\"") && value("k8s.node.name").contains("n1"));
}

#[test]
fn obsolete_variables_are_named() {
    let config = load(&["--read", "x"], &[("HANDLER_TYPE", "libhoney")]).unwrap();
    assert!(config.warnings[0].starts_with("HANDLER_TYPE"));
}

#[test]
fn profiles_are_given_with_debug_while_capturing_and_on_this_machine() {
    let address = |arguments: &[&str], environment: &[(&str, &str)]| {
        let arguments = [&["--export", "none"], arguments].concat();
        let config = load(&arguments, environment).unwrap();
        (config.debugging.map(|address| address.to_string()), config.warnings.len())
    };
    assert_eq!(address(&[], &[]), (None, 0));
    assert_eq!(address(&[], &[("DEBUG_ADDRESS", "0.0.0.0:1")]), (None, 0));
    assert_eq!(address(&["--read", "x", "--debug"], &[]), (None, 0));
    assert_eq!(address(&[], &[("DEBUG", "true")]), (Some("127.0.0.1:6060".to_owned()), 0));
    assert_eq!(address(&["--debug"], &[("DEBUG_ADDRESS", "[::1]:7")]), (Some("[::1]:7".to_owned()), 0));
    assert_eq!(address(&["--debug", "--debug-address", "0.0.0.0:1"], &[]), (Some("0.0.0.0:1".to_owned()), 1));
}

#[test]
fn an_address_for_profiles_that_cannot_be_used_is_a_fault_and_debug_one_only() {
    let environment = [("DEBUG_ADDRESS", "example.com:6060"), ("DEBUG", "perhaps")];
    let ConfigError::Faults(Faults(faults)) = load(&["--export", "none"], &environment).unwrap_err() else {
        panic!("faults are what it has")
    };
    let named: Vec<_> = faults.iter().map(|fault| fault.setting.as_str()).collect();
    assert_eq!(named, ["DEBUG", "DEBUG_ADDRESS"]);
    assert!(faults[1].remedy.contains("localhost:6060"), "{}", faults[1].remedy);
}

/// The faults, each as its setting, its value and its remedy.
fn faults(arguments: &[&str], environment: &[(&str, &str)]) -> Vec<(String, String, String)> {
    let ConfigError::Faults(Faults(faults)) = load(arguments, environment).unwrap_err() else {
        panic!("faults are what it has")
    };
    faults.into_iter().map(|Fault { setting, value, remedy }| (setting, value, remedy)).collect()
}

#[test]
fn a_filter_that_does_not_compile_is_a_fault_beside_the_others() {
    let faults = faults(&["--filter", "tcp prot 80", "--workers", "0", "--export", "none"], &[]);
    let named: Vec<_> = faults.iter().map(|(setting, ..)| setting.as_str()).collect();
    assert_eq!(named, ["--filter", "--workers"]);
    assert!(faults[0].2.contains("does not compile") && faults[0].2.contains("syntax error"), "{}", faults[0].2);
    assert!(load(&["--filter", "tcp port 80", "--export", "none"], &[]).is_ok());
}

#[test]
fn an_endpoint_with_a_port_that_is_none_is_a_fault_that_shows_no_password() {
    for port in ["99999", "0", "http"] {
        let endpoint = format!("http://me:s3cr3t@collector:{port}");
        let faults = faults(&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
        assert_eq!(faults[0].1, format!("http://********@collector:{port}"));
        assert!(!format!("{faults:?}").contains("s3cr3t"));
    }
    let config = load(&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cr3t@[::1]:4318/v1")]).unwrap();
    let warnings = config.warnings.join(" ");
    assert!(warnings.contains("names a user") && !warnings.contains("s3cr3t"), "{warnings}");
    let OutputConfig::Otlp(otlp) = config.export.output else { panic!("it goes to a server") };
    assert_eq!(otlp.endpoint.to_string(), "http://[::1]:4318/");
}

#[test]
fn probes_are_answered_on_this_machine_by_name_too() {
    let admin = |address| load(&["--admin-address", address, "--export", "none"], &[]).unwrap().admin;
    assert_eq!(admin("localhost:9464"), "127.0.0.1:9464".parse().ok());
    assert_eq!(admin("[::1]:9464"), "[::1]:9464".parse().ok());
    assert_eq!((admin("off"), admin("")), (None, None));
    assert_eq!(faults(&["--admin-address", "9464", "--export", "none"], &[]).len(), 1);
}
