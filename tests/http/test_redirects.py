"""Redirects: what follows from an answer, and what is not followed."""

import pytest
from yarl import URL

from netserve.http.redirects import Hop, next_hop

HEADERS = {
    "Authorization": "secret",
    "X-Api-Key": "secret",
    "Cookie": "secret",
    "Accept": "text/plain",
    "Content-Type": "text/plain",
}


@pytest.mark.parametrize(
    ("method", "status", "becomes", "keeps_body"),
    [
        ("POST", 301, "GET", False),
        ("POST", 302, "GET", False),
        ("POST", 303, "GET", False),
        ("POST", 307, "POST", True),
        ("POST", 308, "POST", True),
        ("PUT", 301, "PUT", True),
        ("PUT", 303, "GET", False),
        ("GET", 302, "GET", True),
        ("HEAD", 303, "HEAD", True),
    ],
)
def test_methods(method: str, status: int, becomes: str, keeps_body: bool) -> None:
    hop = next_hop(Hop(method, URL("http://a/x"), HEADERS), status, "y")
    assert (hop.method, hop.keeps_body, hop.url) == (becomes, keeps_body, URL("http://a/y"))
    assert ("Content-Type" in hop.headers) is keeps_body
    assert hop.headers["Authorization"] == "secret"


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("/y?z=1#part", "http://a/y?z=1"),
        ("//b/y", "http://b/y"),
        ("https://a/y", "https://a/y"),
        ("http://a:81/", "http://a:81/"),
    ],
)
def test_secrets_stay_with_their_origin(location: str, leads_to: str) -> None:
    hop = next_hop(Hop("GET", URL("http://a/x/"), HEADERS), 302, location)
    assert hop.url == URL(leads_to)
    stays = hop.url.origin() == URL("http://a")
    assert ("secret" in hop.headers.values()) is stays
    assert hop.headers["Accept"] == "text/plain"


@pytest.mark.parametrize(
    ("came_from", "location", "why"),
    [
        ("https://a/", "http://a/", "from https to http"),
        ("http://a/", "ftp://a/", "not HTTP"),
        ("http://a/", "file:///etc/passwd", "not"),
        ("http://a/", "javascript:alert(1)", "not"),
        ("http://a/", "http://[::1", "not a URL"),
        ("http://a/", "http://a:99999/", "not a URL"),
        ("http://a/", "http://user:pw@a/", "a password"),
    ],
)
def test_where_no_redirect_is_followed_to(came_from: str, location: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        next_hop(Hop("GET", URL(came_from), {}), 302, location)
