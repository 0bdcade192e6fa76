"""Who is let in: the name asked for, the token, the origin of a write, the size of a body."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from heme_edge.web.address import Address

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

SAFE_METHODS = frozenset({"GET", "HEAD"})
COOKIE_DAYS = 7
HEADERS = (
    (b"content-security-policy",
     b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
     b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)  # fmt: skip
REFUSED_NAME = "This page is not served under that name: open the address that heme-edge printed."
REFUSED_TOKEN = "The token is missing or wrong: open the address that heme-edge printed."
REFUSED_ORIGIN = "Changes are only taken from the page itself."


class Guard:
    """In front of the whole application; every answer gets the headers above.

    Args:
        app: what is guarded.
        address: where it is served.
    """

    def __init__(self, app: App, address: Address) -> None:
        self._app, self._address = app, address
        self._cookie = f"heme-edge-{address.port}"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request; the server's start and end are passed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        send = _with_headers(send)
        hosts = [text for name, text in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self._address.answers_to(headers["host"]):
            await _refuse(send, 421, REFUSED_NAME)
        elif self._address.token and await self._token_missing(scope, headers, send):
            return
        elif scope["method"] not in SAFE_METHODS and not _from_here(headers):
            await _refuse(send, 403, REFUSED_ORIGIN)
        else:
            await self._app(scope, receive, send)

    async def _token_missing(self, scope: Message, headers: dict[str, str], send: Send) -> bool:
        """Whether the request was answered already: refused, or sent on with its cookie."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["method"] in SAFE_METHODS and self._is_token(given):
            await _send_on(send, f"{self._cookie}={given}")
            return True
        if self._is_token(_cookie(headers.get("cookie", ""), self._cookie)):
            return False
        await _refuse(send, 403, REFUSED_TOKEN)
        return True

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._address.token.encode())


def _cookie(header: str, name: str) -> str:
    parts = (part.strip().partition("=") for part in header.split(";"))
    return next((value for key, _, value in parts if key == name), "")


def _from_here(headers: dict[str, str]) -> bool:
    """Every browser says the origin of a write; another site's script cannot change it."""
    return headers.get("origin") == f"http://{headers['host']}"


def _with_headers(send: Send) -> Send:
    async def sends(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS]
        await send(message)

    return sends


async def _refuse(send: Send, status: int, sentence: str) -> None:
    await _answer(send, status, f"{sentence}\n".encode())


async def _send_on(send: Send, cookie: str) -> None:
    """To the page without the token in its address, which would be kept in the history."""
    attributes = f"; Max-Age={COOKIE_DAYS * 86400}; Path=/; HttpOnly; SameSite=Strict"
    more = [(b"set-cookie", (cookie + attributes).encode()), (b"location", b"/")]
    await _answer(send, 303, b"", more)


async def _answer(
    send: Send, status: int, body: bytes, more: list[tuple[bytes, bytes]] | None = None
) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    headers += [(b"content-length", str(len(body)).encode()), *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
