"""A camera that is lost, comes back, freezes or never answers; and several at once."""

from __future__ import annotations

import signal
import time

import pytest

from tests.edge_runtime.live_kit import Camera, Watched, free_port


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/"


@pytest.fixture
def port() -> int:
    return free_port()


def test_a_killed_server_is_live_again_and_counts_are_kept(port: int) -> None:
    with Watched("--camera", url(port), start=Camera(port)) as watched:
        watched.wait_for("cell", 5)
        time.sleep(1.5)
        before = len(watched.cells())
        watched.server.kill()
        watched.wait_said("Trying again")
        time.sleep(2)
        with Camera(port):
            back, seen = time.monotonic(), len(watched.lines)
            while len(watched.lines) == seen:
                assert time.monotonic() < back + 3
                time.sleep(0.02)
            watched.wait_said("is back.")
            time.sleep(1.5)
            assert watched.stop() < 2
        assert watched.process.returncode == 0
        frames = [line["frame"] for _, line in watched.lines if "frame" in line]
        assert frames == sorted(set(frames))
        summary = watched.summary()
        kept = summary["cells_counted"]
        assert summary["frames_captured"] > frames[-1]
        assert kept == len(watched.cells()) - summary["duplicates_refused"]
        assert before <= kept <= before + 2  # the same field: what had been counted is not new


def test_a_frozen_picture_is_said_within_five_seconds(port: int) -> None:
    with Watched("--camera", url(port), start=Camera(port, "frozen")) as watched:
        first = watched.wait_for("frame")
        assert watched.wait_said("the very same picture") - first < 5
        assert watched.stop(signal.SIGTERM) < 2
        assert watched.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_while_a_server_is_waited_for(port: int, number: signal.Signals) -> None:
    with Watched("--camera", url(port), start=Camera(port)) as watched:
        watched.wait_for("cell")
        watched.server.kill()
        watched.wait_said("Trying again")
        time.sleep(1)
        assert watched.stop(number) < 2
        assert watched.process.returncode == 0
        assert watched.summary()["cells_counted"] >= 1


def test_time_is_up_while_a_server_is_waited_for(port: int) -> None:
    with Watched("--camera", url(port), "--seconds", "5", start=Camera(port)) as watched:
        first = watched.wait_for("frame")
        watched.server.kill()
        assert watched.ended(first) < 5 + 2
        assert watched.process.returncode == 0


def test_stop_while_a_server_does_not_answer(port: int) -> None:
    with Watched("--camera", url(port), start=Camera(port, "silent")) as watched:
        watched.wait_said("Opening")
        time.sleep(0.5)
        assert watched.stop() < 2
        assert watched.process.returncode == 130


def test_patience_has_an_end(port: int) -> None:
    with Watched("--camera", url(port), "--patience", "1", start=Camera(port)) as watched:
        watched.wait_for("cell")
        watched.server.kill()
        lost = watched.wait_said("Trying again for 1 s")
        assert 0.9 < watched.ended(lost) < 5
        assert watched.process.returncode == 1
        assert watched.summary()["cells_counted"] >= 1


def test_two_cameras_and_one_of_them_is_lost(port: int) -> None:
    other = free_port()
    both = ("--camera", url(other), "--camera", url(port), "--patience", "0")
    with Camera(other), Watched(*both, start=Camera(port)) as watched:
        watched.wait_for("cell", 20)
        watched.server.kill()
        time.sleep(2)
        watched.stop()
        assert watched.process.returncode == 1
        rows = [line for _, line in watched.lines if "summary" not in line]
        assert {row["source_id"] for row in rows} == {0, 1}
        summary = watched.summary()
        one, two = summary["sources"]
        assert (one["source_id"], two["source_id"]) == (0, 1)
        for key in ("cells_counted", "frames_used", "frames_captured"):
            assert summary[key] == one[key] + two[key]
        assert abs(one["cells_counted"] - two["cells_counted"]) <= 3  # of the same field
