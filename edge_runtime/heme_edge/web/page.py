"""The handlers of the page: each checks what it is asked and asks the desk, aside of the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from heme_edge.errors import HemeError
from heme_edge.web import exports, views
from heme_edge.web.desk import Desk
from heme_edge.web.live_picture import Picture
from heme_edge.web.requests import (
    MOST_CELLS,
    MOST_UPLOAD,
    RequestError,
    body,
    fields,
    number,
    scale,
    text,
)
from heme_edge.web.uploads import Upload

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

TICK_S = 0.5
"""How often the goal is looked at, also when nobody watches."""
PICTURE_WAIT_S, PICTURE_STEP_S = 2.0, 0.02
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
NO_STORE = {"cache-control": "no-store"}


def json_answer(content: Any, status: int = 200) -> Response:
    """JSON that no cache keeps."""
    from starlette.responses import Response

    data = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Response(data, status, NO_STORE, "application/json")


class Page:
    """Answers requests.

    Args:
        desk: what is shown.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk, self._session = desk, desk.session
        folder = files("heme_edge.web") / "static"
        self._files = {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}

    @asynccontextmanager
    async def lifespan(self, _app: Any) -> AsyncIterator[None]:
        """While the page is served the goal is looked at twice a second."""
        ticking = asyncio.create_task(self._tick())
        yield
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking

    async def _tick(self) -> None:
        while True:
            with contextlib.suppress(sqlite3.Error, HemeError):  # told to whoever asks next
                await asyncio.to_thread(self._desk.refresh)
            await asyncio.sleep(TICK_S)

    async def static(self, request: Request) -> Response:
        """A file of the package; names are looked up, never opened."""
        from starlette.responses import Response

        name = request.path_params.get("name", "index.html")
        if name not in self._files:
            raise RequestError("There is no such file.", 404)
        kind = TYPES[name.rpartition(".")[2]]
        return Response(self._files[name], headers={"cache-control": "no-cache"}, media_type=kind)

    async def state(self, _request: Request) -> Response:
        """Everything that is shown at a glance."""
        return json_answer(await asyncio.to_thread(self._desk.state))

    async def live(self, request: Request) -> Response:
        """The newest picture of a camera; waits two seconds for one, then says 204."""
        from starlette.responses import Response

        query = request.query_params
        source = number(query.get("source"), "source", 0)
        if source >= len(self._desk.pictures):
            raise RequestError("There is no such camera.", 404)
        picture = await self._picture(source, number(query.get("after"), "after", 0))
        if picture is None:
            return Response(status_code=204, headers=NO_STORE)
        told = {"x-picture": str(picture.number), "x-age-ms": f"{1000 * picture.age_s:.0f}"}
        told["x-live"] = "yes" if picture.live else "no"
        return Response(picture.jpeg, headers={**NO_STORE, **told}, media_type="image/jpeg")

    async def _picture(self, source: int, after: int) -> Picture | None:
        until_s = time.monotonic() + PICTURE_WAIT_S
        while (picture := self._desk.pictures[source].newest(after)) is None:
            if time.monotonic() > until_s or self._desk.pictures[source].closed:
                break
            await asyncio.sleep(PICTURE_STEP_S)
        return picture

    async def crop(self, request: Request) -> Response:
        """The JPEG of a cell."""
        from starlette.responses import Response

        cell = number(request.path_params["id"], "id")
        jpeg = await asyncio.to_thread(views.crop, self._session, cell)
        return Response(jpeg, headers=NO_STORE, media_type="image/jpeg")

    async def cells(self, request: Request) -> Response:
        """Cells, least certain first."""
        query = request.query_params
        code, reason = (text(query.get(name, ""), name) for name in ("code", "reason"))
        limit = min(MOST_CELLS, number(query.get("limit"), "limit", 200))
        return json_answer(await asyncio.to_thread(views.cells, self._session, code, reason, limit))

    async def cell(self, request: Request) -> Response:
        """One cell, with all its probabilities."""
        cell = number(request.path_params["id"], "id")
        return json_answer(await asyncio.to_thread(views.cell, self._session, cell))

    async def map(self, _request: Request) -> Response:
        """Places of frames and cells."""
        return json_answer(await asyncio.to_thread(views.scanned, self._session))

    async def log(self, _request: Request) -> Response:
        """What persons did, newest first."""
        return json_answer(views.log(list(self._desk.deeds)))

    async def export(self, request: Request) -> Response:
        """A file to keep."""
        from starlette.responses import Response

        name = request.path_params["name"]
        if name not in exports.FILES:
            raise RequestError("There is no such export.", 404)
        kind, make = exports.FILES[name]
        data = await asyncio.to_thread(make, self._desk)
        keep = {"content-disposition": f'attachment; filename="research-use-only-{name}"'}
        return Response(data, headers={**NO_STORE, **keep}, media_type=kind)

    async def correct(self, request: Request) -> Response:
        """Gives a cell another class."""
        asked = await fields(request)
        cell, code = number(asked.get("id"), "id"), text(asked.get("code"), "code")
        await asyncio.to_thread(self._session.correct, cell, code)
        return json_answer({})

    async def undo(self, _request: Request) -> Response:
        """Takes the newest correction back."""
        if await asyncio.to_thread(self._session.undo) is None:
            raise RequestError("There is nothing to undo.")
        return json_answer({})

    async def sign(self, request: Request) -> Response:
        """Signs the session with initials."""
        initials = text((await fields(request)).get("initials"), "initials")
        await asyncio.to_thread(self._session.sign, initials)
        return json_answer({})

    async def reopen(self, _request: Request) -> Response:
        """Takes the signature back."""
        await asyncio.to_thread(self._session.reopen)
        return json_answer({})

    async def pause(self, request: Request) -> Response:
        """Rests counting, or goes on."""
        self._desk.set_pause((await fields(request)).get("paused") is True)
        return json_answer({})

    async def upload(self, request: Request) -> Response:
        """Names the cells of a photo."""
        query = request.query_params
        um_per_px = scale(query.get("um_per_px"))
        data = await body(request, MOST_UPLOAD)
        upload = Upload(data, query.get("kind") == "crop", um_per_px)
        return json_answer(await self._desk.uploads.name(upload))
