//! A large body on its way from its file to a client, a few blocks at a time.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    bodies::BLOCK,
    reader::{OpenFile, Readers},
};

/// Blocks that are read at once.
const STEP: u64 = 4;

/// How long a client's body waits for a read; then it ends with an error.
const DEADLINE: Duration = Duration::from_secs(10);

type Read = Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>;

/// The bytes from `at` to `end` of a file.
pub struct FileBody {
    readers: Arc<Readers>,
    open: OpenFile,
    at: u64,
    end: u64,
    read: Option<Read>,
}

impl FileBody {
    #[must_use]
    pub fn new(readers: Arc<Readers>, open: OpenFile, start: u64, end: u64) -> Self {
        let end = end.min(open.len);
        Self { readers, at: start.min(end), end, open, read: None }
    }

    fn start_read(&self) -> Read {
        let (readers, open) = (Arc::clone(&self.readers), self.open.clone());
        let first = self.at / BLOCK;
        let count = (self.end.div_ceil(BLOCK) - first).min(STEP);
        Box::pin(async move { readers.blocks(open, first, count, DEADLINE).await })
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.at >= this.end {
            return Poll::Ready(None);
        }
        let mut read = this.read.take().unwrap_or_else(|| this.start_read());
        let Poll::Ready(content) = read.as_mut().poll(cx) else {
            this.read = Some(read);
            return Poll::Pending;
        };
        let content = match content {
            Ok(content) => content,
            Err(error) => {
                this.end = this.at;
                return Poll::Ready(Some(Err(error)));
            }
        };
        let skip = (this.at % BLOCK) as usize;
        let keep = content.len().min(skip + (this.end - this.at) as usize);
        let content = content.slice(skip..keep);
        this.at += content.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(content))))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}
