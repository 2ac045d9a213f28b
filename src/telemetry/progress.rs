//! How far a large file has been read → a bar on standard error, when somebody looks.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Files smaller than this are read before a bar could be looked at.
const WORTH_IT: u64 = 16 << 20;

/// A bar, or nothing.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar for a file of `size` bytes, when it is large, standard error is a terminal, and standard output does not
    /// write to a terminal at the same time.
    pub fn new(size: Option<u64>) -> Self {
        let visible = std::io::stderr().is_terminal() && !std::io::stdout().is_terminal();
        let bar = size.filter(|size| visible && *size >= WORTH_IT).map(|size| {
            let bar = ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::stderr());
            let template = "{bar:40.cyan/dim} {percent}% {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        Self { bar }
    }

    /// So many bytes have been read.
    pub fn at(&self, position: Option<u64>) {
        if let (Some(bar), Some(position)) = (&self.bar, position) {
            bar.set_position(position);
        }
    }

    /// The bar goes away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
