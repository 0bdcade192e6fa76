"""The parent's side of the workers: started, asked for one round at a time, always ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from heme_edge.bench.worker import Task
from heme_edge.errors import BackendError


class Child:
    """A worker process. It ends with ``close``, or by itself when this process ends.

    Args:
        task: what it runs.
        errors: file for what it prints on stderr.
    """

    def __init__(self, task: Task, errors: Path) -> None:
        self.task = task
        self._errors = errors
        command = [sys.executable, "-m", "heme_edge.bench.worker", json.dumps(asdict(task))]
        with errors.open("wb") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True
            )

    def close(self) -> None:
        """Ends the process, busy or not."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # what it was asked last, if it had ended before
                pipe.close()
        self._process.wait()

    def wait_ready(self) -> None:
        """Returns when it has opened its backend and named all crops.

        Raises:
            BackendError: the backend does not work here, or the process ended.
        """
        failed = self._reply().get("failed")
        if failed:
            raise BackendError(failed)

    def round(self, batch: int, seconds: float) -> dict[str, Any]:
        """One round; see ``worker.measure``.

        Raises:
            BackendError: the process ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{batch} {seconds}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BackendError(self._ending()) from None
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise BackendError(self._ending())
        content: dict[str, Any] = json.loads(line)
        return content

    def _ending(self) -> str:
        code = self._process.wait()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        said = self._errors.read_text(errors="replace").strip().splitlines()
        return f"Its process ended {how}{': ' + said[-1][:200] if said else ''}."
