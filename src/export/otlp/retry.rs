//! A gRPC status, or an HTTP answer → retry or not, and after what time.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use http::StatusCode;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::http::Answer;

/// What a failed call means for its batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Send it again, not before the wait that the server asked for.
    Retry { wait: Option<Duration> },
    /// It is too large, and may be taken in parts.
    TooLarge,
    /// What was asked for is not known there: the method, the path, or the compression.
    Unknown,
    /// It will never be taken.
    Refuse,
}

/// The OTLP specification's table ("Failures", OTLP/gRPC), and what it leaves to the client: an error of the
/// transport, which has a source where a server's answer has none, says nothing about the batch.
pub(super) fn classify(status: &Status) -> Verdict {
    let asked = status.get_details_retry_info();
    let wait = asked.as_ref().and_then(|info| info.retry_delay);
    let from_transport = is_of_transport(status);
    match status.code() {
        Code::ResourceExhausted | Code::OutOfRange if asked.is_none() && is_about_size(status.message()) => {
            Verdict::TooLarge
        }
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Verdict::Retry { wait },
        Code::ResourceExhausted if asked.is_some() => Verdict::Retry { wait },
        // GOAWAY and resets arrive with these codes: an ageing connection, or a peer that calls for calm.
        Code::Unknown | Code::Internal | Code::ResourceExhausted if from_transport => Verdict::Retry { wait: None },
        Code::Unimplemented => Verdict::Unknown,
        _ => Verdict::Refuse,
    }
}

/// Whether the status was made on this side: it has a source, or the answer broke off before its end, as when a proxy in
/// between gives up.
pub(super) fn is_of_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
        || status.code() == Code::Unknown && status.message().contains("missing grpc-status trailer")
}

/// How the implementations of gRPC say that a message is larger than they take (grpc-go, grpc-java, tonic); there is no
/// code for it, and one of them uses a code that asks for the same batch again.
fn is_about_size(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["larger than max", "exceeds maximum size", "length too large", "message too large"]
        .iter()
        .any(|words| message.contains(words))
}

/// The table of OTLP/HTTP ("Failures", OTLP/HTTP), and what servers say of messages that are too large or of an unknown
/// coding (RFC 9110 §15.5.14, §15.5.16).
pub(super) fn classify_answer(answer: &Answer) -> Verdict {
    match answer.status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Verdict::Retry { wait: answer.wait },
        StatusCode::PAYLOAD_TOO_LARGE => Verdict::TooLarge,
        // Somebody else than the server answers, and may let it answer later.
        status if status.is_success() => Verdict::Retry { wait: None },
        StatusCode::UNSUPPORTED_MEDIA_TYPE | StatusCode::BAD_REQUEST => Verdict::Unknown,
        _ => Verdict::Refuse,
    }
}

/// Growing waits between attempts, with jitter so that agents do not come back all at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    random: u64,
}

impl Backoff {
    /// The first wait, before jitter.
    pub(crate) const FIRST: Duration = Duration::from_secs(1);
    /// The longest wait, before jitter.
    pub(crate) const LONGEST: Duration = Duration::from_secs(30);
    /// The longest wait that a server may ask for; stops one that asks for a year.
    pub(crate) const LONGEST_ASKED: Duration = Duration::from_secs(300);

    /// Back-off that has not waited.
    pub(crate) fn new() -> Self {
        // Two equal agents must not jitter alike; the hasher's keys are the process's own.
        Self { next: Self::FIRST, random: RandomState::new().hash_one(0_u8) | 1 }
    }

