"""Canonical bytes of rows and log entries, and the SHA-256 that chains them.

Each value is its type, its length and its bytes, so that no two rows have the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any

START = "0" * 64
"""What the first entry of a log names as the one before."""
Value = int | float | str | bytes | None


def canonical(row: Sequence[Value]) -> bytes:
    """One row as bytes."""
    parts = [_tagged(value) for value in row]
    return struct.pack(">I", len(parts)) + b"".join(parts)


def digest(rows: Iterable[Sequence[Value]]) -> str:
    """SHA-256 over rows in their order, lower-case hex."""
    sha = hashlib.sha256()
    for row in rows:
        sha.update(canonical(row))
    return sha.hexdigest()


def entry_digest(seq: int, time: float, kind: str, body: str, previous: str) -> str:
    """SHA-256 of a log entry, lower-case hex."""
    return digest([(seq, time, kind, body, previous)])


def body_text(body: dict[str, Any]) -> str:
    """The JSON that stands in the log."""
    return json.dumps(body, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _tagged(value: Value) -> bytes:
    kind, data = _bytes_of(value)
    return kind + struct.pack(">I", len(data)) + data


def _bytes_of(value: Value) -> tuple[bytes, bytes]:
    if value is None:
        return b"n", b""
    if isinstance(value, int):
        return b"i", str(int(value)).encode()
    if isinstance(value, float):
        return b"f", struct.pack(">d", value)
    if isinstance(value, str):
        return b"t", value.encode("utf-8", "surrogateescape")
    return b"b", bytes(value)
