//! Whose request it is.

use actix_web::http::header::HeaderMap;
use trireme_model::Tenant;

use crate::ApiSettings;

/// The tenant that the request's headers name. The error is text for the sender.
pub(crate) fn of(headers: &HeaderMap, settings: &ApiSettings) -> Result<Tenant, String> {
    let named = settings
        .tenant_headers
        .iter()
        .filter(|n| !n.is_empty())
        .find_map(|name| headers.get(name.as_str()).filter(|v| !v.is_empty()).map(|value| (name, value)));
    let Some((header, value)) = named else {
        return Tenant::new(&settings.tenant_default).map_err(|e| e.to_string());
    };
    let text = value.to_str().map_err(|_| format!("header {header} is not plain text"))?;
    Tenant::new(text).map_err(|e| format!("header {header}: {e}"))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_first_header_wins_and_none_means_the_default() {
        let tenant = |headers: &[(&str, &str)]| {
            let mut request = TestRequest::default();
            for (name, value) in headers {
                request = request.insert_header((*name, *value));
            }
            of(request.to_http_request().headers(), &ApiSettings::default()).map(|t| t.to_string())
        };
        assert_eq!(tenant(&[]).as_deref(), Ok("default-tenant"));
        assert_eq!(tenant(&[("x-scope-orgid", "b")]).as_deref(), Ok("b"));
        assert_eq!(tenant(&[("x-scope-orgid", "b"), ("thanos-tenant", "a")]).as_deref(), Ok("a"));
        assert!(tenant(&[("thanos-tenant", "../etc")]).is_err());
    }
}
