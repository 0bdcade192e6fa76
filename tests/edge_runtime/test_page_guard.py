"""Who is let in, and that nothing that is asked makes the server stumble."""

from __future__ import annotations

import http.client
import random
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from heme_edge.errors import HemeError
from heme_edge.web.address import Address, listen
from heme_edge.web.desk import Desk
from heme_edge.web.requests import MOST_JSON, MOST_UPLOAD
from tests.edge_runtime.page_kit import ask, make_session, served

PATHS = ("/", "/static/page.js", "/live.jpg", "/crop/1.jpg", "/api/state", "/api/cells",
         "/api/cell/1", "/api/map", "/api/log", "/export/cells.csv", "/api/correct", "/api/undo",
         "/api/sign", "/api/reopen", "/api/pause", "/api/upload")  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(make_session(tmp_path_factory.mktemp("guard") / "s", 20))


@pytest.fixture(scope="module")
def page(desk: Desk) -> Iterator[Address]:
    with served(desk) as address:
        yield address


def raw(address: Address, request: bytes) -> bytes:
    """What is answered to these bytes, to the end of the connection."""
    parts = []
    line = socket.create_connection(("127.0.0.1", address.port), 10)
    with line, suppress(ConnectionResetError):  # what the server does not read to its end
        line.sendall(request)
        while part := line.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def test_a_connection_that_is_used_again_is_answered_at_once(page: Address) -> None:
    """With Nagle's algorithm each answer but the first waited 40 ms for an acknowledgement."""
    line, took = http.client.HTTPConnection("127.0.0.1", page.port), []
    for _ in range(20):
        started = time.monotonic()
        line.request("GET", "/crop/1.jpg")
        line.getresponse().read()
        took.append(time.monotonic() - started)
    line.close()
    assert sorted(took)[5] < 0.03


def get(address: Address, path: str, host: str) -> int:
    line = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    return int(raw(address, line.encode()).split(b" ", 2)[1])


def test_only_our_own_names_are_answered(page: Address) -> None:
    port = page.port
    for name in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
        assert get(page, "/api/state", name) == 200
    for name in (
        f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", f"127.0.0.1.evil:{port}",
        f"127.0.0.1:{port}@evil", "", f"192.168.1.9:{port}", f"evil@127.0.0.1:{port}",
    ):  # fmt: skip
        assert get(page, "/api/state", name) == 421, name
    two = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil\r\nConnection: close\r\n\r\n"
    assert int(raw(page, two.encode()).split(b" ", 2)[1]) in (400, 421)


def test_changes_come_from_the_page_only(page: Address, desk: Desk) -> None:
    before = desk.session.log()[-1].seq
    body = {"id": 1, "code": "L2"}
    for origin in ("http://evil.example", "null", f"http://localhost:{page.port}", "",
                   f"https://127.0.0.1:{page.port}"):  # fmt: skip
        assert ask(page, "/api/correct", body, {"Origin": origin})[0] == 403
    host = f"Host: 127.0.0.1:{page.port}\r\nConnection: close\r\nContent-Length: 2\r\n"
    request = f"POST /api/undo HTTP/1.1\r\n{host}\r\n{{}}"
    assert raw(page, request.encode()).split(b" ", 2)[1] == b"403", "no origin at all"
    assert get(page, "/api/correct", f"127.0.0.1:{page.port}") == 405, "a link cannot change"
    assert desk.session.log()[-1].seq == before


@pytest.mark.parametrize(
    "path",
    ["/static/../page.py", "/static/..%2fpage.py", "/static/%2e%2e/desk.py", "/../../etc/passwd",
     "/static//etc/passwd", "/export/../session.db", "/export/session.db", "/session.db",
     "/static/", "/static/page.js/", "/crop/..%2f1.jpg", "/crop/-1.jpg", "/crop/1e9.jpg",
     "//evil.example/", "/static/page.js%00.css", "/crop/99999999999999999999.jpg"],
)  # fmt: skip
def test_path_tricks_find_nothing(page: Address, path: str) -> None:
    assert get(page, path, f"127.0.0.1:{page.port}") in (400, 404)


def test_headers_keep_others_out(page: Address) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", page.port)
    connection.request("GET", "/")
    answer = connection.getresponse()
    text = answer.read().decode()
    policy = answer.getheader("content-security-policy", "")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.getheader("x-content-type-options") == "nosniff"
    assert "http://" not in text
    assert "https://" not in text
    connection.close()


