"""The services' counters in Prometheus' form, read when somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from netserve.plugin import Metrics
from netserve.server.service import HostedService

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_COUNTERS: tuple[tuple[str, str, Callable[[Metrics], float]], ...] = (
    ("connections", "Connections that were taken", lambda m: m.connections_total),
    ("received_bytes", "Bytes from peers", lambda m: m.bytes_received),
    ("sent_bytes", "Bytes to peers", lambda m: m.bytes_sent),
    ("requests", "Requests that were handled", lambda m: m.requests),
)


class ServicesCollector(Collector):
    """Reads the counters of every service.

    Arguments:
        services: by name; read anew each time.
    """

    def __init__(self, services: Mapping[str, HostedService]) -> None:
        self._services = services

    def collect(self) -> Iterable[Metric]:
        for service in self._services.values():
            service.read_traffic()
        yield from self._counters()
        yield from self._labelled()
        yield from self._gauges()

    def _counters(self) -> Iterable[Metric]:
        for name, text, read in _COUNTERS:
            family = CounterMetricFamily(f"netserve_{name}", f"{text}.", labels=["service"])
            for service in self._services.values():
                family.add_metric([service.name], read(service.metrics))
            yield family
        errors = CounterMetricFamily("netserve_errors", "Errors.", labels=["service", "kind"])
        refused = CounterMetricFamily(
            "netserve_connections_refused", "Connections refused.", labels=["service", "reason"]
        )
        for service in self._services.values():
            for kind, count in service.metrics.errors.items():
                errors.add_metric([service.name, kind], count)
            for reason, count in service.metrics.connections_refused.items():
                refused.add_metric([service.name, reason], count)
        yield from (errors, refused)

    def _labelled(self) -> Iterable[Metric]:
        families: dict[str, CounterMetricFamily] = {}
        for service in self._services.values():
            for name, (text, labels, read) in service.metrics.counters.items():
                family = families.setdefault(
                    name,
                    CounterMetricFamily(f"netserve_{name}", text, labels=["service", *labels]),
                )
                for values, count in read().items():
                    family.add_metric([service.name, *values], count)
        yield from families.values()

    def _gauges(self) -> Iterable[Metric]:
        connections = GaugeMetricFamily(
            "netserve_connections_open", "Connections that are open.", labels=["service"]
        )
        up = GaugeMetricFamily("netserve_up", "1 when the service is ready.", labels=["service"])
        more: dict[str, GaugeMetricFamily] = {}
        for service in self._services.values():
            connections.add_metric([service.name], service.metrics.connections_open)
            up.add_metric([service.name], 0 if service.not_ready() else 1)
            for name, (text, read) in service.metrics.gauges.items():
                family = more.setdefault(
                    name, GaugeMetricFamily(f"netserve_{name}", text, labels=["service"])
                )
                family.add_metric([service.name], read())
        yield from (connections, up, *more.values())


def make_exposition(services: Mapping[str, HostedService]) -> Callable[[], bytes]:
    """A function that gives all metrics of the process as Prometheus' text."""
    registry = CollectorRegistry()
    registry.register(ServicesCollector(services))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return lambda: generate_latest(registry)
