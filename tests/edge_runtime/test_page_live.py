"""The page over a session that goes on: ``heme-edge live --web`` in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import pytest

from heme_edge.live.pause import Pause
from heme_edge.session import Session
from heme_edge.web.address import Address
from heme_edge.web.desk import Desk
from heme_edge.web.live_picture import FRESH_S, MOST_PER_S, Drawable, LivePicture
from tests.conftest import Run
from tests.edge_runtime.live_kit import field
from tests.edge_runtime.page_kit import ask, make_session, opened, served

MODEL = ("--backend", "onnxruntime", "--precision", "fp32")
TARGET = 12


class Served:
    """A command in a process of its own, once it has said where its page is."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "heme_edge.cli", *arguments],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.said = ""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if found := re.search(r"http://127.0.0.1:(\d+)/", line):
                self.address = Address("127.0.0.1", int(found[1]))
                break

    def end(self) -> None:
        """However the test ended."""
        self.process.kill()
        self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()

    def stop(self) -> float:
        """Ctrl-C; seconds until it has ended."""
        started = time.monotonic()
        os.kill(self.process.pid, signal.SIGINT)
        assert self.process.stderr is not None
        self.said += self.process.stderr.read()
        assert self.process.wait(20) == 0, self.said
        self.process.stderr.close()
        assert "Traceback" not in self.said
        return time.monotonic() - started

    def state(self) -> Any:
        return ask(self.address, "/api/state")[1]

    def wait_for(self, holds: Callable[[Any], bool], limit_s: float = 40.0) -> Any:
        until = time.monotonic() + limit_s
        while not holds(state := self.state()):
            assert time.monotonic() < until, state["status"]
            time.sleep(0.1)
        return state

    @property
    def resident_mb(self) -> float:
        text = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live") / "s"


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Served]:
    """``heme-edge live --web``: one process for the tests below; the last of them stops it."""
    goal = ("--target", str(TARGET), "--until", "M1 60")
    where = ("--session", str(folder), "--web", "127.0.0.1:0")
    started = Served("live", "--camera", "sim", *MODEL, *where, *goal)
    yield started
    started.end()


def test_slow_browsers_and_noise_while_live(live: Served) -> None:
    """Browsers that fetch and never read, and bytes that are no request: live goes on, flat."""
    live.wait_for(lambda s: s["sources"][0]["frame"] > 5)
    request = f"GET /live.jpg HTTP/1.1\r\nHost: 127.0.0.1:{live.address.port}\r\n\r\n".encode()
    slow = [socket.create_connection(("127.0.0.1", live.address.port)) for _ in range(20)]
    for line in slow[:15]:
        line.sendall(50 * request)
    for line in slow[15:]:
        line.sendall(os.urandom(500))
    time.sleep(1)
    before, number, last = live.resident_mb, live.state()["sources"][0]["frame"], 0
    until = time.monotonic() + 2.5
    pictures = 0
    while time.monotonic() < until:
        data = ask(live.address, f"/live.jpg?after={last}")
        pictures += data[0] == 200
        last += 1
    assert pictures >= 5
    assert live.state()["sources"][0]["frame"] > number
    assert live.resident_mb - before < 40
    for line in slow:
        line.close()


def test_live_moves_rests_at_its_goal(live: Served) -> None:
    first = ask(live.address, "/live.jpg")[1]
    assert first[:2] == b"\xff\xd8"
    live.wait_for(lambda _: ask(live.address, "/live.jpg")[1] != first)
    state = live.wait_for(lambda s: s["figures"]["goal"]["reached"])
    state = live.wait_for(lambda s: s["paused"])
    assert state["status"] == "Paused: the goal is reached."
    assert state["figures"]["total"] >= TARGET
    assert state["figures"]["goal"]["rule"]["side"] == "below"
    number = state["sources"][0]["frame"]
    resting = live.wait_for(lambda s: s["sources"][0]["frame"] > number)
    assert resting["sources"][0]["not_used"] != ""
    assert ask(live.address, "/api/pause", {"paused": False})[0] == 200
    on = live.wait_for(lambda s: s["figures"]["total"] > resting["figures"]["total"])
    assert on["status"] == "Counting."


def test_the_live_view_in_a_browser(live: Served, browser: Any, errors: list[str]) -> None:
    """The picture moves, the figures grow, the goal and a pause are said."""
    page = opened(browser, live.address.url, errors, viewport={"width": 1400, "height": 1000})
    shown = set()
    for _ in range(3):
        page.wait_for_function(
            "known => !known.includes(document.getElementById('picture').src)", arg=list(shown)
        )
        shown.add(page.get_attribute("#picture", "src"))
    assert page.evaluate("document.getElementById('picture').naturalWidth") == 1280
    assert "cells in view" in page.inner_text("#picture-words")
    goal = page.inner_text("#goal")
    assert f"Target of {TARGET} cells reached." in goal
    assert "at all looks together: below 60 %. Counting can end." in goal
    assert page.evaluate("document.getElementById('focus').value") > 0
    for pressed in range(2):
        before = page.get_attribute("#pause", "aria-pressed")
        page.keyboard.press("p")
        page.wait_for_selector(f"#pause:not([aria-pressed={before}])")
        assert live.state()["paused"] == (before == "false"), pressed
    page.select_option("#zoom", "2")
    assert page.evaluate("document.getElementById('picture-frame').scrollWidth") > 1200 * 0.6
    page.context.close()


