"""What OpenCV was built with: pip's, JetPack's and Debian's differ."""

from __future__ import annotations


def opencv_has(what: str) -> str:
    """What OpenCV's build information says of a part: ``YES (1.20.3)``, ``QT5``, ``NO``.

    Args:
        what: as it stands there: ``GStreamer``, ``GUI``.
    """
    import cv2

    for line in cv2.getBuildInformation().splitlines():
        key, colon, value = line.strip().partition(":")
        if colon and key == what:
            return value.strip() or "?"
    return "NO"
