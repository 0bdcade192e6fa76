"""The package's own exceptions.

Library code raises these; the click layer prints the message as one sentence, then the hint.
"""

from __future__ import annotations


class HemeError(Exception):
    """Something a user can understand and act on.

    Args:
        message: one sentence saying what is wrong, with the file or device named.
        hint: the next command or step to try; may be empty.
    """

    exit_code = 2
    """Of the command that ends with it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BundleError(HemeError):
    """A model bundle that is missing, damaged, or of a kind this version cannot honour."""


class BackendError(HemeError):
    """An inference backend that is not installed, fails its reference check, or is closed."""


class DetectorError(HemeError):
    """A detector that there is not, or whose file cannot be used."""


class PhotoError(HemeError):
    """A photo that cannot be read or used."""


class SourceError(HemeError):
    """A camera, stream, video or folder that cannot be opened, or was lost while reading."""


class OpticsError(HemeError):
    """Optics that cannot be measured, or a profile that cannot be used."""


class MissingExtraError(HemeError):
    """An optional package that is not installed, and the extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"The package {package} is not installed, or cannot be loaded.",
            f"pip install 'heme-edge[{extra}]'",
        )
