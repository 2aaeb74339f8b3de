//! The one place where a kind of failure becomes an HTTP status.
//!
//! Senders of samples retry 5xx and 429 and drop what they got another 4xx for. So a write answers 4xx only for what the
//! sender did, and 5xx only for what may work later; vmagent retries even 404, 413 and 422 for ever, hence plain 400.

use actix_web::http::StatusCode;
use trireme_base::ErrorKind;

/// Status of a failed write request.
pub fn of_write(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::NotFound => StatusCode::BAD_REQUEST,
        ErrorKind::Limited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::NoQuorum
        | ErrorKind::Unavailable
        | ErrorKind::Timeout
        | ErrorKind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Status and Prometheus's `errorType` of a failed query.
pub fn of_query(kind: ErrorKind) -> (StatusCode, &'static str) {
    match kind {
        ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "bad_data"),
        ErrorKind::TooLarge | ErrorKind::Limited => of_execution(),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        ErrorKind::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
        ErrorKind::NoQuorum | ErrorKind::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        }
        ErrorKind::Cancelled => (client_closed_request(), "canceled"),
        ErrorKind::Corrupt | ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

/// What goes wrong while an expression is evaluated, its bounds included, is 422 in Prometheus.
pub fn of_execution() -> (StatusCode, &'static str) {
    (StatusCode::UNPROCESSABLE_ENTITY, "execution")
}

/// A query that costs more than it may.
pub fn of_cost_limit() -> (StatusCode, &'static str) {
    (StatusCode::UNPROCESSABLE_ENTITY, "cost_limit")
}

/// nginx's 499, which Prometheus answers for a canceled query.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).expect("499 is a three digit number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_retried_exactly_when_it_may_work_later() {
        use ErrorKind::*;

        for kind in [Invalid, TooLarge, NotFound] {
            assert_eq!(of_write(kind).as_u16(), 400, "{kind:?}");
        }

        for kind in [NoQuorum, Unavailable, Timeout, Cancelled, Corrupt, Internal] {
            assert!(of_write(kind).is_server_error(), "{kind:?}");
        }

        assert_eq!(of_write(Limited).as_u16(), 429);
    }
}
