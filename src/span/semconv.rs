//! Attribute names of the semantic conventions 1.44.0 (`https://opentelemetry.io/schemas/1.44.0`), and the agent's own.

use super::Key;

/// Methods reported by their own name (conventions, HTTP spans: RFC 9110, RFC 5789 and QUERY).
pub(super) const KNOWN_METHODS: [&str; 10] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"];

pub(super) const CLIENT_ADDRESS: &Key = &Key::new("client.address");
pub(super) const CLIENT_PORT: &Key = &Key::new("client.port");
pub(super) const DESTINATION_ADDRESS: &Key = &Key::new("destination.address");
pub(super) const DESTINATION_PORT: &Key = &Key::new("destination.port");
pub(super) const ERROR_TYPE: &Key = &Key::new("error.type");
pub(super) const HTTP_REQUEST_BODY_SIZE: &Key = &Key::new("http.request.body.size");
pub(super) const HTTP_REQUEST_METHOD: &Key = &Key::new("http.request.method");
pub(super) const HTTP_REQUEST_METHOD_ORIGINAL: &Key = &Key::new("http.request.method_original");
pub(super) const HTTP_REQUEST_SIZE: &Key = &Key::new("http.request.size");
pub(super) const HTTP_RESPONSE_BODY_SIZE: &Key = &Key::new("http.response.body.size");
pub(super) const HTTP_RESPONSE_SIZE: &Key = &Key::new("http.response.size");
pub(super) const HTTP_ROUTE: &Key = &Key::new("http.route");
pub(super) const HTTP_RESPONSE_STATUS_CODE: &Key = &Key::new("http.response.status_code");
pub(super) const NETWORK_LOCAL_ADDRESS: &Key = &Key::new("network.local.address");
pub(super) const NETWORK_LOCAL_PORT: &Key = &Key::new("network.local.port");
pub(super) const NETWORK_PEER_ADDRESS: &Key = &Key::new("network.peer.address");
pub(super) const NETWORK_PEER_PORT: &Key = &Key::new("network.peer.port");
pub(super) const NETWORK_PROTOCOL_VERSION: &Key = &Key::new("network.protocol.version");
pub(super) const NETWORK_TRANSPORT: &Key = &Key::new("network.transport");
pub(super) const NETWORK_TYPE: &Key = &Key::new("network.type");
pub(super) const SERVER_ADDRESS: &Key = &Key::new("server.address");
pub(super) const SERVER_PORT: &Key = &Key::new("server.port");
pub(super) const SERVICE_PEER_NAME: &Key = &Key::new("service.peer.name");
pub(super) const SERVICE_PEER_NAMESPACE: &Key = &Key::new("service.peer.namespace");
pub(super) const SOURCE_ADDRESS: &Key = &Key::new("source.address");
pub(super) const SOURCE_PORT: &Key = &Key::new("source.port");
pub(super) const URL_FULL: &Key = &Key::new("url.full");
pub(super) const URL_PATH: &Key = &Key::new("url.path");
pub(super) const URL_QUERY: &Key = &Key::new("url.query");
pub(super) const URL_SCHEME: &Key = &Key::new("url.scheme");
pub(super) const URL_TEMPLATE: &Key = &Key::new("url.template");
pub(super) const USER_AGENT_ORIGINAL: &Key = &Key::new("user_agent.original");

pub(super) const CAPTURE_INCOMPLETE: &Key = &Key::new("network_agent.capture.incomplete");
pub(super) const EXCHANGE_ID: &Key = &Key::new("network_agent.exchange.id");
pub(super) const HANDSHAKE_RTT_MS: &Key = &Key::new("network_agent.handshake_rtt_ms");
pub(super) const REQUEST_PACKETS: &Key = &Key::new("network_agent.request.packets");
pub(super) const RESPONSE_PACKETS: &Key = &Key::new("network_agent.response.packets");
pub(super) const RETRANSMITS: &Key = &Key::new("network_agent.retransmits");
/// Read by Honeycomb: one span stands for so many.
pub(super) const SAMPLE_RATE: &Key = &Key::new("sampleRate");
pub(super) const TIME_TO_FIRST_BYTE_MS: &Key = &Key::new("network_agent.time_to_first_byte_ms");
