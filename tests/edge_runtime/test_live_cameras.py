"""A camera that is lost, comes back, freezes or never answers; and several at once."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest

from heme_edge.detect import open_detector
from tests.edge_runtime.live_kit import UM_PER_PX, Camera, Watched, field, free_port


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


def test_stop_while_the_scale_is_measured(port: int) -> None:
    with Watched("--camera", url(port), start=Camera(port, "dark"), scale=False) as watched:
        watched.wait_said("Opening")
        time.sleep(0.8)  # of the three seconds that it waits for a field with light
        assert watched.stop(signal.SIGTERM) < 2
        assert watched.process.returncode == 130
        assert watched.lines == []


@pytest.mark.parametrize("lost", [False, True])
def test_stop_without_headless(port: int, lost: bool, tmp_path: Path) -> None:
    options = ("--camera", url(port), "--picture", str(tmp_path / "live.jpg"))
    with Watched(*options, start=Camera(port), headless=False) as watched:
        watched.wait_said("cells in view")
        if lost:
            watched.server.kill()
            watched.wait_said("Trying again")
        assert watched.stop(signal.SIGINT if lost else signal.SIGTERM) < 2
        assert watched.process.returncode == 0
        watched.wait_said("Differential of")
        watched.wait_said("Research use only", 0)


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


def test_four_cameras_at_once_and_every_row_is_of_its_own(port: int) -> None:
    """Each shows another field: its cells must be where that field has them."""
    seeds = (4, 5, 6, 7)
    options = [part for seed in seeds for part in ("--camera", url(port) + str(seed))]
    with Watched(*options, start=Camera(port)) as watched:
        watched.wait_for("frame", 80)
        assert watched.stop() < 2
        rows = [line for _, line in watched.lines if "summary" not in line]
        assert all(row["source_id"] in range(4) for row in rows)
        taken = [sum("frame" in row and row["source_id"] == n for row in rows) for n in range(4)]
        assert min(taken) >= 0.15 * sum(taken), taken
        for source, there in enumerate(map(cells_of, seeds)):
            cells = [r["cell"] for r in rows if "cell" in r and r["source_id"] == source]
            assert len(cells) >= 5
            at = np.array([[cell["x_px"], cell["y_px"]] for cell in cells])
            nearest = np.hypot(*(at[:, None] - there[None]).transpose(2, 0, 1)).min(1)
            assert np.mean(nearest < 8) >= 0.9
        sources = watched.summary()["sources"]
        assert [source["source_id"] for source in sources] == [0, 1, 2, 3]
        assert [source["frames_analysed"] for source in sources] == taken


def cells_of(seed: int) -> np.ndarray:
    """Where the field of a seed has its cells, px ``[N, 2]``."""
    found = open_detector().look(field(seed), UM_PER_PX).cells
    return np.array([[cell.x_px, cell.y_px] for cell in found])
