//! Connections of each address, counted and bounded, so that one client cannot take the places of all others.
//!
//! A connection beyond the bound hears nothing or, if it was quicker with its request, 503: either is tried again by senders.

use std::any::Any;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown};
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, header};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse};
use parking_lot::Mutex;
use prometheus::IntCounter;
use serde_json::json;
use slog::{Logger, warn};
use socket2::SockRef;
use trireme_base::Clock;
use trireme_telemetry::{Metrics, MetricsError};

/// Least time between two log lines about refusals.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Who is connected, and how often.
pub(crate) struct Addresses {
    /// Most connections of an address; 0 is no bound, and nothing is counted.
    most: usize,
    /// Addresses that have connections, so there are no more of them than connections.
    counts: Mutex<HashMap<IpAddr, usize>>,
    refused: IntCounter,
    said: Mutex<Said>,
    clock: Arc<dyn Clock>,
    log: Logger,
}

#[derive(Default)]
struct Said {
    /// Monotonic time of the last log line.
    at: Option<Duration>,
    /// Refusals since then.
    refused: u64,
}

/// A connection that counts until it is dropped.
struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

/// Lies beside a connection beyond the bound.
struct Refused;

impl Addresses {
    pub(crate) fn new(
        most: usize,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
        log: Logger,
    ) -> Result<Arc<Self>, MetricsError> {
        let refused = metrics.counter(
            "trireme_node_connections_refused_total",
            "HTTP connections closed because their address had http.connections_per_address.",
        )?;
        let counts = Mutex::default();
        let said = Mutex::default();

        Ok(Arc::new(Self {
            most,
            counts,
            refused,
            said,
            clock,
            log,
        }))
    }

    /// Called for every new connection, with what lies beside it while it is open.
    pub(crate) fn connected(self: &Arc<Self>, connection: &dyn Any, beside: &mut Extensions) {
        if self.most == 0 {
            return;
        }
        let Some(stream) = connection.downcast_ref::<actix_rt::net::TcpStream>() else {
            return;
        };
        let Ok(peer) = stream.peer_addr() else { return };

        match self.enter(peer.ip()) {
            Some(place) => drop(beside.insert(place)),
            None => {
                beside.insert(Refused);
                // Nothing more is read; that it is closed already is as good.
                let _ = SockRef::from(stream).shutdown(Shutdown::Read);
            }
        }
    }

    /// A place for a connection; `None` if its address has all it may.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = counted_as(address);
        let is_beyond = {
            let mut counts = self.counts.lock();
            let count = counts.entry(address).or_default();
            let is_beyond = *count >= self.most;
            *count += usize::from(!is_beyond);
            is_beyond
        };

        if is_beyond {
            self.tell(address);
            return None;
        }

        Some(Place {
            addresses: Arc::clone(self),
            address,
        })
    }

    fn tell(&self, address: IpAddr) {
        self.refused.inc();
        let now = self.clock.monotonic();
        let mut said = self.said.lock();

        said.refused += 1;
        if said
            .at
            .is_some_and(|at| now.saturating_sub(at) < SAID_EVERY)
        {
            return;
        }

        let refused = std::mem::take(&mut said.refused);
        said.at = Some(now);
        drop(said);
        warn!(self.log, "connection refused, its address has http.connections_per_address of them";
            "address" => %address, "connections" => self.most, "refused_since_last_line" => refused);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// A host may have all of a /64 of IPv6, and the same IPv4 address in two notations.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

/// Answers requests that came over a connection beyond the bound before it was closed.
pub(crate) async fn refuse(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if request.conn_data::<Refused>().is_none() {
        return Ok(next.call(request).await?.map_into_left_body());
    }

    let error = "this address has as many connections as http.connections_per_address allows";
    let error = json!({ "status": "error", "errorType": "unavailable", "error": error });
    let mut response = HttpResponse::ServiceUnavailable();
    let response = response
        .insert_header((header::RETRY_AFTER, "5"))
        .json(error);
    let mut response = request.into_response(response).map_into_right_body();

    response
        .response_mut()
        .head_mut()
        .set_connection_type(ConnectionType::Close);

    Ok(response)
}

#[cfg(test)]
mod tests {
    use trireme_base::ManualClock;

    use super::*;

    fn addresses(most: usize) -> Arc<Addresses> {
        let log = Logger::root(slog::Discard, slog::o!());
        Addresses::new(most, Arc::new(ManualClock::at(0)), &Metrics::default(), log)
            .expect("registered")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_address_has_its_places_and_gets_them_back() {
        let addresses = addresses(2);
        let first = addresses.enter(ip("10.0.0.1")).expect("a place");
        let _second = addresses.enter(ip("::ffff:10.0.0.1")).expect("a place");
        assert!(addresses.enter(ip("10.0.0.1")).is_none());
        assert!(
            addresses.enter(ip("10.0.0.2")).is_some(),
            "another one is not meant"
        );

        drop(first);
        let again = addresses.enter(ip("10.0.0.1"));
        assert!(again.is_some() && addresses.enter(ip("10.0.0.1")).is_none());

        assert_eq!(addresses.refused.get(), 2);
        drop((again, _second));
        assert_eq!(
            addresses.counts.lock().len(),
            0,
            "nothing is kept of who has gone"
        );
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let addresses = addresses(1);
        let _place = addresses.enter(ip("2001:db8:1:2::1")).expect("a place");
        assert!(addresses.enter(ip("2001:db8:1:2:ffff::2")).is_none());
        assert!(addresses.enter(ip("2001:db8:1:3::1")).is_some());
    }
}
