//! An S3 server of one bucket whose answer to `If-None-Match: *` is chosen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the server does with `If-None-Match: *`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// As Amazon S3: 412 if the object is there.
    Kept,
    /// This status, always.
    Refused(u16),
    /// Nothing.
    Ignored,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// Method of every request that was not refused, `LIST` for a list.
    seen: Vec<String>,
    refusals: usize,
    /// Status of the next PUT.
    failing: Option<u16>,
    /// End of a key, and what another writer puts there behind the next PUT.
    other_writer: Option<(String, Vec<u8>)>,
}

/// A running server; its threads end with the process.
pub struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

struct Request {
    method: String,
    /// Decoded, without the bucket's name.
    key: String,
    query: BTreeMap<String, String>,
    is_conditional: bool,
    body: Vec<u8>,
}

fn in_thread(name: &str, work: impl FnOnce() + Send + 'static) {
    #[allow(clippy::disallowed_methods)] // it lives as long as the test
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .unwrap();
}

impl Server {
    pub fn start(condition: Condition) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);

        in_thread("listener", move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                in_thread("connection", move || serve(stream, condition, &state));
            }
        });

        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests of this method that were not refused for their condition.
    pub fn count(&self, method: &str) -> usize {
        self.state
            .lock()
            .unwrap()
            .seen
            .iter()
            .filter(|seen| *seen == method)
            .count()
    }

    pub fn refusals(&self) -> usize {
        self.state.lock().unwrap().refusals
    }

    /// Puts an object past all conditions and counts.
    pub fn insert(&self, key: &str, body: Vec<u8>) {
        self.state
            .lock()
            .unwrap()
            .objects
            .insert(key.to_owned(), body);
    }

    pub fn keys(&self) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().cloned().collect()
    }

    pub fn fail_next(&self, status: u16) {
        self.state.lock().unwrap().failing = Some(status);
    }

    pub fn overwrite_after_put(&self, end_of_key: &str, body: Vec<u8>) {
        self.state.lock().unwrap().other_writer = Some((end_of_key.to_owned(), body));
    }
}

fn serve(mut stream: TcpStream, condition: Condition, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read(&mut reader) {
        let (status, body) = answer(&request, condition, &mut state.lock().unwrap());
        let mut head = format!(
            "HTTP/1.1 {status} x\r\nETag: \"e\"\r\nContent-Length: {}\r\n",
            body.len()
        );
        head.push_str("Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        if request.method != "HEAD" {
            stream.write_all(&body).unwrap();
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader
        .read_line(&mut line)
        .ok()
        .filter(|length| *length > 0)?;

    let mut words = line.split(' ');
    let method = words.next()?.to_owned();
    let target = words.next()?.to_owned();
    let mut is_conditional = false;

    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "if-none-match" => is_conditional = true,
            "content-length" => length = value.trim().parse().unwrap(),
            _ => {}
        }
    }

    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query: BTreeMap<_, _> = pairs
        .map(|(name, value)| (name.to_owned(), decoded(value, true)))
        .collect();
    let key = decoded(
        path.trim_start_matches("/metrics").trim_start_matches('/'),
        false,
    );

    Some(Request {
        method,
        key,
        query,
        is_conditional,
        body,
    })
}

fn answer(request: &Request, condition: Condition, state: &mut State) -> (u16, Vec<u8>) {
    if request.is_conditional
        && let Condition::Refused(status) = condition
    {
        state.refusals += 1;
        return (
            status,
            b"<Error><Code>NotImplemented</Code></Error>".to_vec(),
        );
    }

    let is_list = request.method == "GET" && request.query.contains_key("list-type");
    state.seen.push(if is_list {
        "LIST".to_owned()
    } else {
        request.method.clone()
    });

    let found = state.objects.get(&request.key);
    match request.method.as_str() {
        "PUT" if state.failing.is_some() => (state.failing.take().unwrap(), Vec::new()),
        "PUT" if request.is_conditional && condition == Condition::Kept && found.is_some() => {
            (412, Vec::new())
        }
        "PUT" => {
            put(state, request);
            (200, Vec::new())
        }
        "POST" => (200, delete_many(state, &request.body)),
        "GET" if is_list => (200, list(state, &request.query)),
        _ => found.map_or((404, Vec::new()), |body| (200, body.clone())),
    }
}

fn put(state: &mut State, request: &Request) {
    state
        .objects
        .insert(request.key.clone(), request.body.clone());
    if let Some((_, body)) = state
        .other_writer
        .take_if(|(end, _)| request.key.ends_with(end.as_str()))
    {
        state.objects.insert(request.key.clone(), body);
    }
}

/// Answers `POST /bucket?delete`.
fn delete_many(state: &mut State, body: &[u8]) -> Vec<u8> {
    let body = String::from_utf8_lossy(body);

    let mut answer = String::new();
    for part in body.split("<Key>").skip(1) {
        let key = part.split("</Key>").next().unwrap();
        state.objects.remove(key);
        write!(answer, "<Deleted><Key>{key}</Key></Deleted>").unwrap();
    }

    format!("<DeleteResult>{answer}</DeleteResult>").into_bytes()
}

/// Keys and folders of a page; S3 has a thousand.
const PAGE_ENTRIES: usize = 100;

fn list(state: &State, query: &BTreeMap<String, String>) -> Vec<u8> {
    let prefix = query.get("prefix").cloned().unwrap_or_default();

    // By name, folders and keys together, as in S3.
    let mut entries: BTreeMap<String, Option<usize>> = BTreeMap::new();
    for (key, body) in state
        .objects
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix))
    {
        let rest = &key[prefix.len()..];
        match rest
            .split_once('/')
            .filter(|_| query.contains_key("delimiter"))
        {
            Some((folder, _)) => entries.insert(format!("{prefix}{folder}/"), None),
            None => entries.insert(key.clone(), Some(body.len())),
        };
    }

    let after = query.get("continuation-token");
    let mut left = entries
        .into_iter()
        .filter(|(name, _)| after.is_none_or(|after| name > after))
        .peekable();
    let mut contents = String::new();

    let mut last = String::new();
    for (name, size) in left.by_ref().take(PAGE_ENTRIES) {
        match size {
            None => write!(
                contents,
                "<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"
            )
            .unwrap(),
            Some(size) => {
                write!(
                    contents,
                    "<Contents><Key>{name}</Key><Size>{size}</Size><ETag>e</ETag>"
                )
                .unwrap();
                contents.push_str("<LastModified>2024-01-01T00:00:00Z</LastModified></Contents>");
            }
        }
        last = name;
    }

    let next = match left.peek() {
        Some(_) => format!("<NextContinuationToken>{last}</NextContinuationToken>"),
        None => String::new(),
    };
    let is_cut = !next.is_empty();

    format!(
        "<ListBucketResult><IsTruncated>{is_cut}</IsTruncated>{next}{contents}</ListBucketResult>"
    )
    .into_bytes()
}

fn decoded(text: &str, is_query: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();

    let mut i = 0;
    while i < bytes.len() {
        let hex = (bytes[i] == b'%').then(|| u8::from_str_radix(&text[i + 1..i + 3], 16).unwrap());
        out.push(hex.unwrap_or(if bytes[i] == b'+' && is_query {
            b' '
        } else {
            bytes[i]
        }));
        i += if hex.is_some() { 3 } else { 1 };
    }

    String::from_utf8(out).unwrap()
}
