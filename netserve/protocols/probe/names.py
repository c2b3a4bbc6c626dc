"""The metrics and their descriptions, with blackbox_exporter's names and labels."""

from __future__ import annotations

from typing import Final

HELP: Final[dict[str, str]] = {
    "probe_success": "Whether the probe succeeded",
    "probe_duration_seconds": "How long the probe took, in seconds",
    "probe_dns_lookup_time_seconds": "How long it took to resolve the target's name, in seconds",
    "probe_ip_protocol": "The version of IP that was used, 4 or 6",
    "probe_ip_addr_hash": "A hash (FNV-1a) of the address, which shows changes of the address",
    "probe_failed_due_to_regex": "Whether the probe failed because of a regular expression",
    # HTTP
    "probe_http_duration_seconds": "How long each phase of the requests took, in seconds",
    "probe_http_status_code": "The status code of the last response",
    "probe_http_content_length": "The Content-Length of the last response; -1 without",
    "probe_http_uncompressed_body_length": "Bytes of the last response's body",
    "probe_http_redirects": "How many redirects were followed",
    "probe_http_ssl": "Whether the last request went by TLS",
    "probe_http_version": "The version of HTTP of the last response",
    "probe_http_last_modified_timestamp_seconds": "The Last-Modified of the last response",
    # TLS
    "probe_ssl_earliest_cert_expiry": "The earliest expiry of the certificates sent",
    "probe_ssl_last_chain_expiry_timestamp_seconds": "The expiry of the verified chain",
    "probe_ssl_last_chain_info": "The server's certificate",
    "probe_tls_version_info": "The version of TLS",
    "probe_tls_cipher_info": "The cipher suite",
    # DNS
    "probe_dns_duration_seconds": "How long each phase of the query took, in seconds",
    "probe_dns_answer_rrs": "Records in the answer section",
    "probe_dns_authority_rrs": "Records in the authority section",
    "probe_dns_additional_rrs": "Records in the additional section",
    "probe_dns_query_succeeded": "Whether there was a response to the query",
    "probe_dns_serial": "The serial number of the zone",
    # ICMP
    "probe_icmp_duration_seconds": "How long each phase of the echo took, in seconds",
    "probe_icmp_reply_hop_limit": "The hop limit (TTL) of the reply",
    # Beyond blackbox_exporter
    "probe_failure_info": "Why the probe failed: the phase, and the reason in a word",
    "probe_ip_address_info": "The address that was used, and the resolver of the name",
    "probe_ssl_verify_error_info": "Why the certificate is not valid, a series for each reason",
    "probe_tcp_duration_seconds": "How long each phase took, in seconds",
    "probe_smtp_duration_seconds": "How long each phase took, in seconds",
    "probe_smtp_reply_code": "The code of the server's reply, by phase",
    "probe_smtp_starttls": "Whether the server offers STARTTLS",
    "probe_smtp_size_limit_bytes": "The size limit that the server announces; 0 for none",
    "probe_dns_response_code_info": "The response code by name",
}
"""Every metric that a probe may give."""

PHASES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "tcp": ("probe_tcp_duration_seconds", ("resolve", "connect", "tls", "dialogue")),
    "http": (
        "probe_http_duration_seconds",
        ("resolve", "connect", "tls", "processing", "transfer"),
    ),
    "smtp": (
        "probe_smtp_duration_seconds",
        ("resolve", "connect", "tls", "banner", "ehlo", "starttls", "quit"),
    ),
    "dns": ("probe_dns_duration_seconds", ("resolve", "connect", "tls", "request")),
    "icmp": ("probe_icmp_duration_seconds", ("resolve", "setup", "rtt")),
}
"""By the kind of a check: the metric of its phases, and the phases."""
