"""The services' counters in Prometheus' form, read when somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from netserve.metrics import Distribution, Families, Family, Histogram, Metrics, ProcessMetrics
from netserve.server.service import Service

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_COUNTERS: tuple[tuple[str, str, Callable[[Metrics], float]], ...] = (
    ("connections", "Connections that were taken", lambda m: m.connections_total),
    ("received_bytes", "Bytes from peers", lambda m: m.bytes_received),
    ("sent_bytes", "Bytes to peers", lambda m: m.bytes_sent),
    ("requests", "Requests that were handled", lambda m: m.requests),
)


_FAMILIES: dict[str, type[CounterMetricFamily | GaugeMetricFamily]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
}


class NetserveCollector(Collector):
    """Reads the numbers of every service, and those of the process.

    Arguments:
        services: by name; looked up each time.
        process: shown once, without the label `service`.
    """

    def __init__(self, services: Mapping[str, Service], process: ProcessMetrics) -> None:
        self._services = services
        self._process = process

    def collect(self) -> Iterable[Metric]:
        for service in self._services.values():
            service.read_traffic()
        yield from self._counters()
        yield from self._states()
        yield from _shown([((), (), self._process)])
        yield from _shown(
            [(("service",), (one.name,), one.metrics) for one in self._services.values()]
        )

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

    def _states(self) -> Iterable[Metric]:
        connections = GaugeMetricFamily(
            "netserve_connections_open", "Connections that are open.", labels=["service"]
        )
        up = GaugeMetricFamily("netserve_up", "1 when the service is ready.", labels=["service"])
        for service in self._services.values():
            connections.add_metric([service.name], service.metrics.connections_open)
            up.add_metric([service.name], 0 if service.not_ready() else 1)
        yield from (connections, up)


def _shown(
    owners: Iterable[tuple[tuple[str, ...], tuple[str, ...], Families]],
) -> Iterable[Metric]:
    """The families of several owners, those of one name and kind put together.

    Arguments:
        owners: the names and values of an owner's labels, and its families.
    """
    found: dict[tuple[str, str, tuple[str, ...]], Metric] = {}
    names: dict[str, tuple[str, str, tuple[str, ...]]] = {}
    for owner_labels, owner_values, families in owners:
        for name, family in families.families.items():
            labels = (*owner_labels, *family.labels)
            key = (name, family.kind, labels)
            if names.setdefault(name, key) != key:
                continue  # two plugins with one name for two things: Prometheus can take one only
            if key not in found:
                found[key] = _metric(name, family, labels)
            _add(found[key], family, owner_values)
    return found.values()


def _metric(name: str, family: Family, labels: tuple[str, ...]) -> Metric:
    kind = _FAMILIES.get(family.kind, HistogramMetricFamily)
    return kind(f"netserve_{name}", family.help_text, labels=list(labels))


def _add(metric: Metric, family: Family, values: tuple[str, ...]) -> None:
    if isinstance(metric, HistogramMetricFamily):
        histogram = family.own
        assert isinstance(histogram, Histogram)  # noqa: S101 - of this kind of family
        for labels, distribution in list(histogram.values.items()):
            buckets = _buckets(histogram, distribution)
            metric.add_metric([*values, *labels], buckets, sum_value=distribution.total)
    elif isinstance(metric, (CounterMetricFamily, GaugeMetricFamily)) and family.read is not None:
        for labels, number in family.read().items():
            metric.add_metric([*values, *labels], number)


def _buckets(histogram: Histogram, distribution: Distribution) -> list[tuple[str, float]]:
    """Prometheus' buckets: each upper bound with how many values are at most that."""
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(distribution.counts), strict=True))


def make_exposition(
    services: Mapping[str, Service], process: ProcessMetrics
) -> Callable[[], bytes]:
    """A function that gives all metrics of the process as Prometheus' text.

    Arguments:
        services: by name; looked up each time.
        process: what is shown once.
    """
    registry = CollectorRegistry()
    registry.register(NetserveCollector(services, process))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return lambda: generate_latest(registry)