def test_a_correction_meanwhile_is_kept(live: Served, folder: Path) -> None:
    """The last that uses the process: stops it."""
    cell = ask(live.address, "/api/cells?limit=1")[1]["cells"][0]["id"]
    assert ask(live.address, "/api/correct", {"id": cell, "code": "L4"})[0] == 200
    stopped_s = live.stop()
    print(f"stopped in {stopped_s:.1f} s")
    assert stopped_s < 8
    session = Session.open(folder)
    assert session.cell(cell).code == "L4"
    assert session.tally().total >= TARGET
    session.close()


def test_a_quick_browser_beside_slow_ones_gets_no_old_frame(tmp_path: Path) -> None:
    """Frames carry the time they were captured at, so that their true age is known on arrival."""
    picture, done = LivePicture(), threading.Event()
    desk = Desk(make_session(tmp_path / "s", 5), pause=Pause(), pictures=[picture])
    drawn: list[float] = []

    def draw(captured_s: float) -> bytes:
        drawn.append(captured_s)
        return struct.pack("d", captured_s) + bytes(200_000)

    def capture() -> None:
        while not done.wait(1 / 30):
            now = time.monotonic()
            picture.show(Drawable(now, now, partial(draw, now)))

    camera = threading.Thread(target=capture)
    camera.start()
    try:
        with served(desk) as address:
            time.sleep(0.3)
            assert drawn == [], "nothing is drawn while nobody watches"
            slow = [socket.create_connection(("127.0.0.1", address.port)) for _ in range(5)]
            for line in slow:
                request = f"GET /live.jpg HTTP/1.1\r\nHost: 127.0.0.1:{address.port}\r\n\r\n"
                line.sendall(20 * request.encode())
            ages = _ages(address, 2.0)
            for line in slow:
                line.close()
    finally:
        done.set()
        camera.join()
    print(f"{len(ages)} pictures, oldest {1000 * max(ages):.0f} ms")
    assert len(ages) > 10
    assert max(ages) <= FRESH_S
    assert len(drawn) <= 2.6 * MOST_PER_S


@pytest.mark.parametrize(("took_s", "given"), [(0.05, False), (0.4, True)])
def test_an_old_picture_is_given_by_a_slow_machine_only(took_s: float, given: bool) -> None:
    """Where frames are usually quick, one that was captured 0.3 s ago is not published."""
    picture = LivePicture()
    try:
        for age_s in [took_s] * 40 + [0.3]:
            now = time.monotonic()
            picture.show(Drawable(now - age_s, now, lambda: b"jpeg"))
        until = time.monotonic() + 5
        while (first := picture.newest(0)) is None:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert first.age_s > FRESH_S
        assert (picture.newest(first.number + 1) is not None) == given
    finally:
        picture.close()


def _ages(address: Address, seconds: float) -> list[float]:
    ages, last, until = [], 0, time.monotonic() + seconds
    while time.monotonic() < until:
        status, data = ask(address, f"/live.jpg?after={last}")
        now = time.monotonic()
        if status == 200:
            ages.append(now - struct.unpack("d", data[:8])[0])
            last += 1
    return ages


def test_without_a_page_counting_ends_at_the_goal(heme_edge: Run, tmp_path: Path) -> None:
    for seed in (4, 5, 6):
        cv2.imwrite(str(tmp_path / f"{seed}.png"), field(seed)[..., ::-1])
    options = ("--um-per-px", "0.25", "--headless", "--target", "3")
    done = heme_edge("live", "--camera", tmp_path, *MODEL, *options)
    assert done.returncode == 0
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    assert summary["differential"]["counted"] >= 3
    assert summary["frames_used"] < 3


def test_a_finished_session_is_opened(tmp_path: Path) -> None:
    make_session(tmp_path / "s", 30).close()
    opened_one = Served("open", str(tmp_path / "s"), "--web", "127.0.0.1:0")
    try:
        assert opened_one.state()["status"] == "Finished session."
        assert ask(opened_one.address, "/api/sign", {"initials": "AB"})[0] == 200
        opened_one.stop()
    finally:
        opened_one.end()
    session = Session.open(tmp_path / "s")
    signature = session.signed()
    session.close()
    assert signature is not None
    assert signature.initials == "AB"


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--until", "M1"), "not a class and a percentage"),
     (("--until", "L4 10"), "does not know the class L4"),
     (("--web", "here"), "not HOST:PORT")],
)  # fmt: skip
def test_wrong_use_is_one_sentence(
    heme_edge: Run, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = heme_edge("live", "--camera", "sim", "--session", str(tmp_path / "s"), *options)
    assert done.returncode == 2
    assert said in done.stderr
