"""Probes: checks whether hosts and services answer, and how fast; otherwise, why they fail.

A check is a coroutine that runs through phases and records observations in a `Recorder`. `run` adds
a deadline and turns the record into a `Result`: a verdict, metrics with the names of Prometheus'
blackbox_exporter, and steps for people. No service schedules checks yet.

===============  ===================================================================
module           contents
===============  ===================================================================
`names`          the metrics, and their descriptions
`result`         the recorder, the result, its text for Prometheus and for people
`running`        deadlines, and the meaning of errors
`target`         hosts and ports, and the choice of an address
`channel`        a connection; by TLS, even if the certificate is not trusted
`certificates`   the problems of a chain, and its expiry; pure
`tcp`            connect, TLS, a dialogue of lines
`http`           a request, with redirects; `http_message` reads the response; pure
`smtp`           banner, EHLO, STARTTLS
`dns`            a query, by UDP, TCP or TLS
`icmp`           an echo request, by the packet helper
===============  ===================================================================

The package uses asyncio; `netserve.crossing.from_asyncio` turns a check into a Deferred.
"""
