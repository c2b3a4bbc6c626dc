"""S17: what stands in a place that may hold a secret is in no error, whatever is wrong with it.

Each place of the built-in protocols that may hold a secret is written in each way in which people
and programs get it wrong. That the secret is not in the message is the smaller part: the message
has to be the same for every other secret of the same length, so that nothing of it comes through,
and no short one can change a word of it.
"""

from __future__ import annotations

import ast
import json
import re
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import netserve
from netserve.cli.check import check
from netserve.config.load import load_text
from netserve.config.tags import Tags
from netserve.errors import ConfigError, Problem
from netserve.registry import Registry

SOURCE = Path(netserve.__file__).parent
REGISTRY = Registry(installed=lambda: ())
MAIL = """\
services:
  mail:
    protocol: smtp-relay
    hostname: relay.example.org
    listen: tcp:2525:interface=127.0.0.1
    login_without_tls: true
"""
DELIVER = f"{MAIL}    routes:\n      - deliver:\n"
DISCARD = f"{MAIL}    routes: [{{deliver: {{discard: true}}}}]\n"
SMARTHOST = f"{DELIVER}          smarthost: smtp.example.org:587\n"
LOGIN = f"{SMARTHOST}          tls: verify\n          login:\n            user: me\n"
OAUTH2 = f"{LOGIN}            oauth2:\n              client_id: c\n"
DKIM = f"{DELIVER}          mx: true\n          dkim:\n            selector: s1\n"
HOOK = f"{DELIVER}          http:\n"
TO_HOOK = f"{HOOK}            url: https://app.example.org/\n"
TOKENS = f"{DISCARD}    http:\n      listen: tcp:2580:interface=127.0.0.1\n      tokens:"
TLS = f"{DISCARD}    tls:\n      certificate: a.pem\n      no: 1\n"
WEB = """\
services:
  web:
    protocol: http-bridge
    listen: tcp:7009:interface=127.0.0.1
"""
REQUEST = f"{WEB}    request:\n"
ASK = f'{REQUEST}      url: "https://api.example.org/x"\n'
REPLY = "services:\n  r:\n    protocol: request-response\n    listen: tcp:7009\n"
FACTORY = "services:\n  f:\n    protocol: factory\n    object: os:getcwd\n    listen: tcp:7009\n"
ECHO = "services: {e: {protocol: echo, listen: 'tcp:7007'}}\n"

PLACES = {
    "password": f"{LOGIN}            password: @@\n",
    "password in flow": f"{SMARTHOST}          login: {{user: me, password: @@}}\n",
    "password in a long flow": f"{MAIL}    routes: [{{deliver: {{smarthost: 'a.example:587',"
    " tls: verify, login: {user: me, password: @@}}}]\n",
    "login": f"{SMARTHOST}          login: @@\n",
    "smarthost": f"{DELIVER}          smarthost: @@\n",
    "smarthosts": f"{DELIVER}          smarthost: ['a.example:25', @@]\n",
    "deliver": f"{MAIL}    routes:\n      - deliver: @@\n",
    "client_secret": f"{OAUTH2}              token_url: https://a.example/\n"
    "              client_secret: @@\n",
    "token_url": f"{OAUTH2}              token_url: @@\n              client_secret: x\n",
    "dkim key": f"{DKIM}            domain: example.org\n            key: @@\n",
    "dkim keys": f"{DKIM}            keys:\n              example.org: @@\n",
    "hook": f"{HOOK}            url: @@\n",
    "hook token": f"{TO_HOOK}            token: @@\n",
    "hook header": f"{TO_HOOK}            headers:\n              X-Key: @@\n",
    "hook header's name": f"{TO_HOOK}            headers:\n              @@: x\n",
    "user": f"{DISCARD}    users:\n      me: @@\n",
    "user's name": f"{DISCARD}    users:\n      @@: geheim\n",
    "users": f"{DISCARD}    users: @@\n",
    "users in flow": f"{DISCARD}    users: {{me: @@, you: ''}}\n",
    "token": f"{TOKENS}\n        app: @@\n",
    "tokens": f"{TOKENS} @@\n",
    "tls key": f"{TLS}      key: @@\n",
    "unknown key": f"{DISCARD}    pasword: @@\n",
    "unknown name": f"{DISCARD}    @@: x\n",
    "unknown name in flow": f"{MAIL}    routes: [{{deliver: {{discard: true, @@: x}}}}]\n",
    "url": f"{REQUEST}      url: @@\n",
    "url's key": f"{REQUEST}      url: https://x.example/?key=@@\n",
    "url's user": f"{REQUEST}      url: 'https://u:@@@x.example/'\n",
    "url's placeholder": f"{REQUEST}      url: 'https://x.example/{{@@}}'\n",
    "url's host": f"{REQUEST}      url: 'https://{{@@}}/'\n",
    "body": f"{ASK}      body: @@\n",
    "body's placeholder": f"{ASK}      body: 'x {{@@}} y'\n",
    "body of JSON": f"{ASK}      body: '{{{{\"a\": @@}}}}'\n      headers:"
    " {Content-Type: application/json}\n",
    "json": f"{ASK}      json: @@\n",
    "json's value": f"{ASK}      json: {{a: @@, b: .nan}}\n",
    "form": f"{ASK}      form:\n        a: @@\n        b: 5\n",
    "form's name": f"{ASK}      form:\n        @@: [x]\n",
    "header": f"{ASK}      headers:\n        Authorization: @@\n",
    "header's placeholder": f"{ASK}      headers:\n        X-Key: 'Bearer {{@@}}'\n",
    "header's name": f"{ASK}      headers:\n        @@: x\n        a: [x]\n",
    "header of two lines": f'{ASK}      headers:\n        X: "@@\\n"\n',
    "upstream": f"{ASK}    allow_upstreams: [@@]\n",
    "response": f"{ASK}    response: @@\n",
    "reply": f"{REPLY}    reply: @@\n",
    "match": f"{REPLY}    rules:\n      - match: {{regex: @@}}\n        reply: ok\n",
    "argument": f"{FACTORY}    arguments:\n      password: @@\n      other: {{object: 5}}\n",
    "no protocol": "services:\n  x:\n    protocol: nothing\n    password: @@\n",
    "no service": "services:\n  @@: x\n",
    "service": "services:\n  x: @@\n",
    "top": f"{ECHO}@@: x\n",
    "top value": f"{ECHO}password: @@\n",
    "comment": "services:\n  e: {protocol: echo, listen: 5, x: 1}  # @@\n",
    "anchor": f"x: &@@ 5\n{ECHO}",
}  # fmt: skip
"""Each with one place for a secret, which is `@@`."""

