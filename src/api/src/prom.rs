//! Prometheus's query API under `/api/v1`.

mod cost;
mod exemplars;
mod expression;
mod features;
mod metadata;
mod query;
mod scraping;
mod search;
mod series;
mod status;
mod tree;

use actix_web::guard::Guard;
use actix_web::web::{self, ServiceConfig};
use actix_web::{Handler, Responder, guard};

use crate::ask::Ask;
use crate::error::ApiError;

pub(crate) use search::fuzz as fuzz_search;

/// Answer of a handler.
pub(crate) type Answer = Result<actix_web::HttpResponse, ApiError>;

/// Adds the paths.
pub(crate) fn configure(cfg: &mut ServiceConfig) {
    configure_queries(cfg);
    configure_series(cfg);
    configure_status(cfg);
    configure_scraping(cfg);
    configure_rules(cfg);
    get(cfg, "/api/v1/features", features::features);
    cfg.service(web::resource("/api/v1/openapi.yaml").route(web::get().to(status::open_api)));
}

fn configure_queries(cfg: &mut ServiceConfig) {
    both(cfg, "/api/v1/query", query::instant);
    both(cfg, "/api/v1/query_range", query::range);
    both(cfg, "/api/v1/query_cost", cost::instant);
    both(cfg, "/api/v1/query_range_cost", cost::range);
    both(cfg, "/api/v1/query_exemplars", exemplars::query);
    both(cfg, "/api/v1/format_query", expression::format);
    both(cfg, "/api/v1/parse_query", expression::parse);
    get(cfg, "/api/v1/status/queries", status::queries);
    cfg.service(
        web::resource("/api/v1/status/queries/{id}").route(web::delete().to(status::cancel_query)),
    );
}

fn configure_series(cfg: &mut ServiceConfig) {
    both(cfg, "/api/v1/series", series::series);
    both(cfg, "/api/v1/labels", series::label_names);
    cfg.service(
        web::resource("/api/v1/label/{name}/values").route(web::get().to(series::label_values)),
    );
    both(cfg, "/api/v1/search/metric_names", search::metric_names);
    both(cfg, "/api/v1/search/label_names", search::label_names);
    both(cfg, "/api/v1/search/label_values", search::label_values);
    get(cfg, "/api/v1/metadata", metadata::metadata);
}

fn configure_status(cfg: &mut ServiceConfig) {
    get(cfg, "/api/v1/status/buildinfo", status::build_info);
    get(cfg, "/api/v1/status/runtimeinfo", status::runtime_info);
    get(cfg, "/api/v1/status/config", status::config);
    get(cfg, "/api/v1/status/flags", status::flags);
    get(cfg, "/api/v1/status/tsdb", status::tsdb);
    get(cfg, "/api/v1/status/walreplay", status::wal_replay);
    get(cfg, "/api/v1/notifications", scraping::empty_list);

    for action in ["delete_series", "clean_tombstones", "snapshot"] {
        let post_or_put = guard::Any(guard::Post()).or(guard::Put());
        let route = web::route().guard(post_or_put).to(scraping::administration);
        cfg.service(web::resource(format!("/api/v1/admin/tsdb/{action}")).route(route));
    }
}

/// What only a Prometheus does that scrapes and keeps its own blocks.
fn configure_scraping(cfg: &mut ServiceConfig) {
    get(cfg, "/api/v1/status/tsdb/blocks", scraping::blocks);
    get(cfg, "/api/v1/status/self_metrics", scraping::empty_list);
    get(cfg, "/api/v1/targets", scraping::targets);
    get(cfg, "/api/v1/targets/metadata", scraping::empty_list);
    get(
        cfg,
        "/api/v1/targets/relabel_steps",
        scraping::relabel_steps,
    );

    get(cfg, "/api/v1/scrape_pools", scraping::scrape_pools);
    get(
        cfg,
        "/api/v1/scrape_pools/config",
        scraping::scrape_pool_config,
    );
}

fn configure_rules(cfg: &mut ServiceConfig) {
    get(cfg, "/api/v1/rules", scraping::rules);
    get(cfg, "/api/v1/alerts", scraping::alerts);
    get(cfg, "/api/v1/alertmanagers", scraping::alertmanagers);
}

/// A path that takes GET and POST.
fn both<F, R>(cfg: &mut ServiceConfig, path: &str, handler: F)
where
    F: Handler<(Ask,), Output = R>,
    R: Responder + 'static,
{
    cfg.service(web::resource(path).route(web::route().guard(get_or_post()).to(handler)));
}

fn get<F, R>(cfg: &mut ServiceConfig, path: &str, handler: F)
where
    F: Handler<(Ask,), Output = R>,
    R: Responder + 'static,
{
    cfg.service(web::resource(path).route(web::get().to(handler)));
}

fn get_or_post() -> impl Guard {
    guard::Any(guard::Get()).or(guard::Post())
}
