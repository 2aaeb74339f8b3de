//! A small blocking HTTP/1.1 client with one kept connection: the generator must cost little itself.
//!
//! Plain `http://` only; load tests through TLS belong in front of a proxy that terminates it.

mod response;

use std::io::{self, IoSlice, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::bail;

pub use response::Response;

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `host:port`, also the `Host` header.
    authority: String,
    /// Path of the URL, with a leading slash; for an API base without a trailing one.
    pub path: String,
}

impl Target {
    /// Parses `http://host[:port][/path]`.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let Some(rest) = url.strip_prefix("http://") else {
            bail!("{url}: only http:// URLs can be measured")
        };

        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() || authority.contains('@') {
            bail!("{url}: the URL needs a host and no user");
        }

        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port {
            authority.to_string()
        } else {
            format!("{authority}:80")
        };

        let path = if path.is_empty() {
            "/".to_string()
        } else {
            path.to_string()
        };

        Ok(Self { authority, path })
    }
}

/// One connection to a target, opened when needed.
pub struct Client {
    target: Target,
    timeout: Duration,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    head: String,
}

impl Client {
    /// A client that gives up on a connect, read or write after `timeout`.
    pub fn new(target: Target, timeout: Duration) -> Self {
        Self {
            target,
            timeout,
            stream: None,
            buffer: Vec::new(),
            head: String::new(),
        }
    }

    /// The target's path.
    pub fn path(&self) -> &str {
        &self.target.path
    }

    /// Sends a request and reads the answer. `headers` are whole lines with CR LF. A kept connection that the
    /// server closed in the meantime is opened anew once.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> io::Result<Response> {
        self.head.clear();
        self.head.push_str(method);
        self.head.push(' ');
        self.head.push_str(path);
        self.head.push_str(" HTTP/1.1\r\nHost: ");
        self.head.push_str(&self.target.authority);
        self.head
            .push_str("\r\nUser-Agent: trireme-bench\r\nContent-Length: ");
        self.head.push_str(&body.len().to_string());
        self.head.push_str("\r\n");
        self.head.push_str(headers);
        self.head.push_str("\r\n");

        let kept = self.stream.is_some();
        match self.exchange(body) {
            Err(error) if kept && closed_meanwhile(&error) => self.exchange(body),
            other => other,
        }
    }

    fn exchange(&mut self, body: &[u8]) -> io::Result<Response> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };

        write_both(&mut stream, self.head.as_bytes(), body)?;

        let response = response::read(&mut stream, &mut self.buffer)?;
        if response.keep_alive {
            self.stream = Some(stream);
        }

        Ok(response)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} has no address", self.target.authority),
        );

        for address in self.target.authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, self.timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(self.timeout))?;
                    stream.set_write_timeout(Some(self.timeout))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }

        Err(last)
    }
}

fn closed_meanwhile(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

fn write_both(stream: &mut TcpStream, head: &[u8], body: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < head.len() {
        let slices = [IoSlice::new(&head[sent..]), IoSlice::new(body)];
        match stream.write_vectored(&slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) if sent + n > head.len() => {
                return stream.write_all(&body[sent + n - head.len()..]);
            }
            Ok(n) => sent += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }

    stream.write_all(body)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    /// Answers each request of each connection with the next of `answers`, then closes.
    fn server(answers: Vec<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/write", listener.local_addr().expect("bound"));
        std::thread::Builder::new()
            .spawn(move || {
                let mut answers = answers.into_iter().peekable();
                while answers.peek().is_some() {
                    let (mut stream, _) = listener.accept().expect("accepts");
                    let mut got = Vec::new();

                    let mut chunk = [0; 4_096];
                    while let Ok(n @ 1..) = stream.read(&mut chunk) {
                        got.extend_from_slice(&chunk[..n]);
                        if got.ends_with(b"body") {
                            got.clear();
                            let answer = answers.next().expect("an answer is left");
                            stream.write_all(answer.as_bytes()).expect("written");
                            if answer.contains("close-now") {
                                break;
                            }
                        }
                    }
                }
            })
            .expect("thread starts");

        url
    }

    fn client(url: &str) -> Client {
        Client::new(Target::parse(url).expect("valid"), Duration::from_secs(10))
    }

    #[test]
    fn keeps_the_connection_over_answers_of_every_form() {
        let url = server(vec![
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n",
            "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwait",
        ]);

        let mut client = client(&url);
        let mut next = || {
            client
                .send("POST", "/write", "", b"body")
                .expect("answered")
        };

        assert_eq!(next().status, 204);
        assert_eq!(next().body, b"hello");
        assert_eq!(next().body, b"abcde");

        let last = next();
        assert_eq!(
            (last.status, last.retry_after_s, last.keep_alive),
            (503, Some(7), false)
        );
    }

    #[test]
    fn opens_a_closed_connection_anew() {
        let url = server(vec![
            "HTTP/1.1 200 close-now\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n",
        ]);
        let mut client = client(&url);

        assert_eq!(
            client
                .send("POST", "/write", "", b"body")
                .expect("answered")
                .status,
            200
        );

        assert_eq!(
            client
                .send("POST", "/write", "", b"body")
                .expect("answered")
                .status,
            201
        );
    }

    #[test]
    fn refuses_answers_that_are_not_http() {
        for answer in [
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 x y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        ] {
            let url = server(vec![answer]);
            assert!(
                client(&url).send("POST", "/write", "", b"body").is_err(),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn parses_urls_with_and_without_port_and_path() {
        let target = Target::parse("http://node:9090/api/v1/write").expect("valid");
        assert_eq!(
            (target.authority.as_str(), target.path.as_str()),
            ("node:9090", "/api/v1/write")
        );

        let target = Target::parse("http://node").expect("valid");
        assert_eq!(
            (target.authority.as_str(), target.path.as_str()),
            ("node:80", "/")
        );

        assert!(Target::parse("https://node").is_err());
        assert!(Target::parse("http:///x").is_err());
    }
}
