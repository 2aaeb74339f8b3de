use proptest::prelude::*;
use trireme_base::{Boot, ErrorKind, Incarnation, StreamId};

use super::super::{
    Ack, Credit, EarlierStart, EndReason, Health, Heartbeat, Hello, Position, Refuse, RefuseReason,
    RequestHead, ResponseHead, StartsBefore, StreamEnded, Subscribe, Unsubscribe, Welcome,
};
use super::*;
use crate::record::{Record, RecordDraft, RecordKind};

const STREAM: StreamId = StreamId {
    incarnation: Incarnation(7),
    boot: Boot(2),
};

fn record(seq: u64, payload_bytes: usize) -> Record {
    let mut draft = RecordDraft::new(0, RecordKind::Samples);
    draft
        .payload_mut()
        .resize(crate::record::HEADER_BYTES + payload_bytes, seq as u8);
    draft.seal(STREAM, seq)
}

fn one_of_each() -> Vec<Frame> {
    vec![
        Frame::Hello(Hello {
            version: 1,
            version_min: 1,
            cluster: "c".into(),
            node: "n0".into(),
            incarnation: u64::MAX,
            boot: 3,
            epoch: 1,
            ring_hash: 5,
            shards: 4,
            expects: "n1".into(),
            process: 99,
            earlier: vec![EarlierStart {
                boot: 2,
                process: 98,
            }],
        }),
        Frame::Welcome(Welcome { version: 1 }),
        Frame::Refuse(Refuse {
            reason: RefuseReason::Shards as i32,
            detail: "4 against 8".into(),
        }),
        Frame::Heartbeat(Heartbeat {
            positions: vec![Position {
                incarnation: 7,
                boot: 1,
                seq: 9,
            }],
            health: Some(Health {
                ready: true,
                ..Health::default()
            }),
            wall_ms: -1,
            epoch: 1,
            settled: vec![StartsBefore {
                incarnation: 7,
                boot: 4,
                digest: 9,
            }],
            ended: vec![StartsBefore {
                incarnation: 7,
                boot: 3,
                digest: 9,
            }],
        }),
        Frame::Subscribe(Subscribe {
            subscription: 1,
            incarnation: 7,
            boot: 1,
            from_seq: 10,
            credit_bytes: 100,
        }),
        Frame::Unsubscribe(Unsubscribe { subscription: 1 }),
        Frame::Records(
            Records::new(1, vec![record(4, 10), record(5, 0), record(6, 3000)]).expect("one run"),
        ),
        Frame::Ack(Ack {
            incarnation: 7,
            boot: 1,
            position: 9,
            epoch: 3,
        }),
        Frame::Credit(Credit {
            subscription: 1,
            bytes: 77,
        }),
        Frame::StreamEnded(StreamEnded {
            subscription: 1,
            reason: EndReason::Trimmed as i32,
            first_seq: 12,
        }),
        Frame::Request(
            RequestHead {
                id: 1,
                kind: 2,
                deadline_ms: 500,
                version: 1,
                part: 3,
                more: true,
            },
            Bytes::from_static(b"body"),
        ),
        Frame::Response(
            ResponseHead {
                id: 1,
                status: 0,
                more: true,
            },
            Bytes::new(),
        ),
    ]
}

fn bytes_of(frames: &[Frame]) -> BytesMut {
    let mut out = BytesMut::new();
    for frame in frames {
        frame.encode().write_to(&mut out);
    }
    out
}

#[test]
fn every_frame_survives_the_wire_in_pieces_of_any_size() {
    let frames = one_of_each();
    assert_eq!(
        frames.len(),
        FrameKind::ALL.len(),
        "a new frame needs a sample here"
    );

    let bytes = bytes_of(&frames);
    for piece in [1, 2, 7, 64, bytes.len()] {
        let mut input = BytesMut::new();
        let mut got = Vec::new();
        for chunk in bytes.chunks(piece) {
            input.extend_from_slice(chunk);
            while let Some(frame) = Decoder::default().next(&mut input).expect("valid") {
                got.push(frame);
            }
        }
        assert_eq!(got, frames, "pieces of {piece}");
        assert!(input.is_empty());
    }
}

