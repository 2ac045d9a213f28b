//! What the numbers of both directions tell of a place in one of them: may a message begin here?

/// Whether the sender had received something new since it last sent data: a message may begin then.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http) enum Turn {
    /// It had.
    New,
    /// It had not: these bytes go on with what was before.
    Same,
}

/// What the numbers of both directions say of a message that begins at the first byte of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http) enum Proof {
    /// Nothing.
    None,
    /// The peer has sent something that was not captured since this direction was read last: perhaps an answer.
    Likely,
    /// The peer had received exactly what was before it when it sent its last data: it begins an answer, or the next
    /// request after one.
    Proven,
}

/// What the other direction said last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http) enum PeerState {
    /// Something that is known.
    Following,
    /// An interim response.
    SaidInterim,
    /// Something that was not read, after a loss.
    Searching,
}
