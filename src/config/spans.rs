//! Settings of spans → `SpanSettings`.

use super::resolve::Resolver;
use super::{cluster, values};
use crate::http::is_token;
use crate::span::{MAX_TEXT, Propagator, RootSampler, Sampler, SpanSettings};

/// What spans hold.
pub(super) fn settings(resolver: &mut Resolver<'_>) -> SpanSettings {
    let default = SpanSettings::default();
    let headers = headers(resolver);
    let methods = resolver.raw.text("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS");
    let known_methods = methods.map_or(default.known_methods, |text| values::list(text).map(str::to_owned).collect());
    let mut limit = |name: &str| {
        let own = resolver.otel(&format!("OTEL_SPAN_ATTRIBUTE_{name}"), number);
        own.or_else(|| resolver.otel(&format!("OTEL_ATTRIBUTE_{name}"), number))
    };
    let attribute_count_limit = limit("COUNT_LIMIT").unwrap_or(default.attribute_count_limit);
    let attribute_value_length_limit = limit("VALUE_LENGTH_LIMIT").unwrap_or(MAX_TEXT).min(MAX_TEXT);
    SpanSettings {
        include_url: resolver.switch("INCLUDE_REQUEST_URL"),
        include_query: resolver.switch("AGENT_INCLUDE_QUERY"),
        headers,
        unsafe_headers: resolver.switch("AGENT_UNSAFE_HEADERS"),
        legacy_attributes: resolver.switch("AGENT_LEGACY_ATTRIBUTES"),
        known_methods,
        attribute_count_limit,
        attribute_value_length_limit,
        sampler: sampler(resolver),
        propagators: propagators(resolver),
        layout: cluster::layout(resolver),
        names_from_labels: resolver.switch("AGENT_SERVICE_NAME_FROM_LABELS"),
        routes: cluster::routes(resolver),
        selection: cluster::observed(resolver),
    }
}

/// Names of header fields, in lower case. One that no field can have (RFC 9110 §5.1) would find nothing, and nobody would know
/// why.
fn headers(resolver: &mut Resolver<'_>) -> Vec<String> {
    let names = values::list(resolver.raw.text("HTTP_HEADERS").unwrap_or("User-Agent"));
    let (good, bad): (Vec<&str>, Vec<&str>) = names.partition(|name| is_token(name));
    let ignored =
        |name| format!("HTTP_HEADERS = {name:?} is ignored: it is no name of a header; put commas between names");
    resolver.warnings.extend(bad.into_iter().map(ignored));
    good.into_iter().map(str::to_ascii_lowercase).collect()
}

fn sampler(resolver: &mut Resolver<'_>) -> Sampler {
    let ratio = resolver.otel("OTEL_TRACES_SAMPLER_ARG", |text| match text.trim().parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("use a ratio between 0 and 1".to_owned()),
    });
    let ratio = ratio.unwrap_or(1.0);
    let chosen = resolver.otel("OTEL_TRACES_SAMPLER", |text| {
        Ok(match text.trim().to_ascii_lowercase().as_str() {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            "traceidratio" => Sampler::TraceIdRatio(ratio),
            "parentbased_always_on" => Sampler::ParentBased { root: RootSampler::AlwaysOn },
            "parentbased_always_off" => Sampler::ParentBased { root: RootSampler::AlwaysOff },
            "parentbased_traceidratio" => Sampler::ParentBased { root: RootSampler::TraceIdRatio(ratio) },
            _ => return Err("use always_on, always_off, traceidratio or parentbased_ before one of these".to_owned()),
        })
    });
    chosen.unwrap_or(Sampler::AlwaysOn)
}

fn propagators(resolver: &mut Resolver<'_>) -> Vec<Propagator> {
    let chosen = resolver.otel("OTEL_PROPAGATORS", |text| {
        let mut formats = Vec::new();
        for name in values::list(text) {
            match name.to_ascii_lowercase().as_str() {
                "tracecontext" => formats.push(Propagator::TraceContext),
                "b3" => formats.push(Propagator::B3),
                "b3multi" => formats.push(Propagator::B3Multi),
                // Baggage is carried, not reported.
                "baggage" | "none" => {}
                _ => return Err("use tracecontext, b3, b3multi, baggage or none".to_owned()),
            }
        }
        Ok(formats)
    });
    chosen.unwrap_or_else(|| vec![Propagator::TraceContext])
}

fn number(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| "use a whole number".to_owned())
}