WAYS = {
    "plain": "@@", "quoted": "'@@'", "double": '"@@"', "alias": "*@@", "tag": "!@@",
    "tagged": "!x @@", "anchor": "&@@ x", "anchored": "&a @@", "brace": "{@@}",
    "placeholder": "${@@}", "two braces": "{{ @@ }}", "list": "[@@]", "mapping": "{a: @@}",
    "key": "{@@: a}", "open quote": '"@@', "open single": "'@@", "open brace": "{a: @@",
    "open list": "[@@", "at": "@@@", "backtick": "`@@", "percent": "%@@", "star": "**@@",
    "colon": "@@: x", "colon in front": "x: @@", "escape": '"@@\\q"', "hex": '"@@\\xzz"',
    "literal": "|\n  @@", "literal outside": "|\n@@", "folded text": ">@@",
    "two lines": "@@\n   more", "comment": "@@ # @@", "text after": '"@@" x', "dash": "- @@",
    "question": "? @@", "env": "!env @@", "env default": "!env X:-@@", "file": "!file @@",
    "credential": "!credential @@", "login": "u:@@@x:587", "url": "http://u:@@@x/",
    "query": "http://x/?key=@@", "comma": "a, @@", "comma and colon": "a, @@: b",
    "comma in quotes": '"a, @@', "with null": "@@\0", "control": '"@@\a"', "tab": "\t@@",
    "number": "0x@@", "bool": "!!bool @@", "python": "!!python/object:@@ x",
    "document": "@@\n---\nx: 1", "carriage return": "@@\r x", "hash": "$argon2id$v=19$@@",
    "crypt": "$6$@@$x", "pem": "-----BEGIN @@", "brackets": "]@@",
}  # fmt: skip
"""How it is written there; what is common in each is that it may be wrong."""

SECRETS = ("hunter2xyzzy", "k9wqzv4mjbtp", "zzzzzzzzzzzz", "qwertyuiopas")
"""Of one length and kind, without a meaning in YAML."""


def problems_of(text: str) -> tuple[Problem, ...]:
    try:
        load_text(text, Path("config.yaml"), REGISTRY, Tags(Path("/nowhere"), {}))
    except ConfigError as error:
        return error.problems
    return ()


def written(place: str, way: str, secret: str) -> str:
    value = WAYS[way].replace("@@", secret)
    if "\n" in value and way not in {"document", "literal outside"}:
        value = value.replace("\n", "\n" + " " * 16)
    return PLACES[place].replace("@@", value)


