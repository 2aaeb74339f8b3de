//! Remote read over a fake storage, as a Prometheus would ask.

use actix_web::test::TestRequest;
use prost::Message;
use trireme_chunk::decode_into;
use trireme_remote::prompb::read::{
    ChunkedReadResponse, LabelMatcher, Query, ReadRequest, ReadResponse, SAMPLES,
    STREAMED_XOR_CHUNKS,
};
use trireme_remote::snappy;

use super::fakes::{Node, Reply};
use crate::ApiSettings;

async fn read(node: &Node, accepted: &[i32]) -> Reply {
    let matcher = LabelMatcher {
        r#type: 0,
        name: "__name__".into(),
        value: "up".into(),
    };

    let query = Query {
        start_timestamp_ms: 0,
        end_timestamp_ms: 1_000,
        matchers: vec![matcher],
    };

    let request = ReadRequest {
        queries: vec![query],
        accepted_response_types: accepted.to_vec(),
    };
    let body = snappy::deflate(&request.encode_to_vec()).expect("small");

    node.send(TestRequest::post().uri("/api/v1/read").set_payload(body))
        .await
}

#[actix_web::test]
async fn samples_come_as_one_snappy_message() {
    let node = Node::new();
    *node.queries.samples.lock() = vec![(5, 1.5), (10, 2.5), (2_000, 9.0)];
    let reply = read(&node, &[]).await;

    assert_eq!(
        (reply.status, reply.header("content-encoding")),
        (200, Some("snappy"))
    );
    assert_eq!(reply.header("content-type"), Some("application/x-protobuf"));

    let mut inflated = Vec::new();
    snappy::inflate(&reply.body, 1 << 20, &mut inflated).expect("snappy");
    let message = ReadResponse::decode(inflated.as_slice()).expect("a response");
    let series = &message.results[0].timeseries;

    assert_eq!(series.len(), 2);
    assert_eq!(
        series[0]
            .samples
            .iter()
            .map(|s| (s.timestamp, s.value))
            .collect::<Vec<_>>(),
        [(5, 1.5), (10, 2.5)]
    );
}

#[actix_web::test]
async fn chunks_come_as_frames_with_checksums() {
    let node = Node::new();
    *node.queries.samples.lock() = (0..500).map(|t| (t, t as f64)).collect();
    let reply = read(&node, &[7, STREAMED_XOR_CHUNKS, SAMPLES]).await;
    assert!(
        reply
            .header("content-type")
            .is_some_and(|t| t.starts_with("application/x-streamed-protobuf"))
    );

    let mut rest = reply.body.as_slice();
    let mut frames = 0;
    let mut times = Vec::new();

    let mut values = Vec::new();
    while !rest.is_empty() {
        let len = prost::encoding::decode_varint(&mut rest).expect("a length") as usize;
        let (sum, tail) = rest.split_first_chunk::<4>().expect("a checksum");
        assert_eq!(u32::from_be_bytes(*sum), crc32c::crc32c(&tail[..len]));
        let message = ChunkedReadResponse::decode(&tail[..len]).expect("a message");
        for chunk in &message.chunked_series[0].chunks {
            decode_into(&chunk.data, &mut times, &mut values).expect("a chunk");
        }
        frames += 1;
        rest = &tail[len..];
    }

    assert_eq!((frames, times.len()), (2, 1_000));
}

#[actix_web::test]
async fn what_cannot_be_answered_is_400() {
    let node = Node::with(ApiSettings {
        remote_read_samples_max: 3,
        ..Default::default()
    });
    let reply = read(&node, &[7]).await;

    assert_eq!(reply.status, 400);
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(
        reply.text(),
        "server does not support any of the requested response types: [7]\n"
    );
    *node.queries.samples.lock() = vec![(1, 1.0), (2, 2.0)];

    let reply = read(&node, &[SAMPLES]).await;
    assert!(
        reply.status == 400 && reply.text().contains("exceeded sample limit (3)"),
        "{}",
        reply.text()
    );

    let reply = node
        .send(
            TestRequest::post()
                .uri("/api/v1/read")
                .set_payload(vec![0xff; 9]),
        )
        .await;

    assert_eq!(reply.status, 400);
}
