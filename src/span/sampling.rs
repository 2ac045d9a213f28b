//! A trace id and a caller's decision → whether a span is made, and what `tracestate` then says.

use std::borrow::Cow;

use super::{RootSampler, Sampler};
use crate::exchange::trace_context::TraceContext;

/// A decision, and how many exchanges one span then stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Decision {
    Drop,
    /// `rate` is 1 unless this agent has sampled.
    Keep {
        rate: u64,
    },
}

/// Decides for an exchange of the trace `trace_id`.
pub(super) fn decide(sampler: Sampler, trace_id: [u8; 16], caller: Option<&TraceContext<'_>>) -> Decision {
    match (sampler, caller) {
        (Sampler::AlwaysOn, _) => Decision::Keep { rate: 1 },
        (Sampler::AlwaysOff, _) => Decision::Drop,
        (Sampler::TraceIdRatio(ratio), _) => by_ratio(ratio, trace_id),
        (Sampler::ParentBased { .. }, Some(caller)) if caller.is_sampled() => Decision::Keep { rate: 1 },
        (Sampler::ParentBased { .. }, Some(_)) => Decision::Drop,
        (Sampler::ParentBased { root }, None) => match root {
            RootSampler::AlwaysOn => Decision::Keep { rate: 1 },
            RootSampler::AlwaysOff => Decision::Drop,
            RootSampler::TraceIdRatio(ratio) => by_ratio(ratio, trace_id),
        },
    }
}

/// `tracestate` for a span that was made whatever the caller decided: `th` and `rv` of the `ot` member speak of the
/// caller's sampling, and a backend would weigh the span by them.
pub(super) fn without_thresholds(state: Cow<'_, str>) -> Cow<'_, str> {
    let is_threshold = |pair: &str| pair.starts_with("th:") || pair.starts_with("rv:");
    let ot = state.split(',').find_map(|member| member.trim().strip_prefix("ot="));
    if !ot.is_some_and(|value| value.split(';').any(is_threshold)) {
        return state;
    }
    let members = state.split(',').filter_map(|member| {
        let Some(value) = member.trim().strip_prefix("ot=") else { return Some(member.to_owned()) };
        let kept: Vec<&str> = value.split(';').filter(|pair| !is_threshold(pair)).collect();
        (!kept.is_empty()).then(|| format!("ot={}", kept.join(";")))
    });
    Cow::Owned(members.collect::<Vec<_>>().join(","))
}

/// The rule of the SDKs: the low 63 bits of the trace id's last 8 bytes against the ratio.
fn by_ratio(ratio: f64, trace_id: [u8; 16]) -> Decision {
    if ratio >= 1.0 {
        return Decision::Keep { rate: 1 };
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the ratio is between 0 and 1, so the product fits; the bound need not be exact"
    )]
    let (bound, rate) = ((ratio.max(0.0) * (1_u64 << 63) as f64) as u64, (1.0 / ratio).round() as u64);
    let low = trace_id.last_chunk::<8>().map_or(0, |low| u64::from_be_bytes(*low));
    if low >> 1 < bound { Decision::Keep { rate } } else { Decision::Drop }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(flags: u8) -> TraceContext<'static> {
        TraceContext { trace_id: [1; 16], span_id: [1; 8], flags, trace_state: Cow::Borrowed("") }
    }

    #[test]
    fn parent_based_samplers_follow_the_caller_and_the_others_do_not() {
        let parent = Sampler::ParentBased { root: RootSampler::AlwaysOff };
        assert_eq!(decide(parent, [1; 16], Some(&caller(1))), Decision::Keep { rate: 1 });
        assert_eq!(decide(parent, [1; 16], Some(&caller(0))), Decision::Drop);
        assert_eq!(decide(parent, [1; 16], None), Decision::Drop);
        assert_eq!(decide(Sampler::AlwaysOn, [1; 16], Some(&caller(0))), Decision::Keep { rate: 1 });
        assert_eq!(decide(Sampler::AlwaysOff, [1; 16], Some(&caller(1))), Decision::Drop);
    }

    #[test]
    fn a_ratio_keeps_its_share_of_ids_and_says_its_rate() {
        let id = |low: u64| {
            let mut id = [0; 16];
            id[8..].copy_from_slice(&low.to_be_bytes());
            id
        };
        assert_eq!(decide(Sampler::TraceIdRatio(0.25), id(u64::MAX / 5), None), Decision::Keep { rate: 4 });
        assert_eq!(decide(Sampler::TraceIdRatio(0.25), id(u64::MAX / 3), None), Decision::Drop);
        assert_eq!(decide(Sampler::TraceIdRatio(0.0), id(0), None), Decision::Drop);
        assert_eq!(decide(Sampler::TraceIdRatio(1.0), id(u64::MAX), None), Decision::Keep { rate: 1 });
    }

    #[test]
    fn only_thresholds_are_cut_from_tracestate() {
        let cut = |state: &str| without_thresholds(Cow::Owned(state.to_owned())).into_owned();
        assert_eq!(cut("a=1, ot=th:8;x:y;rv:123 ,b=2"), "a=1,ot=x:y,b=2");
        assert_eq!(cut("ot=th:8"), "");
        assert_eq!(cut("a=th:8,ot=x:1"), "a=th:8,ot=x:1");
    }
}
