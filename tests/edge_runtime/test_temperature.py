"""The board's temperature, from folders of files like those of Linux."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heme_edge import temperature
from heme_edge.live.request import Request
from heme_edge.live.show import JsonLines
from heme_edge.live.shows import Shows
from heme_edge.temperature import Thermometer, read_zones
from tests.edge_runtime.test_live_recording import analysed


def zone(zones: Path, number: int, kind: str, milli_c: object) -> None:
    folder = zones / f"thermal_zone{number}"
    folder.mkdir(exist_ok=True)
    (folder / "type").write_text(f"{kind}\n")
    (folder / "temp").write_text(f"{milli_c}\n")


def test_zones_of_a_board(tmp_path: Path) -> None:
    zone(tmp_path, 0, "CPU-therm", 54500)
    zone(tmp_path, 1, "gpu-thermal", -256000)  # switched off
    zone(tmp_path, 2, "PMIC-Die", 100000)  # a constant
    zone(tmp_path, 3, "acpitz", 20000)
    zone(tmp_path, 4, "acpitz", 27800)
    zone(tmp_path, 5, "soc-thermal", "")
    (tmp_path / "thermal_zone6").mkdir()
    (tmp_path / "cooling_device0").mkdir()
    assert read_zones(tmp_path) == {"cpu": 54.5, "acpitz": 27.8}


def test_the_hottest_is_told_every_five_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(temperature.time, "monotonic", lambda: now)
    zone(tmp_path, 0, "cpu-thermal", 61000)
    zone(tmp_path, 1, "gpu-thermal", 60000)
    said: list[str] = []
    thermometer = Thermometer(said.append, tmp_path)
    assert thermometer.look() == {"cpu": 61.0}
    now += 4.9
    zone(tmp_path, 1, "gpu-thermal", 85100)
    assert thermometer.look() == {}
    now += 0.2
    assert thermometer.look() == {"gpu": 85.1}
    now += 6
    thermometer.look()
    zone(tmp_path, 0, "cpu-thermal", 50000)
    now += 6
    thermometer.look()
    assert said == ["The board is hot (gpu 85 °C) and may slow down."]
    assert thermometer.highest == {"cpu": 61.0, "gpu": 85.1}


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    thermometer = Thermometer(said.append, tmp_path / "nothing")
    assert thermometer.look() == {}
    assert (thermometer.highest, said) == ({}, [])


def test_it_stands_in_the_line_of_a_frame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zone(tmp_path, 0, "cpu-thermal", 54500)
    lines = JsonLines([], Thermometer(print, tmp_path))
    camera = object()
    lines.frame(camera, analysed(0), 12.0)  # type: ignore[arg-type]  # of one camera, which is not named
    lines.frame(camera, analysed(1), 12.0)  # type: ignore[arg-type]  # as above
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["temperature_c"] == {"cpu": 54.5}
    assert "temperature_c" not in second


def test_a_hot_board_is_said_where_only_the_page_shows_the_session(tmp_path: Path) -> None:
    zone(tmp_path, 0, "cpu-thermal", 91000)
    said: list[str] = []
    thermometer = Thermometer(said.append, tmp_path)
    shows = Shows(Request(("0",), web="127.0.0.1:0"), [], thermometer, lambda: None)
    shows.frame(object(), analysed(0), 12.0)  # type: ignore[arg-type]  # no show looks at it
    assert said == ["The board is hot (cpu 91 °C) and may slow down."]
    assert thermometer.highest == {"cpu": 91.0}
