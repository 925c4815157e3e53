"""The metrics of a process that serves nothing else over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

from relayer.model.errors import JobsealError


class EndpointError(JobsealError):
    """Metrics cannot be served at the address that is set."""


@contextmanager
def serving(registry: CollectorRegistry, host: str, port: int) -> Iterator[int]:
    """Serve `/metrics` from a thread inside the block; give the port, which is chosen where 0 is asked for.

    Raises:
        EndpointError: the address is in use, or not this machine's.

    """
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise EndpointError(
            f"JOBSEAL_RELAYER_METRICS_PORT: metrics cannot be served at {host}:{port} ({error.strerror}); choose another"
        ) from None
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
