"""A session with drawn cells, the page over it, and a real browser."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from heme_edge import RESEARCH_USE_ONLY, __version__
from heme_edge.bundle import load_bundle
from heme_edge.cells import cell_class
from heme_edge.naming import best_two
from heme_edge.results import NUCLEATED
from heme_edge.session import Batch, CellRow, FrameRow, Session, SessionClass, Settings, Source
from heme_edge.tally import reason_not_counted
from heme_edge.web.address import Address, listen
from heme_edge.web.desk import Desk
from heme_edge.web.server import PageServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
"""Debian's; what needs it skips where it is absent."""
LOCAL = Address("127.0.0.1", 0)
SOON_MS = 5000


def settings() -> Settings:
    """Of a session with the default bundle."""
    bundle = load_bundle(None)
    classes = tuple(
        SessionClass(c.code, c.name, cell_class(c.code).in_differential)
        for c in bundle.info.classes
    )
    return Settings(
        program=__version__, command="live", bundle=bundle.info.name, precision="fp32",
        bundle_sha256=bundle.digest, optics_sha256="", backend="onnxruntime fp32", classes=classes,
        reject_threshold=bundle.info.reject_threshold, notice=RESEARCH_USE_ONLY,
        sources=(Source("simulated stage", 0.25, "source", True),),
    )  # fmt: skip


def crop_files() -> list[bytes]:
    """The default bundle's reference crops, which are drawn, as JPEG files."""
    quality = (cv2.IMWRITE_JPEG_QUALITY, 90)
    return [
        cv2.imencode(".jpg", crop[..., ::-1], quality)[1].tobytes()
        for crop in load_bundle(None).reference()[0]
    ]


def make_session(folder: Path, cells: int) -> Session:
    """A session of so many cells, open for writing; the model's words are drawn at random."""
    session = Session.create(folder, settings())
    session.add(Batch(frames=frames(4), cells=cell_rows(session, cells)))
    return session


def frames(many: int) -> list[FrameRow]:
    return [
        FrameRow(0, n, 1.7e9 + n, 0, 150.0 * n, 40.0 * n, 320.0, 240.0, cells=20)
        for n in range(many)
    ]


def cell_rows(session: Session, many: int, first: int = 0) -> list[CellRow]:
    generator, files = np.random.default_rng(first), crop_files()
    said = session.settings
    probabilities = generator.dirichlet(np.full(len(said.codes), 0.05), many).astype(np.float32)
    names = best_two(probabilities, np.zeros(many, np.float32), said.codes)
    rows = []
    for n, (name, p) in enumerate(zip(names, probabilities, strict=True), first):
        x_um, y_um = generator.uniform(0, (700, 300))
        reason = reason_not_counted(name, said.reject_threshold)
        rows.append(CellRow(
            n, 0, n % 4, 100.0, 90.0, 6.0, 0, float(x_um), float(y_um), name.code,
            name.probability, p, 0.0, reason, NUCLEATED, 3, 1.7e9 + n, files[n % len(files)],
        ))  # fmt: skip
    return rows


@contextmanager
def served(desk: Desk, address: Address = LOCAL) -> Iterator[Address]:
    """The page of a desk, and where it is; its session is closed afterwards."""
    listening = listen(address)
    with PageServer(desk, listening):
        yield listening.address
    desk.session.close()


def ask(
    address: Address, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Status and answer of a request as the page makes it; JSON is read, bytes are given."""
    origin = f"http://127.0.0.1:{address.port}"
    known = {"Origin": origin} if body is not None else {}
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    request = urllib.request.Request(origin + path, data, known | (headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, _read(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, _read(refused)


def _read(answer: Any) -> Any:
    data = answer.read()
    return json.loads(data) if answer.headers["content-type"] == "application/json" else data


def opened(browser: Any, url: str, errors: list[str], **options: Any) -> Any:
    """A page of a browser with cookies of its own, once its cells are there."""
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(SOON_MS)
    page.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else 0)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    page.wait_for_selector("#cells li")
    return page