@pytest.mark.parametrize("place", PLACES)
def test_no_error_depends_on_the_secret(place: str) -> None:
    """S17: for each way of writing it wrong."""
    refused = 0
    for way in WAYS:
        told = [problems_of(written(place, way, secret)) for secret in SECRETS]
        for secret, problems in zip(SECRETS, told, strict=True):
            shown = "\n".join(map(str, problems))
            assert secret not in shown, (way, shown)
            assert secret.lower() not in shown.lower(), (way, shown)
        assert all(problems == told[0] for problems in told), (way, *map(str, told[0]))
        refused += bool(told[0])
    assert refused > len(WAYS) // 5, "these are wrong in one way or another"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("short", ["a", "to", "0", "expected", "key"])
def test_short_secrets_eat_no_words(place: str, short: str) -> None:
    """S17: a message has the same words, whether or not one of them is the secret."""
    for way in ("mapping", "list", "login", "colon in front", "alias", "tag"):
        for other in ("b" * len(short), short):
            problems = problems_of(written(place, way, other))
            told = [(problem.path, problem.what) for problem in problems]
            if other != short:
                expected = told
        if short.isalpha() and way != "alias":
            assert told == expected, way
        assert not any("***" in what for _, what in told), way


@given(
    place=st.sampled_from(sorted(PLACES)),
    way=st.sampled_from(sorted(WAYS)),
    secrets=st.tuples(*[st.text("ghjkmqvwxzGHJKMQVWXZ", min_size=9, max_size=9)] * 2),
    broken_at=st.integers(0, 400),
    broken_by=st.sampled_from(
        ["", ":", "\n", "{", "}", "[", '"', "'", "&", "*", "!", "- ", "#", "\t"]
    ),
)
@settings(max_examples=400, deadline=None)
def test_nor_where_the_file_is_broken_somewhere_else(
    place: str, way: str, secrets: tuple[str, str], broken_at: int, broken_by: str
) -> None:
    """S17: by a character too much, or too few, anywhere around it."""

    def broken(secret: str) -> str:
        text = written(place, way, secret)
        at = broken_at % (len(text) + 1)
        begin = text.find(secret)
        if begin < at < begin + len(secret):
            at = begin
        return text[:at] + broken_by + text[at if broken_by else at + (at != begin) :]

    one, other = map(broken, secrets)
    if secrets[0] not in one:
        return  # a character of it was taken out
    assert list(map(str, problems_of(one))) == list(map(str, problems_of(other)))


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("place", "way"), product(["password", "url's key"], ["alias", "quoted"]))
def test_check_prints_no_secret(tmp_path: Path, place: str, way: str, as_json: bool) -> None:
    """S17: neither as text nor as JSON."""
    file = tmp_path / "config.yaml"
    file.write_text(written(place, way, SECRETS[0]) + "    no_such_key: 1\n")
    done = CliRunner().invoke(check, [str(file), *(["--json"] if as_json else [])])
    assert done.exit_code == 1
    assert SECRETS[0] not in done.output
    if as_json:
        assert all(problem["line"] for problem in json.loads(done.output))


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("login: hunter2", "login: ***"),
        ("smarthost: 'u:hunter2@x:587'", "smarthost: ***"),
        ("login: {user: me, password: *hunter2}", "login: {user: ***, password: ***}"),
        ("login: !hunter2 {user: me}", "login: *** {user: ***}"),
    ],
)
def test_what_is_shown_of_a_line(line: str, shown: str) -> None:
    """S17: the names of options, and the structure."""
    text = f"{DELIVER}          {line}\n"
    sources = {problem.source.strip() for problem in problems_of(text)}
    assert shown in sources


def test_what_holds_no_secret_is_shown() -> None:
    """S17 does not cost the reader more than it has to."""
    text = f"{DISCARD}    limits: {{connectoins: 5, idle_timeout: 5 sec}}\n"
    text += "    relay_for: 10.0.0.1/8\n"
    told = "\n".join(map(str, problems_of(text)))
    assert "services.mail.limits.connectoins: unknown key; did you mean connections?" in told
    assert "limits: {connectoins: ***, idle_timeout: 5 sec}" in told
    assert "not a network: 10.0.0.1/8 has host bits set" in told
    assert "relay_for: 10.0.0.1/8" in told


def test_what_an_error_repeats_is_kept_apart_from_its_words() -> None:
    """S17: by all validators of ours; else a place with a secret would hide the words as well."""
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in {"InvalidValue", "OptionError", "TLSError"}:
                texts = [part for argument in node.args for part in ast.walk(argument)]
                wrong += [
                    f"{path}:{part.lineno}"
                    for part in texts
                    if isinstance(part, ast.FormattedValue) and not is_constant(part.value)
                ]
    assert wrong == []


def is_constant(node: ast.expr) -> bool:
    """Whether it is made of constants of the module alone."""
    names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
    return all(re.fullmatch("_?[A-Z][A-Z_]+", name) for name in names)
