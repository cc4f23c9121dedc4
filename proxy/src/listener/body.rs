//! A request's body, and the care that a refusal needs: what nobody wants is read away.

use super::connection::{BeforeHead, Connection};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

/// How much of an unwanted body is read away beside the answer. cloudflared stops an upload that was
/// answered after 0.4 to 3 MB; beyond this the connection is half-closed and lingers.
const DRAIN_BYTES: usize = 1 << 20;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// The body of a request.
///
/// A body that is dropped before its end is read away for a moment, kept nowhere: a sender that is
/// still writing when its connection closes loses the answer (Go's transport lets the failed write
/// win), and tries again what was refused for good.
pub struct Body {
    /// What has not come yet; until all has, it is no head.
    incoming: Option<(Incoming, BeforeHead)>,
}

impl Body {
    pub(super) fn new(incoming: Incoming, connection: &Arc<Connection>) -> Self {
        Self { incoming: Some((incoming, BeforeHead::new(connection))) }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some((incoming, _)) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(incoming).poll_frame(cx));
        if frame.is_none() {
            self.incoming = None; // nothing is left to read away
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(|(incoming, _)| incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(SizeHint::default, |(incoming, _)| incoming.size_hint())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some((mut incoming, before_head)) = self.incoming.take()
            && !incoming.is_end_stream()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                let _ = tokio::time::timeout(DRAIN_TIME, read_away(&mut incoming)).await;
                drop((incoming, before_head));
            });
        }
    }
}

async fn read_away(incoming: &mut Incoming) {
    let mut left = DRAIN_BYTES;
    while left > 0 {
        match incoming.frame().await {
            Some(Ok(frame)) => left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len)),
            Some(Err(_)) | None => return,
        }
    }
}
