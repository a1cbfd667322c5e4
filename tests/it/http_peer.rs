//! HTTP requests by hand: one connection each, no library between the test and the door.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Status code and body of `GET path`.
pub(crate) fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    get_with(addr, path, "")
}

/// The same with header lines, each with its line end.
pub(crate) fn get_with(addr: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    ask(addr, "GET", path, headers, "")
}

/// Any request, with a body.
pub(crate) fn ask(addr: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {addr}\r\n{headers}{length}Connection: close\r\n\r\n{body}").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let code = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    (code, if chunked { unchunk(body) } else { body.to_owned() })
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.push_str(rest.get(..size).unwrap());
        body = rest.get(size + 2..).unwrap();
    }
    whole
}

/// One reading of `/metrics`.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// `name{labels}` as written, to value.
    pub(crate) samples: BTreeMap<String, f64>,
}

impl Metrics {
    pub(crate) fn read(addr: SocketAddr) -> Self {
        let (code, text) = get(addr, "/metrics");
        assert_eq!(code, 200, "{text}");
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: `{line}`"));
                (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("not a number: `{line}`")))
            })
            .collect();
        Self { samples }
    }

    /// The sum over all labels of a metric.
    ///
    /// # Panics
    /// If there is no such metric, because a sum over nothing proves nothing.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let mut found = false;
        let mut sum = 0.0;
        for (key, value) in &self.samples {
            if key.split('{').next() == Some(name) {
                found = true;
                sum += value;
            }
        }
        assert!(found, "no metric `{name}` in {:#?}", self.samples.keys());
        sum
    }

    /// The two identities of `router::Report`: whatever came in was kept or let go, and every copy has one fate.
    pub(crate) fn assert_balance(&self) {
        let sum = |name: &str| self.sum_or_zero(&format!("rembus_gateway_{name}"));
        let received = self.sum("rembus_gateway_messages_received_total");
        assert_eq!(received, sum("messages_logged_total") + sum("messages_not_logged_total"), "{:#?}", self.samples);
        let copies = self.sum("rembus_gateway_copies_total");
        let open = sum("copies_queued") + sum("copies_in_flight");
        let ends = sum("copies_delivered_total") + sum("copies_expired_total") + sum("copies_dropped_total");
        assert_eq!(copies, open + ends, "{:#?}", self.samples);
    }

    /// Like [`sum`](Self::sum) for a metric whose labels appear when there is something to count.
    pub(crate) fn sum_or_zero(&self, name: &str) -> f64 {
        self.samples.iter().filter(|(key, _)| key.split('{').next() == Some(name)).map(|(_, value)| value).sum()
    }
}