#[test]
fn records_are_slices_of_the_read_buffer() {
    let frame = Frame::Records(Records::new(1, vec![record(1, 5000)]).expect("one run"));
    let mut input = bytes_of(&[frame]);
    let memory = input.as_ptr_range();
    let Ok(Some(Frame::Records(records))) = Decoder::default().next(&mut input) else {
        panic!("not records")
    };
    assert!(memory.contains(&records.records()[0].bytes().as_ptr()));
}

#[test]
fn every_flipped_bit_is_noticed_or_waits_for_more() {
    for frame in one_of_each() {
        let bytes = bytes_of(std::slice::from_ref(&frame));
        let bits = (bytes.len() * 8).min(2_000);
        for bit in 0..bits {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let got = Decoder::default().next(&mut bad);
            assert!(
                !matches!(got, Ok(Some(_))),
                "bit {bit} of {:?}",
                frame.kind()
            );
        }
    }
}

#[test]
fn refuses_oversized_frames_before_allocating() {
    let mut input = BytesMut::from(&[0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, FrameKind::Ack as u8][..]);
    let capacity = input.capacity();
    assert!(matches!(
        Decoder::default().next(&mut input),
        Err(FrameError::TooLarge {
            kind: FrameKind::Ack,
            ..
        })
    ));

    assert_eq!(input.capacity(), capacity);
    let mut http = BytesMut::from(&b"GET / HTTP/1.1\r\n"[..]);
    assert!(Decoder::for_handshake().next(&mut http).is_err());
}

#[test]
fn lets_only_handshake_frames_through_before_the_handshake() {
    for frame in one_of_each() {
        let got = Decoder::for_handshake().next(&mut bytes_of(std::slice::from_ref(&frame)));
        if frame.kind().in_handshake() {
            assert_eq!(got, Ok(Some(frame)));
        } else {
            assert_eq!(got, Err(FrameError::TooEarly(frame.kind())));
        }
    }
}

#[test]
fn refuses_runs_with_gaps_mixed_streams_and_nothing() {
    assert_eq!(Records::new(1, vec![]), Err(FrameError::Run));
    assert_eq!(
        Records::new(1, vec![record(1, 0), record(3, 0)]),
        Err(FrameError::Run)
    );
    assert_eq!(
        Records::new(1, vec![record(1, 0), record(1, 0)]),
        Err(FrameError::Run)
    );

    let other = RecordDraft::new(0, RecordKind::Samples).seal(
        StreamId {
            boot: Boot(9),
            ..STREAM
        },
        2,
    );

    assert_eq!(
        Records::new(1, vec![record(1, 0), other]),
        Err(FrameError::Run)
    );

    assert!(Records::new(1, vec![record(u64::MAX, 0)]).is_ok());
}

#[test]
fn error_kinds_survive_as_status_numbers() {
    for kind in super::super::message::ERROR_KINDS {
        let head = ResponseHead {
            id: 1,
            status: ResponseHead::status_of(kind),
            more: false,
        };
        assert_eq!(head.error_kind(), Some(kind));
    }

    assert_eq!(
        ResponseHead {
            id: 1,
            status: 0,
            more: false
        }
        .error_kind(),
        None
    );

    assert_eq!(
        ResponseHead {
            id: 1,
            status: 99,
            more: false
        }
        .error_kind(),
        Some(ErrorKind::Internal)
    );
}

/// Random bytes behind a header that is right, so that the bodies' decoders are reached.
fn framed(kind: u8, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.extend_from_slice(&(body.len() as u32 + 1).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c_append(crc32c::crc32c(&[kind]), body).to_le_bytes());
    out.extend_from_slice(&[kind]);
    out.extend_from_slice(body);
    out
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut input = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = Decoder::default().next(&mut input) {}
    }

    #[test]
    fn random_bodies_never_panic(kind in 0u8..20, body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Decoder::default().next(&mut framed(kind, &body));
    }

    #[test]
    fn truncated_frames_wait_for_more(which in 0usize..12, cut in any::<prop::sample::Index>()) {
        let bytes = bytes_of(&one_of_each()[which..=which]);
        let mut input = BytesMut::from(&bytes[..cut.index(bytes.len())]);
        prop_assert_eq!(Decoder::default().next(&mut input), Ok(None));
    }
}
