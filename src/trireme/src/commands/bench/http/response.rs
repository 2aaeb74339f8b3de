//! Reading one HTTP/1.1 answer.

use std::io::{self, Read};

/// Longest head accepted.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Longest body accepted.
const BODY_BYTES_MAX: usize = 1 << 30;

/// An answer with its whole body.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
    /// The `Retry-After` header, if it is a number of seconds.
    pub retry_after_s: Option<u64>,
    pub keep_alive: bool,
}

struct Head {
    status: u16,
    length: Option<usize>,
    chunked: bool,
    retry_after_s: Option<u64>,
    keep_alive: bool,
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not a valid HTTP answer: {what}"),
    )
}

/// Reads an answer; `buffer` only lends its memory.
pub fn read(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Response> {
    buffer.clear();
    let mut input = Input {
        stream,
        buffer,
        used: 0,
    };

    let head = loop {
        let head = parse_head(&input.head()?)?;
        // 1xx answers announce another one.
        if head.status / 100 != 1 {
            break head;
        }
    };

    let mut body = Vec::new();
    let bodyless = head.status == 204 || head.status == 304;

    let mut keep_alive = head.keep_alive;
    match (bodyless, head.chunked, head.length) {
        (true, _, _) => {}
        (_, true, _) => input.chunks(&mut body)?,
        (_, _, Some(length)) => input.take(length, &mut body)?,
        (_, _, None) => {
            input.rest(&mut body)?;
            keep_alive = false;
        }
    }

    Ok(Response {
        status: head.status,
        body,
        retry_after_s: head.retry_after_s,
        keep_alive,
    })
}

fn parse_head(text: &[u8]) -> io::Result<Head> {
    let text = std::str::from_utf8(text).map_err(|_| invalid("head is not UTF-8"))?;
    let mut lines = text.split("\r\n");
    let status = parse_status(lines.next().unwrap_or_default())?;

    let mut head = Head {
        status,
        length: None,
        chunked: false,
        retry_after_s: None,
        keep_alive: true,
    };

    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| invalid("header without a colon"))?;

        head.take(name, value.trim())?;
    }

    Ok(head)
}

fn parse_status(line: &str) -> io::Result<u16> {
    line.strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| invalid("status line"))
}

impl Head {
    fn take(&mut self, name: &str, value: &str) -> io::Result<()> {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                self.length = Some(value.parse().map_err(|_| invalid("content length"))?)
            }
            "transfer-encoding" => self.chunked = value.eq_ignore_ascii_case("chunked"),
            "retry-after" => self.retry_after_s = value.parse().ok(),
            "connection" => self.keep_alive = !value.eq_ignore_ascii_case("close"),
            _ => {}
        }
        Ok(())
    }
}

struct Input<'a, R> {
    stream: &'a mut R,
    buffer: &'a mut Vec<u8>,
    used: usize,
}

impl<R: Read> Input<'_, R> {
    /// Reads more; an end of the stream is an error.
    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        let n = self.stream.read(&mut chunk)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(())
    }

    fn until(&mut self, mark: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut from = self.used;
        loop {
            if let Some(at) = self.buffer[from..]
                .windows(mark.len())
                .position(|window| window == mark)
            {
                let end = from + at;
                let found = self.buffer[self.used..end].to_vec();
                self.used = end + mark.len();
                return Ok(found);
            }

            from = self
                .buffer
                .len()
                .saturating_sub(mark.len() - 1)
                .max(self.used);

            if self.buffer.len() - self.used > bytes_max {
                return Err(invalid("line or head too long"));
            }

            self.fill()?;
        }
    }

    fn head(&mut self) -> io::Result<Vec<u8>> {
        self.until(b"\r\n\r\n", HEAD_BYTES_MAX)
    }

    fn take(&mut self, length: usize, body: &mut Vec<u8>) -> io::Result<()> {
        if body.len().saturating_add(length) > BODY_BYTES_MAX {
            return Err(invalid("body too long"));
        }

        let ready = (self.buffer.len() - self.used).min(length);
        body.extend_from_slice(&self.buffer[self.used..self.used + ready]);
        self.used += ready;

        let missing = length - ready;
        if missing > 0 {
            let got = self.stream.take(missing as u64).read_to_end(body)?;
            if got < missing {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }

        Ok(())
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.until(b"\r\n", 1 << 10)?;
            let size = line
                .split(|b| *b == b';')
                .next()
                .and_then(|hex| std::str::from_utf8(hex).ok());
            let size = size.and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok());
            let size = size.ok_or_else(|| invalid("size of a chunk"))?;
            if size == 0 {
                while !self.until(b"\r\n", 8 << 10)?.is_empty() {}
                return Ok(());
            }

            self.take(size, body)?;
            if !self.until(b"\r\n", 2)?.is_empty() {
                return Err(invalid("end of a chunk"));
            }

            // What was consumed is not needed again; without this a long body would be kept twice.
            self.buffer.drain(..self.used);
            self.used = 0;
        }
    }

    fn rest(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        body.extend_from_slice(&self.buffer[self.used..]);
        self.used = self.buffer.len();
        let left = (BODY_BYTES_MAX - body.len().min(BODY_BYTES_MAX)) as u64;
        self.stream.take(left).read_to_end(body).map(|_| ())
    }
}
