//! Batches → standard output, or nowhere.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::export::batch::Batch;
use crate::export::{Accepted, Exporter, Failure};

/// Writes batches one after the other. Writing may block, so it has a thread of its own.
#[derive(Debug)]
pub(super) struct WriterExporter<W> {
    writer: Arc<Mutex<W>>,
}

impl WriterExporter<io::Stdout> {
    pub(super) fn standard_output() -> Self {
        Self::new(io::stdout())
    }
}

impl<W> WriterExporter<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer: Arc::new(Mutex::new(writer)) }
    }
}

impl<W> Clone for WriterExporter<W> {
    fn clone(&self) -> Self {
        Self { writer: Arc::clone(&self.writer) }
    }
}

impl<W: Write + Send + 'static> Exporter for WriterExporter<W> {
    async fn export(&self, batch: Batch) -> Result<Accepted, Failure> {
        let writer = Arc::clone(&self.writer);
        let written = tokio::task::spawn_blocking(move || {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.write_all(&batch.bytes)?;
            writer.flush()
        });
        match written.await {
            Ok(Ok(())) => Ok(Accepted::default()),
            // The reader has what it wanted, as `head` does.
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Closed),
            Ok(Err(error)) => Err(Failure::Output(error)),
            Err(error) => Err(Failure::Output(io::Error::other(error))),
        }
    }
}

/// Takes every batch and does nothing with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct NullExporter;

impl Exporter for NullExporter {
    async fn export(&self, _batch: Batch) -> Result<Accepted, Failure> {
        Ok(Accepted::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes bytes, or fails.
    #[derive(Default)]
    struct Sink {
        bytes: Vec<u8>,
        error: Option<io::ErrorKind>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.error {
                Some(kind) => Err(kind.into()),
                None => self.bytes.write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn batch(text: &'static str) -> Batch {
        Batch { bytes: text.into(), spans: 1, ..Batch::default() }
    }

    #[tokio::test]
    async fn batches_are_written_whole_and_in_order() {
        let exporter = WriterExporter::new(Sink::default());
        exporter.export(batch("one\n")).await.unwrap();
        exporter.export(batch("two\n")).await.unwrap();
        assert_eq!(exporter.writer.lock().unwrap().bytes, b"one\ntwo\n");
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_no_fault() {
        let exporter = WriterExporter::new(Sink { error: Some(io::ErrorKind::BrokenPipe), ..Sink::default() });
        assert!(matches!(exporter.export(batch("line\n")).await, Err(Failure::Closed)));
    }

    #[tokio::test]
    async fn a_full_disk_is_told() {
        let exporter = WriterExporter::new(Sink { error: Some(io::ErrorKind::StorageFull), ..Sink::default() });
        let failure = exporter.export(batch("line\n")).await.unwrap_err();
        assert!(matches!(failure, Failure::Output(error) if error.kind() == io::ErrorKind::StorageFull));
    }
}
