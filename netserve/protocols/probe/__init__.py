"""Probes: whether hosts and services answer, how fast, and what is wrong if they do not.

A check is a coroutine that is given a `Recorder`, goes through its phases, and records what it
sees; `run` gives it a deadline, and makes a `Result` of it: a verdict, metrics in the names of
Prometheus' blackbox_exporter, and the steps for people. No service schedules them yet.

===============  ===================================================================
module           what is in it
===============  ===================================================================
`names`          the metrics, and what each says
`result`         the recorder, the result, its text for Prometheus and for people
`running`        deadlines, and what errors mean
`target`         hosts and ports, and the choice of an address
`channel`        a connection, also by TLS whose certificates are not trusted
`certificates`   what is wrong with a chain, and when it expires; pure
`tcp`            connect, TLS, a dialogue of lines
`http`           a request, with redirects; `http_message` reads the response; pure
`smtp`           banner, EHLO, STARTTLS
`dns`            a query, by UDP, TCP or TLS
`icmp`           an echo request, by the packet helper
===============  ===================================================================

Inside of this package it is asyncio; `netserve.crossing.from_asyncio` crosses over.
"""
