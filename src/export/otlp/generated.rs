//! `proto/` → Rust messages. Written by `UPDATE_GENERATED=1 cargo test --test generated`, not by hand.
pub mod opentelemetry {
    pub mod proto {
        pub mod collector {
            pub mod trace {
                pub mod v1 {
                    /// What is sent: spans, grouped by who observed them.
                    #[derive(Clone, PartialEq, ::prost::Message)]
                    pub struct ExportTraceServiceRequest {
                        /// The agent sends one group a request.
                        #[prost(message, repeated, tag = "1")]
                        pub resource_spans: ::prost::alloc::vec::Vec<
                            super::super::super::trace::v1::ResourceSpans,
                        >,
                    }
                    /// What comes back when the call itself succeeded.
                    #[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
                    pub struct ExportTraceServiceResponse {
                        /// Absent, or empty, when everything was accepted.
                        #[prost(message, optional, tag = "1")]
                        pub partial_success: ::core::option::Option<ExportTracePartialSuccess>,
                    }
                    /// What the receiver did not take, or has to say.
                    #[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
                    pub struct ExportTracePartialSuccess {
                        /// Spans it refused; sending them again is forbidden.
                        #[prost(int64, tag = "1")]
                        pub rejected_spans: i64,
                        /// Why; with no span rejected, a warning.
                        #[prost(string, tag = "2")]
                        pub error_message: ::prost::alloc::string::String,
                    }
                }
            }
        }
        pub mod common {
            pub mod v1 {
                /// The value of an attribute; unset is allowed and means empty.
                #[derive(Clone, PartialEq, ::prost::Message)]
                pub struct AnyValue {
                    /// Of one of these types.
                    #[prost(oneof = "any_value::Value", tags = "1, 2, 3, 4, 5, 6, 7")]
                    pub value: ::core::option::Option<any_value::Value>,
                }
                /// Nested message and enum types in `AnyValue`.
                pub mod any_value {
                    /// Of one of these types.
                    #[derive(Clone, PartialEq, ::prost::Oneof)]
                    pub enum Value {
                        /// Text in UTF-8.
                        #[prost(string, tag = "1")]
                        StringValue(::prost::alloc::string::String),
                        /// A truth value.
                        #[prost(bool, tag = "2")]
                        BoolValue(bool),
                        /// A signed integer.
                        #[prost(int64, tag = "3")]
                        IntValue(i64),
                        /// A floating-point number.
                        #[prost(double, tag = "4")]
                        DoubleValue(f64),
                        /// A list.
                        #[prost(message, tag = "5")]
                        ArrayValue(super::ArrayValue),
                        /// A map.
                        #[prost(message, tag = "6")]
                        KvlistValue(super::KeyValueList),
                        /// Bytes that are no text.
                        #[prost(bytes, tag = "7")]
                        BytesValue(::prost::alloc::vec::Vec<u8>),
                    }
                }
                /// A list of values. A message of its own because a oneof cannot hold a repeated field.
                #[derive(Clone, PartialEq, ::prost::Message)]
                pub struct ArrayValue {
                    /// The values, in order.
                    #[prost(message, repeated, tag = "1")]
                    pub values: ::prost::alloc::vec::Vec<AnyValue>,
                }
                /// A map, as a list of pairs, for the same reason.
                #[derive(Clone, PartialEq, ::prost::Message)]
                pub struct KeyValueList {
                    /// The pairs; each key once.
                    #[prost(message, repeated, tag = "1")]
                    pub values: ::prost::alloc::vec::Vec<KeyValue>,
                }
                /// An attribute.
                #[derive(Clone, PartialEq, ::prost::Message)]
                pub struct KeyValue {
                    /// Its name, not empty.
                    #[prost(string, tag = "1")]
                    pub key: ::prost::alloc::string::String,
                    /// Its value.
                    #[prost(message, optional, tag = "2")]
                    pub value: ::core::option::Option<AnyValue>,
                }
                /// The code that made the spans.
                #[derive(Clone, PartialEq, ::prost::Message)]
                pub struct InstrumentationScope {
                    /// Its name.
                    #[prost(string, tag = "1")]
                    pub name: ::prost::alloc::string::String,
                    /// Its version.
                    #[prost(string, tag = "2")]
                    pub version: ::prost::alloc::string::String,
                    /// What else is known of it; each key once.
                    #[prost(message, repeated, tag = "3")]
                    pub attributes: ::prost::alloc::vec::Vec<KeyValue>,
                    /// Attributes left out because there were too many.
                    #[prost(uint32, tag = "4")]
                    pub dropped_attributes_count: u32,
                }
            }
        }
        pub mod resource {
            pub mod v1 {
                /// Who observed what is reported.
                #[derive(Clone, PartialEq, ::prost::Message)]
                pub struct Resource {
                    /// service.name and so on; each key once.
                    #[prost(message, repeated, tag = "1")]
                    pub attributes: ::prost::alloc::vec::Vec<super::super::common::v1::KeyValue>,
                    /// Attributes left out because there were too many.
                    #[prost(uint32, tag = "2")]
                    pub dropped_attributes_count: u32,
                }
            }
        }
        pub mod trace {
            pub mod v1 {
                /// Spans of one resource.
                #[derive(Clone, PartialEq, ::prost::Message)]
                pub struct ResourceSpans {
                    /// Who observed them.
                    #[prost(message, optional, tag = "1")]
                    pub resource: ::core::option::Option<super::super::resource::v1::Resource>,
                    /// The spans, grouped by what made them.
                    #[prost(message, repeated, tag = "2")]
                    pub scope_spans: ::prost::alloc::vec::Vec<ScopeSpans>,
                    /// The schema of the resource's attribute names.
                    #[prost(string, tag = "3")]
                    pub schema_url: ::prost::alloc::string::String,
                }
                /// Spans of one instrumentation scope.
                #[derive(Clone, PartialEq, ::prost::Message)]
                pub struct ScopeSpans {
                    /// What made them.
                    #[prost(message, optional, tag = "1")]
                    pub scope: ::core::option::Option<super::super::common::v1::InstrumentationScope>,
                    /// The spans.
                    #[prost(message, repeated, tag = "2")]
                    pub spans: ::prost::alloc::vec::Vec<Span>,
                    /// The schema of the spans' attribute names.
                    #[prost(string, tag = "3")]
                    pub schema_url: ::prost::alloc::string::String,
                }
                /// One operation of one service.
                #[derive(Clone, PartialEq, ::prost::Message)]
                pub struct Span {
                    /// 16 bytes, not all zero.
                    #[prost(bytes = "vec", tag = "1")]
                    pub trace_id: ::prost::alloc::vec::Vec<u8>,
                    /// 8 bytes, not all zero.
                    #[prost(bytes = "vec", tag = "2")]
                    pub span_id: ::prost::alloc::vec::Vec<u8>,
                    /// The tracestate header (W3C Trace Context) as it stands after this span.
                    #[prost(string, tag = "3")]
                    pub trace_state: ::prost::alloc::string::String,
                    /// 8 bytes; empty for the first span of a trace.
                    #[prost(bytes = "vec", tag = "4")]
                    pub parent_span_id: ::prost::alloc::vec::Vec<u8>,
                    /// Bits 0 to 7: W3C trace flags. Bit 8: whether bit 9 means anything. Bit 9: whether the parent is in another process.
                    #[prost(fixed32, tag = "16")]
                    pub flags: u32,
                    /// What the operation is called, of low cardinality.
                    #[prost(string, tag = "5")]
                    pub name: ::prost::alloc::string::String,
                    /// Which side it is.
                    #[prost(enumeration = "span::SpanKind", tag = "6")]
                    pub kind: i32,
                    /// Begin, in nanoseconds since the Unix epoch.
                    #[prost(fixed64, tag = "7")]
                    pub start_time_unix_nano: u64,
                    /// End, in nanoseconds since the Unix epoch; not before the begin.
                    #[prost(fixed64, tag = "8")]
                    pub end_time_unix_nano: u64,
                    /// What is known of the operation; each key once.
                    #[prost(message, repeated, tag = "9")]
                    pub attributes: ::prost::alloc::vec::Vec<super::super::common::v1::KeyValue>,
                    /// Attributes left out because there were too many.
                    #[prost(uint32, tag = "10")]
                    pub dropped_attributes_count: u32,
                    /// Whether it failed; absent means unset.
                    #[prost(message, optional, tag = "15")]
                    pub status: ::core::option::Option<Status>,
                }
                /// Nested message and enum types in `Span`.
                pub mod span {
                    /// Which side of a call a span describes.
                    #[derive(
                        Clone,
                        Copy,
                        Debug,
                        PartialEq,
                        Eq,
                        Hash,
                        PartialOrd,
                        Ord,
                        ::prost::Enumeration
                    )]
                    #[repr(i32)]
                    pub enum SpanKind {
                        /// Not said; read as internal.
                        Unspecified = 0,
                        /// Within a process.
                        Internal = 1,
                        /// The side that received a request.
                        Server = 2,
                        /// The side that sent a request.
                        Client = 3,
                        /// The side that put a message into a broker.
                        Producer = 4,
                        /// The side that took a message from a broker.
                        Consumer = 5,
                    }
                    impl SpanKind {
                        /// String value of the enum field names used in the ProtoBuf definition.
                        ///
                        /// The values are not transformed in any way and thus are considered stable
                        /// (if the ProtoBuf definition does not change) and safe for programmatic use.
                        pub fn as_str_name(&self) -> &'static str {
                            match self {
                                Self::Unspecified => "SPAN_KIND_UNSPECIFIED",
                                Self::Internal => "SPAN_KIND_INTERNAL",
                                Self::Server => "SPAN_KIND_SERVER",
                                Self::Client => "SPAN_KIND_CLIENT",
                                Self::Producer => "SPAN_KIND_PRODUCER",
                                Self::Consumer => "SPAN_KIND_CONSUMER",
                            }
                        }
                        /// Creates an enum from field names used in the ProtoBuf definition.
                        pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
                            match value {
                                "SPAN_KIND_UNSPECIFIED" => Some(Self::Unspecified),
                                "SPAN_KIND_INTERNAL" => Some(Self::Internal),
                                "SPAN_KIND_SERVER" => Some(Self::Server),
                                "SPAN_KIND_CLIENT" => Some(Self::Client),
                                "SPAN_KIND_PRODUCER" => Some(Self::Producer),
                                "SPAN_KIND_CONSUMER" => Some(Self::Consumer),
                                _ => None,
                            }
                        }
                    }
                }
                /// The outcome of a span.
                #[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
                pub struct Status {
                    /// A sentence for people.
                    #[prost(string, tag = "2")]
                    pub message: ::prost::alloc::string::String,
                    /// The outcome.
                    #[prost(enumeration = "status::StatusCode", tag = "3")]
                    pub code: i32,
                }
                /// Nested message and enum types in `Status`.
                pub mod status {
                    /// What is known of the outcome.
                    #[derive(
                        Clone,
                        Copy,
                        Debug,
                        PartialEq,
                        Eq,
                        Hash,
                        PartialOrd,
                        Ord,
                        ::prost::Enumeration
                    )]
                    #[repr(i32)]
                    pub enum StatusCode {
                        /// Nothing is said.
                        Unset = 0,
                        /// Somebody says that it went well.
                        Ok = 1,
                        /// It failed.
                        Error = 2,
                    }
                    impl StatusCode {
                        /// String value of the enum field names used in the ProtoBuf definition.
                        ///
                        /// The values are not transformed in any way and thus are considered stable
                        /// (if the ProtoBuf definition does not change) and safe for programmatic use.
                        pub fn as_str_name(&self) -> &'static str {
                            match self {
                                Self::Unset => "STATUS_CODE_UNSET",
                                Self::Ok => "STATUS_CODE_OK",
                                Self::Error => "STATUS_CODE_ERROR",
                            }
                        }
                        /// Creates an enum from field names used in the ProtoBuf definition.
                        pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
                            match value {
                                "STATUS_CODE_UNSET" => Some(Self::Unset),
                                "STATUS_CODE_OK" => Some(Self::Ok),
                                "STATUS_CODE_ERROR" => Some(Self::Error),
                                _ => None,
                            }
                        }
                    }
                }
            }
        }
    }
}
