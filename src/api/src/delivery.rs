//! Bodies on their way to a client that may take its time.
//!
//! What is not taken yet stays in memory. So every large answer is counted against a budget while it is on its way, and a
//! client that takes nothing for a while (`http.write_idle_timeout`) gets no more: the body is dropped, with all that it
//! holds, and the connection is broken off when the client comes back for the next piece.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder};
use futures::Stream;
use trireme_base::Clock;

use crate::ApiState;

/// How many looks at a client there are in the time that it has.
const LOOKS: u32 = 4;

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, actix_web::Error>>>>;

struct Inner {
    /// `None` once the client was given up.
    pieces: RefCell<Option<Pieces>>,
    /// Monotonic time at which the last piece was handed over; `None` while the next one is being made.
    idle_since: Cell<Option<Duration>>,
}

/// A body that is given up when nobody takes it.
struct Watched {
    inner: Rc<Inner>,
    clock: Arc<dyn Clock>,
}

/// A response with a body of pieces, given up if the client takes none for `http.write_idle_timeout`.
pub(crate) fn respond(
    mut response: HttpResponseBuilder,
    state: &ApiState,
    pieces: impl Stream<Item = Result<Bytes, actix_web::Error>> + 'static,
) -> HttpResponse {
    let clock = Arc::clone(&state.clock);
    let inner = Rc::new(Inner {
        pieces: RefCell::new(Some(Box::pin(pieces))),
        idle_since: Cell::new(Some(clock.monotonic())),
    });
    let longest = state.settings.write_idle_timeout;

    actix_web::rt::spawn(watch(Rc::downgrade(&inner), Arc::clone(&clock), longest));
    response.body(actix_web::body::BoxBody::new(Watched { inner, clock }))
}

/// Looks after a body until it is gone.
async fn watch(body: Weak<Inner>, clock: Arc<dyn Clock>, longest: Duration) {
    loop {
        tokio::time::sleep(longest / LOOKS).await;
        let Some(body) = body.upgrade() else { return };
        let idle = body
            .idle_since
            .get()
            .map(|since| clock.monotonic().saturating_sub(since));
        if idle.is_some_and(|idle| idle >= longest) {
            let given_up = body.pieces.borrow_mut().take();
            drop(given_up);
            return;
        }
    }
}

impl MessageBody for Watched {
    type Error = actix_web::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let mut pieces = self.inner.pieces.borrow_mut();
        let Some(stream) = pieces.as_mut() else {
            let why = "the client took nothing for too long (http.write_idle_timeout)";
            return Poll::Ready(Some(Err(actix_web::error::ErrorRequestTimeout(why))));
        };

        self.inner.idle_since.set(None);

        let piece = stream.as_mut().poll_next(cx);
        if piece.is_ready() {
            self.inner.idle_since.set(Some(self.clock.monotonic()));
        }

        piece
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use futures::stream;

    use super::*;
    use crate::ApiSettings;
    use crate::tests::fakes::Node;

    fn held(held: &Arc<()>) -> impl Stream<Item = Result<Bytes, actix_web::Error>> + 'static {
        let held = Arc::clone(held);
        stream::repeat_with(move || Ok(Bytes::from(format!("{}", Arc::strong_count(&held)))))
            .take_some()
    }

    /// Three pieces.
    trait TakeSome: Stream + Sized {
        fn take_some(self) -> futures::stream::Take<Self> {
            futures::StreamExt::take(self, 3)
        }
    }

    impl<S: Stream> TakeSome for S {}

    #[actix_web::test]
    async fn a_body_that_nobody_takes_is_dropped() {
        let settings = ApiSettings {
            write_idle_timeout: Duration::from_millis(20),
            ..ApiSettings::default()
        };
        let node = Node::with(settings);
        let memory = Arc::new(());
        let response = respond(HttpResponse::Ok(), &node.state, held(&memory));

        assert_eq!(Arc::strong_count(&memory), 2);

        node.clock.advance_ms(30);
        while Arc::strong_count(&memory) > 1 {
            tokio::task::yield_now().await;
        }

        assert!(
            to_bytes(response.into_body()).await.is_err(),
            "the rest must not look like the whole"
        );
    }

    #[actix_web::test]
    async fn a_body_that_is_taken_arrives_whole() {
        let node = Node::new();
        let memory = Arc::new(());
        let response = respond(HttpResponse::Ok(), &node.state, held(&memory));
        let body = to_bytes(response.into_body()).await.expect("whole");
        assert_eq!(body.len(), 3);
    }
}