def test_bodies_are_bounded(page: Address) -> None:
    assert ask(page, "/api/correct", b"x" * (MOST_JSON + 1))[0] == 413
    assert ask(page, "/api/upload?kind=crop", b"\0" * (MOST_UPLOAD + 1))[0] == 413
    assert ask(page, "/api/correct", b"[" * MOST_JSON)[0] == 400


@pytest.mark.parametrize(
    "data", [b"", b"no picture", b"\xff\xd8\xff\xe0 cut", b"\x89PNG\r\n\x1a\n"]
)
def test_an_upload_that_is_no_picture_is_refused(page: Address, data: bytes) -> None:
    status, told = ask(page, "/api/upload?kind=crop", data)
    assert status == 400
    assert told["error"].startswith("The file ")
    assert ask(page, "/api/upload?um_per_px=x", b"")[0] == 400


def test_the_token_is_asked_for_everywhere(tmp_path: Path) -> None:
    desk = Desk(make_session(tmp_path / "s", 5))
    with served(desk, Address("127.0.0.1", 0, "the-token")) as address:
        assert {ask(address, path)[0] for path in PATHS} == {403}
        assert ask(address, "/api/undo", {})[0] == 403
        cookie = {"Cookie": f"other=1; heme-edge-{address.port}=the-token"}
        assert ask(address, "/api/state", headers=cookie)[0] == 200
        assert ask(address, "/api/undo?token=the-token", {})[0] == 403, "not by a form"
        wrong = {"Cookie": f"heme-edge-{address.port}=the-tokem"}
        assert ask(address, "/api/state", headers=wrong)[0] == 403
        assert ask(address, "/?token=%ff%00", headers=wrong)[0] == 403


def test_addresses() -> None:
    assert Address.parse("127.0.0.1:8300").token == ""
    assert Address.parse("[::1]:8300") == Address("::1", 8300)
    open_one = Address.parse("0.0.0.0:8300")
    assert len(open_one.token) == 32
    assert open_one.token != Address.parse("0.0.0.0:8300").token
    assert open_one.answers_to("192.168.1.9:8300"), "an address of ours, as a phone sees it"
    assert not open_one.answers_to("evil.example:8300")
    for text in ("", "8300", "host:", ":8300", "host:x", "host:70000"):
        with pytest.raises(HemeError, match="HOST:PORT"):
            Address.parse(text)


def test_a_taken_port_is_one_sentence(page: Address) -> None:
    with pytest.raises(HemeError, match="cannot be served at"):
        listen(Address("127.0.0.1", page.port))


def test_fuzzed_requests_never_give_a_500(page: Address) -> None:
    """Seeded: odd paths, queries, bodies and methods, as well-formed HTTP and as noise."""
    generator = random.Random(7)
    origin = f"Host: 127.0.0.1:{page.port}\r\nOrigin: http://127.0.0.1:{page.port}\r\n"
    for _ in range(1500):
        answer = raw(page, _request(generator, origin))
        status = int(answer.split(b" ", 2)[1]) if answer else 400
        assert 200 <= status < 500, answer[:500]
    assert ask(page, "/api/state")[0] == 200


WORDS = ("id", "code", "limit", "after", "source", "kind", "um_per_px", "paused", "initials",
         "reason", "M1", "crop", "-1", "1e400", "nan", "NaN", "%00", "%ff", "é", "'", '"', "\\",
         "null", "true", "0", "9" * 30, "[]", "{}", "../", "☃", "{\"id\":1,\"code\":\"XX\"}",
         "{\"id\":true}", "{\"id\":1.5,\"code\":5}", "{\"initials\":\"\\ud800\"}",
         "{\"initials\":\"\\u0000\"}", "{\"id\":NaN}", "{\"paused\":[]}")  # fmt: skip


def _request(generator: random.Random, origin: str) -> bytes:
    word = partial(generator.choice, WORDS)
    if generator.random() < 0.1:
        return generator.randbytes(generator.randrange(1, 300)) + b"\r\n\r\n"
    path = generator.choice(PATHS) + generator.choice(("", "", "", "/", word()))
    query = "&".join(f"{word()}={word()}" for _ in range(generator.randrange(4)))
    body = "".join(word() for _ in range(generator.randrange(3))).encode()
    method = generator.choice(("GET", "GET", "POST", "POST", "PUT", "HEAD", "X"))
    size = generator.choice((len(body), len(body), 0))
    fields = f"{origin}Content-Length: {size}\r\nConnection: close\r\n\r\n"
    head = f"{method} {path}?{query} HTTP/1.1\r\n{fields}"
    return head.encode() + body
