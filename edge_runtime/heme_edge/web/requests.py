"""What requests bring, checked before anything is done with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from heme_edge.errors import HemeError

if TYPE_CHECKING:
    from starlette.requests import Request

MOST_JSON = 1 << 14
MOST_UPLOAD = 1 << 26
"""Bytes of a body."""
MOST_CELLS = 5000
"""Cells that are listed at once."""
MOST_NUMBER = 1 << 53


class RequestError(HemeError):
    """A request that asks for nothing there is.

    Args:
        status: of the answer.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


async def body(request: Request, most: int) -> bytes:
    """The body of a request.

    Raises:
        RequestError: it is larger than ``most`` bytes.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise RequestError(f"That is more than {most} bytes.", 413)
        parts.append(part)
    return b"".join(parts)


async def fields(request: Request) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        RequestError: there is none.
    """
    data = await body(request, MOST_JSON)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RequestError("The request holds no JSON object.")
    return found


def number(value: Any, name: str, default: int | None = None) -> int:
    """A whole number from 0; from JSON or, in digits, from an address.

    Raises:
        RequestError: it is none.
    """
    if value is None and default is not None:
        return default
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 17:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MOST_NUMBER:
        raise RequestError(f"'{name}' is not a whole number.")
    return value


def text(value: Any, name: str) -> str:
    """Text of an address or of JSON that is one printable line.

    Raises:
        RequestError: it is none.
    """
    if not isinstance(value, str) or len(value) > 64 or not value.isprintable():
        raise RequestError(f"'{name}' is not a short text.")
    return value


def scale(value: str | None) -> float | None:
    """µm per pixel of an upload; None where none is given.

    Raises:
        RequestError: it is no number.
    """
    if not value:
        return None
    try:
        return float(value)
    except ValueError:
        raise RequestError("'um_per_px' is not a number.") from None
