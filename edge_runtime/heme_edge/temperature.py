"""The board's temperature, as Linux tells it for Jetson, Raspberry Pi and PCs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

ZONES = Path("/sys/class/thermal")
EVERY_S = 5.0
HOT_C = 85.0
"""A Raspberry Pi slows down from here on, a Jetson some degrees later."""
BELIEVED_C = (0.0, 150.0)
"""Zones that are switched off tell -256, or nothing."""
NOT_MEASURED = ("pmic-die",)
"""A Jetson's power chip, which always tells 100."""


def read_zones(zones: Path = ZONES) -> dict[str, float]:
    """°C by zone (``cpu``, ``gpu``, ``x86_pkg_temp``); of zones of one name the hottest."""
    found: dict[str, float] = {}
    for zone in sorted(zones.glob("thermal_zone*")):
        try:
            name = (zone / "type").read_text().strip().lower()
            celsius = int((zone / "temp").read_text()) / 1000
        except (OSError, ValueError):  # a sensor that is switched off cannot be read
            continue
        name = re.sub(r"[-_]therm(al)?$", "", name)
        if name not in NOT_MEASURED and BELIEVED_C[0] < celsius < BELIEVED_C[1]:
            found[name] = round(max(celsius, found.get(name, 0.0)), 1)
    return found


class Thermometer:
    """Reads the zones when somebody looks, every five seconds at most; belongs to one thread.

    Args:
        say: is told once when the board is hot.
        zones: folder of the ``thermal_zone*``.

    Attributes:
        highest: °C by zone, so far.
    """

    def __init__(self, say: Callable[[str], None], zones: Path = ZONES) -> None:
        self._say, self._zones = say, zones
        self._next_s = 0.0
        self._hot_said = False
        self.highest: dict[str, float] = {}

    def look(self) -> dict[str, float]:
        """The hottest zone and its °C; empty where that was told less than five seconds ago."""
        if time.monotonic() < self._next_s:
            return {}
        self._next_s = time.monotonic() + EVERY_S
        now = read_zones(self._zones)
        for name, celsius in now.items():
            self.highest[name] = max(celsius, self.highest.get(name, celsius))
        hottest = max(now, key=lambda name: now[name], default=None)
        if hottest is None:
            return {}
        if now[hottest] >= HOT_C and not self._hot_said:
            self._hot_said = True
            self._say(f"The board is hot ({hottest} {now[hottest]:.0f} °C) and may slow down.")
        return {hottest: now[hottest]}
