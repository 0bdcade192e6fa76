"""The page: a session in the browser, while it goes on and afterwards.

A thread of its own serves it; the thread that looks for cells only leaves its newest frame.
"""

from __future__ import annotations
