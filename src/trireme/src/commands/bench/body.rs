//! Bodies of remote-write requests, made before the clock runs.

mod proto;
mod v1;
mod v2;

use super::fleet::Point;

/// Version of the remote-write protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
pub enum Protocol {
    /// Labels with every series.
    #[value(name = "1.0")]
    #[serde(rename = "1.0")]
    V1,
    /// Labels as references into a table of symbols.
    #[value(name = "2.0")]
    #[serde(rename = "2.0")]
    V2,
}

impl Protocol {
    /// The request headers that name the protocol, each line ending with CR LF.
    pub fn headers(self) -> &'static str {
        match self {
            Protocol::V1 => {
                "Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n\
                 X-Prometheus-Remote-Write-Version: 0.1.0\r\n"
            }
            Protocol::V2 => {
                "Content-Encoding: snappy\r\n\
                 Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n\
                 X-Prometheus-Remote-Write-Version: 2.0.0\r\n"
            }
        }
    }
}

/// One request, ready to be sent.
pub struct Body {
    /// Snappy block of the protobuf message.
    pub bytes: Vec<u8>,
    /// Length of the message before compression.
    pub raw_bytes: usize,
    pub samples: usize,
}

/// Collects points into bodies of `samples_max` samples.
pub struct Batcher {
    samples_max: usize,
    samples: usize,
    request: Request,
    snappy: snap::raw::Encoder,
    bodies: Vec<Body>,
}

enum Request {
    V1(v1::Request),
    V2(v2::Request),
}

impl Batcher {
    /// A batcher without points.
    pub fn new(protocol: Protocol, samples_max: usize) -> Self {
        let request = match protocol {
            Protocol::V1 => Request::V1(v1::Request::default()),
            Protocol::V2 => Request::V2(v2::Request::default()),
        };
        Self {
            samples_max: samples_max.max(1),
            samples: 0,
            request,
            snappy: snap::raw::Encoder::new(),
            bodies: Vec::new(),
        }
    }

    /// Adds one point.
    pub fn add(&mut self, point: &Point) -> Result<(), snap::Error> {
        match &mut self.request {
            Request::V1(request) => request.add(point),
            Request::V2(request) => request.add(point),
        }

        self.samples += 1;
        if self.samples == self.samples_max {
            self.close()
        } else {
            Ok(())
        }
    }

    /// The bodies made since the last call, the last one perhaps with fewer samples.
    pub fn take(&mut self) -> Result<Vec<Body>, snap::Error> {
        if self.samples > 0 {
            self.close()?;
        }
        Ok(std::mem::take(&mut self.bodies))
    }

    fn close(&mut self) -> Result<(), snap::Error> {
        let raw = match &mut self.request {
            Request::V1(request) => request.message(),
            Request::V2(request) => request.message(),
        };
        let mut bytes = self.snappy.compress_vec(raw)?;

        // The room was for bytes that cannot be compressed; many bodies wait to be sent.
        bytes.shrink_to_fit();
        self.bodies.push(Body {
            bytes,
            raw_bytes: raw.len(),
            samples: self.samples,
        });

        self.samples = 0;
        match &mut self.request {
            Request::V1(request) => request.clear(),
            Request::V2(request) => request.clear(),
        }

        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use trireme_model::Labels;
    use trireme_remote::{DecodeLimits, rw1, rw2, snappy};

    use super::super::fleet::Fleet;
    use super::*;

    /// Labels, time and bits of the value of every sample, as the daemon reads them.
    fn read_back(protocol: Protocol) -> Vec<(String, i64, u64)> {
        let fleet = Fleet::new(1_500, 15_000, 1_700_000_000_000, 1);
        let mut batcher = Batcher::new(protocol, 400);
        fleet.scrape(3, |point| batcher.add(point).expect("compresses"));

        let bodies = batcher.take().expect("compresses");
        assert_eq!(
            bodies.iter().map(|body| body.samples).collect::<Vec<_>>(),
            [400, 400, 400, 300]
        );

        let mut read = Vec::new();
        for body in bodies {
            let mut raw = Vec::new();
            snappy::inflate(&body.bytes, body.raw_bytes, &mut raw).expect("snappy");
            let decoded = match protocol {
                Protocol::V1 => rw1::decode(raw, 0, &DecodeLimits::default()),
                Protocol::V2 => rw2::decode(&raw, 0, &DecodeLimits::default()),
            };

            let batch = decoded.expect("a valid request").batch;
            for series in &batch.series {
                let labels = Labels::from_wire(batch.labels_of(series)).expect("valid labels");
                let samples = batch.samples_of(series).iter();
                read.extend(
                    samples.map(|sample| (labels.to_string(), sample.t, sample.v.to_bits())),
                );
            }
        }

        read
    }

    #[test]
    fn both_protocols_carry_the_same_samples() {
        let v1 = read_back(Protocol::V1);
        let v2 = read_back(Protocol::V2);
        assert_eq!(v1.len(), 1_500);
        assert_eq!(v1, v2);

        assert!(
            v1.iter()
                .all(|(_, t, _)| (1_700_000_045_000..1_700_000_060_000).contains(t))
        );
    }
}
