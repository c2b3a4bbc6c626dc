"""The metrics in Prometheus' text, as the status port and its readers see them."""

from types import SimpleNamespace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from netserve.ops.metrics import make_exposition
from netserve.plugin import Metrics, ProcessMetrics


def service(name: str, metrics: Metrics) -> Any:
    return SimpleNamespace(
        name=name, metrics=metrics, read_traffic=lambda: None, not_ready=lambda: None
    )


def test_counters_and_gauges_of_services() -> None:
    mail, web = Metrics(), Metrics()
    mail.requests = 3
    mail.errors["refused"] += 2
    mail.gauge("queue_queued", "Queued.", lambda: 7)
    mail.counter(
        "delivery_attempts",
        "Attempts.",
        ("destination", "outcome"),
        lambda: {("smtp:a:25", "delivered"): 5, ('odd"\n', "failed"): 1},
    )
    text = make_exposition(
        {"mail": service("mail", mail), "web": service("web", web)}, ProcessMetrics()
    )().decode()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    of_mail = ("service", "mail")
    assert samples["netserve_requests_total", of_mail] == 3
    assert samples["netserve_requests_total", ("service", "web")] == 0
    assert samples["netserve_errors_total", ("kind", "refused"), of_mail] == 2
    assert samples["netserve_queue_queued", of_mail] == 7
    attempts = "netserve_delivery_attempts_total"
    delivered = (("destination", "smtp:a:25"), ("outcome", "delivered"))
    assert samples[attempts, *delivered, of_mail] == 5
    failed = (("destination", 'odd"\n'), ("outcome", "failed"))
    assert samples[attempts, *failed, of_mail] == 1
