"""A folder of photos as a frame source."""

from __future__ import annotations

import time
from pathlib import Path

from heme_edge.errors import PhotoError, SourceError
from heme_edge.frames.base import Frame


class PhotoFolder:
    """Every photo of a folder, in natural order (``2.jpg`` before ``10.jpg``).

    Photos that cannot be read are passed over and listed in ``skipped``.

    Args:
        folder: where the photos lie, subfolders included.

    Raises:
        SourceError: the folder holds no photo.
    """

    live = False
    um_per_px: float | None = None

    def __init__(self, folder: Path) -> None:
        from heme_edge.photos import find_photos

        self.name = f"folder {folder.name or folder.resolve().name}"
        self.skipped: list[tuple[str, str]] = []
        self._folder = folder
        self._photos = find_photos(folder)
        self._next = 0
        self._closed = False
        self._captured = 0
        if not self._photos:
            raise SourceError(
                f"The folder {folder} holds no photo.",
                "Photos are .jpg, .jpeg, .png, .tif, .tiff, .bmp or .webp files.",
            )

    @property
    def captured(self) -> int:
        """Photos read so far."""
        return self._captured

    def read(self) -> Frame | None:
        """The next photo; its ``name`` is its path inside the folder. None at the end.

        Raises:
            SourceError: the end was reached and not one photo could be read.
        """
        while not self._closed and self._next < len(self._photos):
            path = self._photos[self._next]
            self._next += 1
            frame = self._frame(path)
            if frame is not None:
                return frame
        if not self._closed and not self._captured:
            raise SourceError(
                f"None of the {len(self._photos)} photos in {self._folder} could be read.",
                f"The first, {self.skipped[0][0]}, {self.skipped[0][1]}.",
            )
        return None

    def close(self) -> None:
        """Later reads return None."""
        self._closed = True

    def _frame(self, path: Path) -> Frame | None:
        from heme_edge.photos import read_photo

        name = path.relative_to(self._folder).as_posix()
        try:
            image = read_photo(path)
        except PhotoError as error:
            self.skipped.append((name, error.message))
            return None
        frame = Frame(image, self._captured, time.monotonic(), name)
        self._captured += 1
        return frame
