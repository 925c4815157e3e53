"""The metrics of a process that has no HTTP of its own."""

import httpx2
import pytest
from prometheus_client import CollectorRegistry, Counter

from relayer.telemetry.endpoint import EndpointError, serving


def test_metrics_are_served_while_the_process_runs_and_no_longer() -> None:
    registry = CollectorRegistry()
    Counter("jobseal_test_things", "Things", registry=registry).inc(3)
    with serving(registry, "127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}/metrics"
        assert "jobseal_test_things_total 3.0" in httpx2.get(url, timeout=60).text
        with (
            pytest.raises(EndpointError, match=rf"METRICS_PORT: .*127\.0\.0\.1:{port}"),
            serving(registry, "127.0.0.1", port),
        ):
            pass
    with pytest.raises(httpx2.HTTPError):
        httpx2.get(url, timeout=60)
