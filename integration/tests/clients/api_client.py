"""Asks a server everything that PyPI's prometheus-api-client can ask, and prints the answers as one JSON object.

Arguments: URL, start and end of the data in seconds since the epoch.
"""

import json
import sys
from datetime import datetime, timezone

from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException

url, start, end = sys.argv[1], *(datetime.fromtimestamp(int(s), timezone.utc) for s in sys.argv[2:])
server = PrometheusConnect(url=url)
at_end = {"time": end.timestamp()}
span = {"start": start.timestamp(), "end": end.timestamp()}


def refused(query):
    try:
        return server.custom_query(query)
    except PrometheusApiClientException as error:
        return str(error).split(" ")[3]


print(
    json.dumps(
        {
            "connected": server.check_prometheus_connection(),
            "metrics": server.all_metrics(params=span),
            "label_names": server.get_label_names(params=span),
            "label_values": server.get_label_values("instance", params=span),
            "series": server.get_series(start, end, params={"match[]": "demo_num_cpus"}),
            "current": server.get_current_metric_value("demo_memory_usage_bytes", {"type": "used"}, params=at_end),
            "instant": server.custom_query("sum by (type) (demo_memory_usage_bytes)", params=at_end),
            "range": server.custom_query_range("demo_num_cpus * 2", start, end, "60"),
            "samples": server.get_metric_range_data("demo_disk_usage_bytes", start_time=start, end_time=end),
            "refused": refused("sum("),
            "metadata": server.get_metric_metadata("demo_num_cpus"),
            "targets": server.get_targets()["activeTargets"],
            "target_metadata": server.get_target_metadata({"job": "demo"}),
        },
        sort_keys=True,
    )
)
