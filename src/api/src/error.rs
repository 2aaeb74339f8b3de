//! Failures of the query and admin API, and how they look in a response.

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, ResponseError};
use trireme_base::ErrorKind;
use trireme_promql::SelectError;
use trireme_query::QueryError;

use crate::body::BodyError;
use crate::{AdminError, json, status};

/// A failure in Prometheus's JSON form.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ApiError(pub(crate) QueryError);

impl ApiError {
    pub(crate) fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self(QueryError::parameter(name, why))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self(QueryError::invalid(message))
    }

    fn status_and_type(&self) -> (StatusCode, &'static str) {
        match &self.0 {
            error if error.is_execution() => status::of_execution(),
            error if error.reached_limit().is_some() => status::of_cost_limit(),
            error => status::of_query(error.kind()),
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(e: QueryError) -> Self {
        Self(e)
    }
}

impl From<BodyError> for ApiError {
    fn from(e: BodyError) -> Self {
        let kind = match e.kind() {
            // Not the execution of a query.
            ErrorKind::TooLarge => ErrorKind::Invalid,
            kind => kind,
        };
        Self(QueryError::new(kind, e.to_string()))
    }
}

impl From<SelectError> for ApiError {
    fn from(e: SelectError) -> Self {
        Self(e.into())
    }
}

impl From<AdminError> for ApiError {
    fn from(e: AdminError) -> Self {
        Self(QueryError::new(e.kind, e.message))
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status_and_type().0
    }

    fn error_response(&self) -> HttpResponse {
        let (status, error_type) = self.status_and_type();
        let mut body = Vec::with_capacity(128);
        body.extend_from_slice(b"{\"status\":\"error\",\"errorType\":");
        json::push_str(&mut body, error_type);
        body.extend_from_slice(b",\"error\":");
        json::push_str(&mut body, &self.0.to_string());
        body.push(b'}');

        let mut response = HttpResponse::build(status);
        if self.0.kind() == ErrorKind::Unavailable {
            response.insert_header((RETRY_AFTER, "1"));
        }

        response.content_type("application/json").body(body)
    }
}
