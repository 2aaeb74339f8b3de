use trireme_base::{Boot, Incarnation, StreamId};
use trireme_wire::frame::{Ack, Records, Welcome};
use trireme_wire::record::{HEADER_BYTES, RecordDraft, RecordKind};

use super::*;

fn records(bytes: usize) -> Frame {
    let stream = StreamId {
        incarnation: Incarnation(1),
        boot: Boot(1),
    };
    let run = (1..=200).map(|seq| {
        let mut draft = RecordDraft::new(0, RecordKind::Samples);
        draft.payload_mut().resize(HEADER_BYTES + bytes, seq as u8);
        draft.seal(stream, seq)
    });

    Frame::Records(Records::new(1, run.collect()).expect("a run"))
}

#[tokio::test]
async fn frames_pass_through_a_narrow_pipe_in_order() {
    let (left, right) = tokio::io::duplex(100);
    let frames = [
        Frame::Ack(Ack {
            incarnation: 1,
            boot: 1,
            position: 7,
            epoch: 0,
        }),
        records(50),
        records(0),
    ];

    let mut writer = FrameWriter::new(left);
    for frame in &frames {
        writer.queue(frame);
    }

    assert!(writer.queued_bytes() > 200 * (50 + 32 + 32));
    let write = async {
        writer.flush().await.expect("written");
        assert_eq!(writer.queued_bytes(), 0);
        drop(writer);
    };

    let read = async {
        let mut reader = FrameReader::new(right);
        reader.handshake_done();
        for frame in &frames {
            assert_eq!(&reader.next().await.expect("a frame"), frame);
        }
        assert!(matches!(reader.next().await, Err(TransportError::Closed)));
    };

    futures::join!(write, read);
}

#[tokio::test]
async fn a_large_frame_arrives_without_copies_of_its_records() {
    let (left, right) = tokio::io::duplex(1 << 20);
    let mut writer = FrameWriter::new(left);
    let frame = records(10_000);

    writer.queue(&frame);
    let mut reader = FrameReader::new(right);
    reader.handshake_done();

    let (written, got) = futures::join!(writer.flush(), reader.next());
    written.expect("written");
    let Frame::Records(got) = got.expect("a frame") else {
        panic!("not records")
    };

    let at = |i: usize| got.records()[i].bytes().as_ptr_range();
    assert!(
        (1..200).all(|i| at(i - 1).end == at(i).start),
        "records lie side by side in one buffer"
    );
}

#[tokio::test]
async fn takes_only_handshake_frames_at_first() {
    let (left, right) = tokio::io::duplex(1000);
    let mut writer = FrameWriter::new(left);
    let mut reader = FrameReader::new(right);

    for frame in [
        Frame::Welcome(Welcome { version: 1 }),
        Frame::Ack(Ack::default()),
    ] {
        writer.queue(&frame);
    }

    writer.flush().await.expect("written");
    assert!(reader.next().await.is_ok());
    assert!(matches!(reader.next().await, Err(TransportError::Frame(_))));
}
