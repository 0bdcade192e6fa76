"""The Starlette application: which address is answered by what, and how a refusal is told."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from heme_edge.errors import HemeError
from heme_edge.web.address import Address
from heme_edge.web.desk import Desk
from heme_edge.web.guard import App, Guard
from heme_edge.web.page import Page, json_answer

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

Handler = Callable[["Request"], Awaitable["Response"]]


def application(desk: Desk, address: Address) -> App:
    """The page behind its guard.

    Args:
        desk: what it shows.
        address: where it is served.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    page = Page(desk)
    gets: dict[str, Handler] = {
        "/": page.static, "/static/{name}": page.static, "/live.jpg": page.live,
        "/crop/{id}.jpg": page.crop, "/api/state": page.state, "/api/cells": page.cells,
        "/api/cell/{id}": page.cell, "/api/map": page.map, "/api/log": page.log,
        "/export/{name}": page.export,
    }  # fmt: skip
    posts: dict[str, Handler] = {
        "/api/correct": page.correct, "/api/undo": page.undo, "/api/sign": page.sign,
        "/api/reopen": page.reopen, "/api/pause": page.pause, "/api/upload": page.upload,
    }  # fmt: skip
    routes = [Route(path, handler, methods=["GET"]) for path, handler in gets.items()]
    routes += [Route(path, handler, methods=["POST"]) for path, handler in posts.items()]
    handlers: Any = {HemeError: _refused, sqlite3.Error: _not_written, HTTPException: _no_such}
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=page.lifespan)
    app.router.redirect_slashes = False
    return Guard(app, address)


async def _refused(_request: Request, error: HemeError) -> Response:
    told = {"error": error.message, "hint": error.hint}
    return json_answer(told, getattr(error, "status", 400))


async def _not_written(_request: Request, error: sqlite3.Error) -> Response:
    """A full disk, or a database that another program holds: nothing was changed."""
    return json_answer({"error": f"The session cannot be written ({error})."}, 503)


async def _no_such(_request: Request, error: Any) -> Response:
    return json_answer({"error": f"{error.detail}."}, error.status_code)
