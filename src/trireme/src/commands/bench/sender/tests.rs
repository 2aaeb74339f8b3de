use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use trireme_base::SystemClock;

use super::*;

/// A receiver whose answer to the n-th request over all connections is `status(n)`; gives the bodies it got.
fn receiver(status: fn(usize) -> u16) -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/write", listener.local_addr().expect("bound"));
    let got = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&got);
    let serve = move |stream: TcpStream, seen: Arc<Mutex<Vec<Vec<u8>>>>| {
        let mut stream = stream;
        while let Some(body) = request(&mut stream) {
            let number = {
                let mut seen = seen.lock().expect("no test panics with it");
                seen.push(body);
                seen.len() - 1
            };
            let answer = format!(
                "HTTP/1.1 {} x\r\nContent-Length: 3\r\n\r\nwhy",
                status(number)
            );
            stream.write_all(answer.as_bytes()).expect("written");
        }
    };

    std::thread::Builder::new()
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                std::thread::Builder::new()
                    .spawn(move || serve(stream, seen))
                    .expect("thread starts");
            }
        })
        .expect("thread starts");

    (url, got)
}

fn request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();

    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }

    let head = String::from_utf8(head).expect("text");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .expect("has a length");
    let mut body = vec![0; length.parse().expect("number")];

    stream.read_exact(&mut body).ok()?;
    Some(body)
}

fn plan(url: &str, connections: usize) -> Plan {
    Plan {
        targets: vec![Target::parse(url).expect("valid")],
        connections,
        rotate: false,
        protocol: Protocol::V1,
        headers: String::new(),
        rate: None,
        retries: 2,
        timeout: Duration::from_secs(10),
    }
}

/// Scrapes of `bodies` bodies of ten samples each; a body holds its scrape and its place in it.
fn scrapes(count: u8, bodies: u8) -> Vec<Vec<Body>> {
    let body = |scrape, place| Body {
        bytes: vec![scrape, place],
        raw_bytes: 2,
        samples: 10,
    };
    (0..count)
        .map(|scrape| (0..bodies).map(|place| body(scrape, place)).collect())
        .collect()
}

fn send(plan: Plan, scrapes: &[Vec<Body>]) -> Sent {
    let clock = SystemClock::new();
    let mut sent = Sent::default();
    Senders::new(plan, &clock)
        .send(scrapes, &mut sent)
        .expect("threads start");
    sent
}

#[test]
fn samples_of_a_series_keep_their_order_over_many_connections() {
    let (url, got) = receiver(|_| 204);
    let sent = send(plan(&url, 3), &scrapes(5, 7));
    assert_eq!((sent.samples_ok, sent.samples_failed), (350, 0));

    let got = got.lock().expect("receiver idle");
    assert_eq!(got.len(), 35);

    for place in 0..7 {
        let order: Vec<u8> = got
            .iter()
            .filter(|body| body[1] == place)
            .map(|body| body[0])
            .collect();
        assert_eq!(order, [0, 1, 2, 3, 4], "place {place}");
    }
}

#[test]
fn tries_again_when_the_receiver_is_busy() {
    let (url, got) = receiver(|number| if number < 2 { 503 } else { 200 });
    let sent = send(plan(&url, 1), &scrapes(1, 1));
    assert_eq!((sent.samples_ok, sent.samples_failed), (10, 0));
    assert_eq!(sent.errors, BTreeMap::from([("503".to_string(), 2)]));
    assert_eq!(sent.first_error.as_deref(), Some("503: why"));
    assert_eq!(got.lock().expect("receiver idle").len(), 3);
}

#[test]
fn gives_up_on_what_is_refused_for_good_and_after_the_last_try() {
    let (url, got) = receiver(|_| 400);
    let sent = send(plan(&url, 1), &scrapes(1, 1));
    assert_eq!((sent.samples_ok, sent.samples_failed), (0, 10));
    assert_eq!(got.lock().expect("receiver idle").len(), 1);

    let (url, got) = receiver(|_| 503);
    let sent = send(plan(&url, 1), &scrapes(1, 1));
    assert_eq!((sent.samples_ok, sent.samples_failed), (0, 10));
    assert_eq!(got.lock().expect("receiver idle").len(), 3);
}

#[test]
fn rotation_spreads_requests_over_all_receivers() {
    let (first, got_first) = receiver(|_| 204);
    let (second, got_second) = receiver(|_| 204);
    let targets = [&first, &second]
        .map(|url| Target::parse(url).expect("valid"))
        .to_vec();
    let sent = send(
        Plan {
            targets,
            rotate: true,
            ..plan(&first, 1)
        },
        &scrapes(2, 3),
    );

    assert_eq!(sent.samples_ok, 60);
    let counts = [got_first, got_second].map(|got| got.lock().expect("receiver idle").len());
    assert_eq!(counts, [3, 3]);
}

#[test]
fn a_rate_spaces_requests_without_a_burst_after_a_pause() {
    let clock = trireme_base::ManualClock::at(0);
    let mut senders = Senders::new(
        Plan {
            rate: Some(100.0),
            ..plan("http://localhost:1/x", 1)
        },
        &clock,
    );

    let ms = Duration::from_millis;
    let due = senders
        .due_times(&scrapes(1, 3), ms(0))
        .expect("has a rate");

    assert_eq!(due, [0, 100, 200].map(ms));
    let due = senders
        .due_times(&scrapes(1, 2), ms(5_000))
        .expect("has a rate");

    assert_eq!(due, [5_000, 5_100].map(ms));
}
