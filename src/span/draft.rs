//! A span whose attributes are not written yet: who encodes it has them written where they shall stand, without a list of them
//! in between.

use super::Span;
use super::attributes::{AttributeSink, Attributes, List};
use super::build::{Reading, SpanBuilder};

/// See the module.
#[derive(Debug)]
pub struct Draft<'a> {
    /// Without attributes, unless it was made with them.
    pub(super) span: Span<'a>,
    pub(super) source: Option<Source<'a>>,
}

/// What attributes are made of.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) builder: &'a SpanBuilder,
    pub(super) reading: Reading<'a>,
    /// How many exchanges the span stands for.
    pub(super) rate: u64,
}

impl<'a> Draft<'a> {
    /// All of it but its attributes.
    pub const fn span(&self) -> &Span<'a> {
        &self.span
    }

    /// Gives its attributes to `sink`, the most telling ones first, within the limits on their number and length. Returns how
    /// many were left out because of their number.
    pub fn attributes<S: AttributeSink<'a>>(&self, sink: &mut S) -> u32 {
        if let Some(Source { builder, reading, rate }) = &self.source {
            let mut attributes = Attributes::new(sink, builder.settings());
            builder.attributes(&mut attributes, reading, *rate);
            attributes.dropped()
        } else {
            self.span.attributes.iter().for_each(|attribute| sink.any(attribute));
            self.span.dropped_attributes
        }
    }

    /// The span with its attributes.
    pub fn to_span(&self) -> Span<'a> {
        let mut list = List::default();
        let dropped_attributes = self.attributes(&mut list);
        Span { attributes: list.attributes, dropped_attributes, ..self.span.clone() }
    }
}

impl<'a> From<Span<'a>> for Draft<'a> {
    fn from(span: Span<'a>) -> Self {
        Self { span, source: None }
    }
}
