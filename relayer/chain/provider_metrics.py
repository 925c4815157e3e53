"""The health of the chain's nodes for Prometheus, read when it is asked for."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from relayer.chain.health import NodeState
from relayer.chain.providers import Providers


class ProviderMetrics(Collector):
    """State, breaker and lag of every node, and whether finality stands still. Nodes are named without path and credentials."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers

    def collect(self) -> Iterable[Metric]:
        """Give the metrics as they are now."""
        chain = str(self._providers.chain_id)
        states = GaugeMetricFamily(
            "jobseal_node_state", "1 for the state that a node is in", labels=["chain", "node", "state"]
        )
        lags = GaugeMetricFamily(
            "jobseal_node_head_lag_blocks",
            "Blocks by which a node's head lies below the highest",
            labels=["chain", "node"],
        )
        breakers = GaugeMetricFamily(
            "jobseal_breaker_state", "0 closed, 1 half-open, 2 open", labels=["part"]
        )
        for breaker in self._providers.breakers:
            breakers.add_metric([breaker.name], breaker.state.value)
        for address, current, lag in self._providers.health():
            for state in NodeState:
                states.add_metric([chain, address, state.value], float(state is current))
            lags.add_metric([chain, address], lag)
        stalled = GaugeMetricFamily(
            "jobseal_finality_stalled",
            "1 while no node's finalized block moves as it should",
            labels=["chain"],
        )
        stalled.add_metric([chain], float(self._providers.finality_stalled))
        return states, lags, breakers, stalled
