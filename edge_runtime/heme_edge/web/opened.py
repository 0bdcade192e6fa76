"""``heme-edge open``: the page over a session that is not going on."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from heme_edge.cli_support import note
from heme_edge.notices import notice
from heme_edge.session import Session
from heme_edge.web.address import Address, listen
from heme_edge.web.desk import Desk
from heme_edge.web.server import PageServer
from heme_edge.web.uploads import Model


def open_session(folder: Path, address: str, model: Model) -> None:
    """Serves the page until Ctrl-C.

    Raises:
        HemeError: there is no such session, another program writes it, or the address is taken.
    """
    listening = listen(Address.parse(address))
    try:
        session = Session.open(folder, write=True)
    except BaseException:
        listening.socket.close()
        raise
    try:
        with PageServer(Desk(session, model=model), listening):
            say_where(listening.address)
            note(notice(session.settings.accepted_losses))
            until_stopped()
    finally:
        session.close()


def say_where(address: Address) -> None:
    """Prints the address of the page, with its token, once."""
    note(f"The page is at {address.url}  Ctrl-C ends.")


def until_stopped() -> None:
    """Waits for Ctrl-C or SIGTERM; called by the main thread."""
    stopped = threading.Event()
    old = {s: signal.signal(s, lambda *_: stopped.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not stopped.wait(1):  # a wait without an end would not see the signal
            pass
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
