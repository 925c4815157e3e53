"""The metrics of one process, for Prometheus: one registry, and what is read only when it is asked for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from relayer.model.breaker import Breaker

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """What a process counts, and what it is asked for.

    Attributes:
        registry: of this process; other metrics may be registered there.
        refused: requests that were refused, by the policy that refused them.
        local_verdicts: requests whose limits this process judged alone, because Redis is away.

    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.refused = Counter(
            "jobseal_api_refused",
            "Requests refused by a limit, by policy",
            ["policy"],
            registry=self.registry,
        )
        self.local_verdicts = Counter(
            "jobseal_api_local_verdicts",
            "Requests whose limits this process judged alone, because Redis is away",
            registry=self.registry,
        )

    def watch_breakers(self, breakers: Sequence[Breaker]) -> None:
        """Show the state of breakers."""
        self.registry.register(_Breakers(breakers))

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Show a number that is read when it is asked for."""
        self.registry.register(_Gauge(name, meaning, value))

    def render(self) -> bytes:
        """Write all of it as `CONTENT_TYPE` says."""
        return generate_latest(self.registry)


class Differences:
    """What reconciliation found: a gauge a class of difference, and when it last ran."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._found = Gauge(
            "jobseal_reconciliation_differences",
            "Differences between database and chain that the last run found, by class",
            ["class"],
            registry=registry,
        )
        self._ran = Gauge(
            "jobseal_reconciliation_last_run_timestamp_seconds",
            "When reconciliation last ran to its end, by mode",
            ["mode"],
            registry=registry,
        )

    def ran(self, mode: str, at: datetime, found: Mapping[str, int]) -> None:
        """Show a run: how many differences of every class it found, the classes without any included."""
        for kind, count in found.items():
            self._found.labels(kind).set(count)
        self._ran.labels(mode).set(at.timestamp())


class _Breakers(Collector):
    def __init__(self, breakers: Sequence[Breaker]) -> None:
        self._breakers = breakers

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("jobseal_breaker_state", "0 closed, 1 half-open, 2 open", labels=["part"])
        for breaker in self._breakers:
            family.add_metric([breaker.name], breaker.state.value)
        yield family


class _Gauge(Collector):
    def __init__(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        self._name = name
        self._meaning = meaning
        self._value = value

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(self._name, self._meaning, value=self._value())
