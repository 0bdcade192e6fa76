"""Ctrl-C and SIGTERM at the wrong moment."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress

import pytest

from heme_edge.stopping import SIGNALS, Stopping


def swallow(number: signal.Signals) -> None:
    """A signal while a package is loaded that catches everything."""
    with suppress(KeyboardInterrupt):
        signal.raise_signal(number)


def loses_it(number: signal.Signals) -> None:
    with Stopping() as stopping:
        swallow(number)
        stopping.check()


@pytest.mark.parametrize("number", SIGNALS)
def test_what_an_import_swallowed_is_raised_again(number: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in SIGNALS]
    with pytest.raises(KeyboardInterrupt):
        loses_it(number)
    assert [signal.getsignal(one) for one in SIGNALS] == before


def fails_to_load(*signals: signal.Signals) -> None:
    with Stopping():
        for number in signals:
            swallow(number)
        raise ImportError("initialization failed")


def test_what_an_import_made_of_it_is_ctrl_c_all_the_same() -> None:
    with pytest.raises(KeyboardInterrupt):
        fails_to_load(signal.SIGINT)
    with pytest.raises(ImportError):
        fails_to_load()


def begins(done: list[str]) -> None:
    with Stopping() as stopping:
        swallow(signal.SIGINT)
        with stopping.calling(lambda: None, None):
            done.append("begun")


def test_a_press_that_was_lost_ends_the_session_before_it_begins() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        begins(done)
    assert done == []


def test_a_running_session_is_told_and_ends_by_itself() -> None:
    told = threading.Event()
    with Stopping() as stopping, stopping.calling(told.set, None):
        signal.raise_signal(signal.SIGTERM)
        assert told.wait(2)


def test_the_time_is_up() -> None:
    told, started = threading.Event(), time.monotonic()
    with Stopping() as stopping, stopping.calling(told.set, 0.05):
        assert told.wait(2)
    assert time.monotonic() - started < 1
