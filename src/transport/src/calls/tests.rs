use super::*;
use trireme_wire::rpc::Method;

const SOON: Duration = Duration::from_secs(60);

fn calls() -> Calls {
    let calls = Calls::new(2, 1 << 20);
    calls.start();
    calls
}

async fn request(calls: &Calls) -> RequestHead {
    calls.next_request().await.0
}

fn answer(calls: &Calls, id: u64, answer: Result<Bytes, CallError>) -> usize {
    let frames = answer_frames(id, answer);
    let count = frames.len();

    for frame in frames {
        if let Frame::Response(head, part) = frame {
            calls.answered(&head, part);
        }
    }

    count
}

#[tokio::test]
async fn answers_in_parts_reach_the_right_caller() {
    let calls = calls();
    let large = Bytes::from(vec![7; PART_BYTES * 2 + 1]);
    let serve = async {
        let first = request(&calls).await;
        let second = request(&calls).await;
        assert_eq!((first.kind, second.kind), (1, 2));
        assert_eq!(answer(&calls, second.id, Ok(large.clone())), 3);
        assert_eq!(answer(&calls, first.id, Ok(Bytes::new())), 1);
    };

    let (first, second, ()) = futures::join!(
        calls.call(Method::ForwardWrite, Bytes::new(), SOON),
        calls.call(Method::Query, Bytes::new(), SOON),
        serve
    );

    assert_eq!(first, Ok(Bytes::new()));
    assert_eq!(second, Ok(large.clone()));
}

#[tokio::test]
async fn errors_keep_their_kind_and_words() {
    let calls = calls();
    let error = CallError::new(ErrorKind::NotFound, "no such tenant");
    let serve = async { answer(&calls, request(&calls).await.id, Err(error.clone())) };
    let (got, _) = futures::join!(calls.call(Method::ForwardWrite, Bytes::new(), SOON), serve);
    assert_eq!(got, Err(error.clone()));
}

#[tokio::test]
async fn refuses_answers_and_calls_over_the_bounds() {
    let calls = calls();
    let too_large = Bytes::from(vec![0; (1 << 20) + PART_BYTES + 1]);
    let serve = async {
        let head = request(&calls).await;
        answer(&calls, head.id, Ok(too_large.clone()));
        let cancel = request(&calls).await;
        assert_eq!(
            (cancel.id, cancel.deadline_ms),
            (head.id, 0),
            "the rest is not wanted"
        );
    };

    let (got, ()) = futures::join!(calls.call(Method::ForwardWrite, Bytes::new(), SOON), serve);
    assert_eq!(got.map_err(|e| e.kind()), Err(ErrorKind::TooLarge));
    let call = || calls.call(Method::ForwardWrite, Bytes::new(), SOON);
    let mut first = Box::pin(call());
    let mut second = Box::pin(call());
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());

    assert_eq!(call().await.map_err(|e| e.kind()), Err(ErrorKind::Limited));
    drop(first);
    assert!(futures::poll!(Box::pin(call())).is_pending(), "room again");
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_only_what_was_sent() {
    let calls = calls();
    let mut sent = Box::pin(calls.call(Method::ForwardWrite, Bytes::new(), SOON));
    assert!(futures::poll!(&mut sent).is_pending());

    let id = request(&calls).await.id;
    drop(sent);
    let cancel = request(&calls).await;

    assert_eq!((cancel.id, cancel.deadline_ms), (id, 0));
    let mut unsent = Box::pin(calls.call(Method::ForwardWrite, Bytes::new(), SOON));
    assert!(futures::poll!(&mut unsent).is_pending());

    drop(unsent);
    assert!(futures::poll!(Box::pin(calls.next_request())).is_pending());
}

#[tokio::test]
async fn fails_at_once_without_a_connection_and_when_it_is_lost() {
    let calls = Calls::new(2, 1000);
    assert_eq!(
        calls
            .call(Method::ForwardWrite, Bytes::new(), SOON)
            .await
            .map_err(|e| e.kind()),
        Err(ErrorKind::Unavailable)
    );

    calls.start();
    let mut waiting = Box::pin(calls.call(Method::ForwardWrite, Bytes::new(), SOON));
    assert!(futures::poll!(&mut waiting).is_pending());

    calls.stop();
    assert_eq!(
        waiting.await.map_err(|e| e.kind()),
        Err(ErrorKind::Unavailable)
    );
}

#[tokio::test(start_paused = true)]
async fn gives_up_when_the_peer_does_not_answer() {
    let calls = calls();
    assert_eq!(
        calls
            .call(Method::ForwardWrite, Bytes::new(), SOON)
            .await
            .map_err(|e| e.kind()),
        Err(ErrorKind::Timeout)
    );
}

#[tokio::test]
async fn empty_parts_and_parts_of_many_answers_count() {
    let calls = calls();
    let part = |id, bytes| {
        let head = ResponseHead {
            id,
            status: 0,
            more: true,
        };
        calls.answered(&head, Bytes::from(vec![0; bytes]));
    };

    let mut first = Box::pin(calls.call(Method::ForwardWrite, Bytes::new(), SOON));
    let mut second = Box::pin(calls.call(Method::ForwardWrite, Bytes::new(), SOON));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());

    let ids = [request(&calls).await.id, request(&calls).await.id];
    part(ids[0], 700 << 10);
    part(ids[1], 700 << 10);
    assert_eq!(
        second.await.map_err(|e| e.kind()),
        Err(ErrorKind::Limited),
        "together they are too large"
    );

    for _ in 0..(1 << 20) / 64 {
        part(ids[0], 0);
    }

    assert_eq!(
        first.await.map_err(|e| e.kind()),
        Err(ErrorKind::TooLarge),
        "nothing is not for nothing"
    );

    let third = Box::pin(calls.call(Method::ForwardWrite, Bytes::new(), SOON));
    let serve = async {
        let head = loop {
            let head = request(&calls).await;
            if head.deadline_ms > 0 {
                break head;
            }
        };
        answer(&calls, head.id, Ok(Bytes::from(vec![1; 900 << 10])))
    };

    assert!(futures::join!(third, serve).0.is_ok(), "room again");
}

#[test]
fn a_request_goes_in_parts_to_a_peer_that_knows_them() {
    let head = RequestHead {
        id: 3,
        kind: 1,
        deadline_ms: 5,
        version: 2,
        ..RequestHead::default()
    };

    let body = Bytes::from(vec![7; PART_BYTES * 2 + 1]);
    let frames = |version| request_frames(head.clone(), body.clone(), version);
    let shown = |frame: &Frame| match frame {
        Frame::Request(head, body) => (head.part, head.more, body.len()),
        _ => panic!("another frame"),
    };

    assert_eq!(
        frames(2).iter().map(shown).collect::<Vec<_>>(),
        [(0, false, body.len())]
    );

    let want = [(0, true, PART_BYTES), (1, true, PART_BYTES), (2, false, 1)];
    assert_eq!(frames(3).iter().map(shown).collect::<Vec<_>>(), want);
    let empty = request_frames(head.clone(), Bytes::new(), 3);

    assert_eq!(empty.iter().map(shown).collect::<Vec<_>>(), [(0, false, 0)]);
}
