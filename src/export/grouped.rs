//! `Span`s of many resources → batches in which each resource stands once, before its spans.
//!
//! A span is written when it comes, behind the others. When the batch ends, what belongs together is copied together: the
//! bytes of a span are made once, and lengths are known where they are needed.

use std::ops::Range;
use std::sync::Arc;

use crate::export::batch::Format;
use crate::span::{Draft, Resource};

/// How a message is put together of spans that are written already.
pub(super) trait Envelope: Send {
    /// Appends one span.
    fn span(&mut self, span: &Draft<'_>, buffer: &mut Vec<u8>);

    /// What stands before the spans of `resource`.
    fn resource(&self, resource: &Resource) -> Vec<u8>;

    /// Bytes at most that a resource adds, beside its own of [`Self::resource`], and that the message adds.
    fn overhead(&self) -> usize;

    /// Appends the message. The spans of a group are where its ranges say in `buffer`.
    fn message(&self, groups: &[Group], buffer: &mut Vec<u8>);
}

/// A resource and its spans.
pub(super) struct Group {
    whose: Arc<Resource>,
    /// As [`Envelope::resource`] wrote it.
    pub(super) resource: Vec<u8>,
    /// Where its spans are, in their order.
    pub(super) spans: Vec<Range<usize>>,
}

/// Writes batches of spans of many resources.
pub(super) struct Grouped<E> {
    envelope: E,
    /// Of spans that name none.
    own: Arc<Resource>,
    groups: Vec<Group>,
    /// The group of each span, and where the span ends.
    spans: Vec<(usize, usize)>,
}

impl<E: Envelope> Grouped<E> {
    /// `own` is the resource of spans that name none.
    pub(super) fn new(envelope: E, own: Resource) -> Self {
        Self { envelope, own: Arc::new(own), groups: Vec::new(), spans: Vec::new() }
    }

    fn group(&mut self, whose: &Arc<Resource>) -> usize {
        if let Some(place) = self.groups.iter().position(|group| Arc::ptr_eq(&group.whose, whose)) {
            return place;
        }
        let resource = self.envelope.resource(whose);
        self.groups.push(Group { whose: whose.clone(), resource, spans: Vec::new() });
        self.groups.len() - 1
    }
}

impl<E: Envelope> Format for Grouped<E> {
    fn begin(&mut self, _buffer: &mut Vec<u8>) {
        self.groups.clear();
        self.spans.clear();
    }

    fn append(&mut self, span: &Draft<'_>, buffer: &mut Vec<u8>) {
        // What was undone is beyond the end now.
        while self.spans.pop_if(|(_, end)| *end > buffer.len()).is_some() {}
        let own = self.own.clone();
        let group = self.group(span.span().resource.as_ref().unwrap_or(&own));
        self.envelope.span(span, buffer);
        self.spans.push((group, buffer.len()));
    }

    fn finish(&mut self, buffer: &mut Vec<u8>) -> usize {
        let start = buffer.len();
        self.spans.retain(|(_, end)| *end <= start);
        let mut begin = 0;
        for (group, end) in self.spans.drain(..) {
            if let Some(group) = self.groups.get_mut(group) {
                group.spans.push(begin..end);
            }
            begin = end;
        }
        self.groups.retain(|group| !group.spans.is_empty());
        self.envelope.message(&self.groups, buffer);
        start
    }

    fn tail_length(&self) -> usize {
        let resources = self.groups.iter().map(|group| group.resource.len() + self.envelope.overhead());
        resources.sum::<usize>() + self.envelope.overhead()
    }
}

impl Group {
    /// Bytes of its spans.
    pub(super) fn length(&self) -> usize {
        self.spans.iter().map(ExactSizeIterator::len).sum()
    }
}