    /// How long to wait now: half to all of the growing wait, and at least what the server `asked` for.
    pub(crate) fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let asked = asked.unwrap_or_default().min(Self::LONGEST_ASKED);
        let half = self.next / 2;
        let wait = half + half.mul_f64(self.random_share());
        // After a wait that the server asked for, growth goes on from there.
        self.next = (self.next.max(asked) * 2).min(Self::LONGEST);
        wait.max(asked)
    }

    /// Begins again with the first wait.
    pub(crate) fn reset(&mut self) {
        self.next = Self::FIRST;
    }

    /// 0 to 1 (xorshift64).
    fn random_share(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let upper = u32::try_from(self.random >> 32).unwrap_or(u32::MAX);
        f64::from(upper) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tonic_types::ErrorDetails;

    use super::*;

    const RETRY: Verdict = Verdict::Retry { wait: None };

    #[test]
    fn every_code_has_the_verdict_of_the_specification() {
        let table = [
            (Code::Cancelled, RETRY),
            (Code::Unknown, Verdict::Refuse),
            (Code::InvalidArgument, Verdict::Refuse),
            (Code::DeadlineExceeded, RETRY),
            (Code::NotFound, Verdict::Refuse),
            (Code::AlreadyExists, Verdict::Refuse),
            (Code::PermissionDenied, Verdict::Refuse),
            (Code::ResourceExhausted, Verdict::Refuse),
            (Code::FailedPrecondition, Verdict::Refuse),
            (Code::Aborted, RETRY),
            (Code::OutOfRange, RETRY),
            (Code::Unimplemented, Verdict::Unknown),
            (Code::Internal, Verdict::Refuse),
            (Code::Unavailable, RETRY),
            (Code::DataLoss, RETRY),
            (Code::Unauthenticated, Verdict::Refuse),
        ];
        for (code, verdict) in table {
            assert_eq!(classify(&Status::new(code, "")), verdict, "{code:?}");
        }
    }

    #[test]
    fn a_server_that_says_when_is_asked_again_then() {
        let delay = Duration::from_millis(700);
        for code in [Code::ResourceExhausted, Code::Unavailable] {
            let status = Status::with_error_details(code, "", ErrorDetails::with_retry_info(Some(delay)));
            assert_eq!(classify(&status), Verdict::Retry { wait: Some(delay) });
        }
    }

    #[test]
    fn to_say_that_there_is_a_time_is_enough() {
        let status = Status::with_error_details(Code::ResourceExhausted, "", ErrorDetails::with_retry_info(None));
        assert_eq!(classify(&status), RETRY);
    }

    #[test]
    fn an_answer_that_a_proxy_cut_off_says_nothing_about_the_batch() {
        let status = Status::unknown("protocol error: missing grpc-status trailer, HTTP status code 200");
        assert_eq!(classify(&status), RETRY);
    }

    #[test]
    fn a_transport_error_says_nothing_about_the_batch() {
        for code in [Code::Unknown, Code::Internal, Code::ResourceExhausted] {
            let mut status = Status::new(code, "");
            status.set_source(Arc::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
            assert_eq!(classify(&status), RETRY, "{code:?}");
        }
    }

    #[test]
    fn a_message_that_is_too_large_is_not_to_be_sent_again_as_it_is() {
        for (code, message) in [
            (Code::ResourceExhausted, "grpc: received message larger than max (5000000 vs. 4194304)"),
            (Code::ResourceExhausted, "gRPC message exceeds maximum size 4194304: 5000000"),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes",
            ),
        ] {
            assert_eq!(classify(&Status::new(code, message)), Verdict::TooLarge, "{message}");
        }
        assert_eq!(classify(&Status::out_of_range("not now")), RETRY);
    }

    #[test]
    fn every_http_status_has_the_verdict_of_the_specification() {
        let wait = Some(Duration::from_secs(3));
        for status in (100..600).filter_map(|status| StatusCode::from_u16(status).ok()) {
            let wanted = match status.as_u16() {
                429 | 502 | 503 | 504 => Verdict::Retry { wait },
                413 => Verdict::TooLarge,
                200..300 => RETRY,
                400 | 415 => Verdict::Unknown,
                _ => Verdict::Refuse,
            };
            assert_eq!(classify_answer(&Answer { status, wait, message: String::new() }), wanted, "{status}");
        }
    }

    #[test]
    fn waits_double_from_one_second_to_thirty_with_jitter() {
        let mut backoff = Backoff::new();
        for longest in [1, 2, 4, 8, 16, 30, 30] {
            let wait = backoff.wait(None);
            let longest = Duration::from_secs(longest);
            assert!(wait >= longest / 2 && wait <= longest, "{wait:?} of {longest:?}");
        }
        backoff.reset();
        assert!(backoff.wait(None) <= Backoff::FIRST);
    }

    #[test]
    fn two_agents_do_not_wait_alike() {
        let waits = |mut backoff: Backoff| (0..4).map(|_| backoff.wait(None)).collect::<Vec<_>>();
        assert_ne!(waits(Backoff::new()), waits(Backoff::new()));
    }

    #[test]
    fn the_wait_that_a_server_asks_for_is_kept_within_reason() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.wait(Some(Duration::from_secs(12))), Duration::from_secs(12));
        assert!(backoff.wait(None) >= Duration::from_secs(12), "growth goes on from there");
        assert_eq!(backoff.wait(Some(Duration::from_secs(1 << 40))), Backoff::LONGEST_ASKED);
    }
}
