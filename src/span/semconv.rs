//! Attribute names of the semantic conventions 1.44.0 (`https://opentelemetry.io/schemas/1.44.0`), and the agent's own.

/// Methods reported by their own name (conventions, HTTP spans: RFC 9110, RFC 5789 and QUERY).
pub(super) const KNOWN_METHODS: [&str; 10] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"];

pub(super) const CLIENT_ADDRESS: &str = "client.address";
pub(super) const CLIENT_PORT: &str = "client.port";
pub(super) const DESTINATION_ADDRESS: &str = "destination.address";
pub(super) const DESTINATION_PORT: &str = "destination.port";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const HTTP_REQUEST_BODY_SIZE: &str = "http.request.body.size";
pub(super) const HTTP_REQUEST_METHOD: &str = "http.request.method";
pub(super) const HTTP_REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
pub(super) const HTTP_REQUEST_SIZE: &str = "http.request.size";
pub(super) const HTTP_RESPONSE_BODY_SIZE: &str = "http.response.body.size";
pub(super) const HTTP_RESPONSE_SIZE: &str = "http.response.size";
pub(super) const HTTP_ROUTE: &str = "http.route";
pub(super) const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
pub(super) const NETWORK_LOCAL_ADDRESS: &str = "network.local.address";
pub(super) const NETWORK_LOCAL_PORT: &str = "network.local.port";
pub(super) const NETWORK_PEER_ADDRESS: &str = "network.peer.address";
pub(super) const NETWORK_PEER_PORT: &str = "network.peer.port";
pub(super) const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
pub(super) const NETWORK_TRANSPORT: &str = "network.transport";
pub(super) const NETWORK_TYPE: &str = "network.type";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";
pub(super) const SERVICE_PEER_NAME: &str = "service.peer.name";
pub(super) const SERVICE_PEER_NAMESPACE: &str = "service.peer.namespace";
pub(super) const SOURCE_ADDRESS: &str = "source.address";
pub(super) const SOURCE_PORT: &str = "source.port";
pub(super) const URL_FULL: &str = "url.full";
pub(super) const URL_PATH: &str = "url.path";
pub(super) const URL_QUERY: &str = "url.query";
pub(super) const URL_SCHEME: &str = "url.scheme";
pub(super) const URL_TEMPLATE: &str = "url.template";
pub(super) const USER_AGENT_ORIGINAL: &str = "user_agent.original";

pub(super) const CAPTURE_INCOMPLETE: &str = "network_agent.capture.incomplete";
pub(super) const EXCHANGE_ID: &str = "network_agent.exchange.id";
pub(super) const HANDSHAKE_RTT_MS: &str = "network_agent.handshake_rtt_ms";
pub(super) const REQUEST_PACKETS: &str = "network_agent.request.packets";
pub(super) const RESPONSE_PACKETS: &str = "network_agent.response.packets";
pub(super) const RETRANSMITS: &str = "network_agent.retransmits";
/// Read by Honeycomb: one span stands for so many.
pub(super) const SAMPLE_RATE: &str = "sampleRate";
pub(super) const TIME_TO_FIRST_BYTE_MS: &str = "network_agent.time_to_first_byte_ms";
