//! Whose request it is.

use actix_web::http::header::HeaderMap;
use trireme_model::Tenant;

use crate::ApiSettings;

/// The tenant that the request's headers name. The error is text for the sender.
///
/// A request that names two tenants is refused: a proxy that sets one header must not be passed by a client that sends the
/// other, or the same one twice.
pub(crate) fn of(headers: &HeaderMap, settings: &ApiSettings) -> Result<Tenant, String> {
    let names = settings
        .tenant_headers
        .iter()
        .filter(|name| !name.is_empty());
    let all = names.flat_map(|name| {
        headers
            .get_all(name.as_str())
            .map(move |value| (name, value))
    });

    let mut values = all.filter(|(_, value)| !value.is_empty());
    let Some((header, value)) = values.next() else {
        return Tenant::new(&settings.tenant_default).map_err(|e| e.to_string());
    };
    if let Some((other, _)) = values.find(|(_, more)| *more != value) {
        return Err(format!(
            "headers {header} and {other} name two tenants; send one"
        ));
    }

    let text = value
        .to_str()
        .map_err(|_| format!("header {header} is not plain text"))?;

    Tenant::new(text).map_err(|e| format!("header {header}: {e}"))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_request_names_one_tenant_or_is_the_default_ones() {
        let tenant = |headers: &[(&str, &str)]| {
            let mut request = TestRequest::default();
            for (name, value) in headers {
                request = request.append_header((*name, *value));
            }
            of(request.to_http_request().headers(), &ApiSettings::default()).map(|t| t.to_string())
        };

        assert_eq!(tenant(&[]).as_deref(), Ok("default-tenant"));
        assert_eq!(tenant(&[("x-scope-orgid", "b")]).as_deref(), Ok("b"));
        assert_eq!(
            tenant(&[("x-scope-orgid", "a"), ("thanos-tenant", "a")]).as_deref(),
            Ok("a")
        );
        assert_eq!(
            tenant(&[("x-scope-orgid", "b"), ("thanos-tenant", "")]).as_deref(),
            Ok("b")
        );

        for two in [
            [("x-scope-orgid", "b"), ("thanos-tenant", "a")],
            [("thanos-tenant", "b"), ("thanos-tenant", "a")],
            [("x-scope-orgid", "b"), ("x-scope-orgid", "a")],
        ] {
            assert!(
                tenant(&two).is_err_and(|e| e.contains("two tenants")),
                "{two:?}"
            );
        }

        assert!(tenant(&[("thanos-tenant", "../etc")]).is_err());
    }
}
