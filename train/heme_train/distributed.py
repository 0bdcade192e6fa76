"""Several processes training one network: who is who, and what each does.

By default there is one process, and everything here does nothing. ``torchrun`` (which
``heme-train fit --devices N --nodes M`` calls) starts several and tells each by the
environment; gradients then are averaged by torch's DistributedDataParallel.
"""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heme_edge.errors import HemeError

if TYPE_CHECKING:
    import torch


WAIT = datetime.timedelta(hours=12)
"""How long processes wait for the first one, which alone reads and compares every picture."""


@dataclass(frozen=True)
class Team:
    """The processes of a training.

    Attributes:
        rank: of this one, from 0; 0 writes files and reports.
        size: how many there are.
        local_rank: of this one on its machine, which is its GPU.
        local_size: how many there are on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def device(self) -> torch.device:
        """This process's GPU, or the CPU."""
        import torch

        if not torch.cuda.is_available():
            return torch.device("cpu")
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            import torch

            torch.distributed.barrier()

    def agreed(self, value: Any) -> Any:
        """What the first process says, for all."""
        if self.size == 1:
            return value
        import torch

        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]


def told_team() -> Team:
    """The team of this process, from the environment that ``torchrun`` sets."""
    return Team(
        int(os.environ.get("RANK", 0)),
        int(os.environ.get("WORLD_SIZE", 1)),
        int(os.environ.get("LOCAL_RANK", 0)),
        int(os.environ.get("LOCAL_WORLD_SIZE", 1)),
    )


@contextmanager
def joined_team() -> Iterator[Team]:
    """Joins the other processes for the time of a ``with`` block."""
    import torch

    team = told_team()
    if team.size == 1:
        yield team
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(team.local_rank)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    torch.distributed.init_process_group(backend, timeout=WAIT)
    try:
        yield team
    finally:
        torch.distributed.destroy_process_group()


def launch(arguments: Sequence[str], devices: int, nodes: int) -> int:
    """Runs ``heme-train ARGUMENTS`` in ``devices`` processes on each of ``nodes`` machines.

    With several machines each one runs the same command; ``MASTER_ADDR`` and ``MASTER_PORT`` name
    the first, as for ``torchrun``, and ``NODE_RANK`` this one.

    Returns:
        the exit code.

    Raises:
        HemeError: this machine has fewer GPUs.
    """
    import torch

    if torch.cuda.is_available() and devices > torch.cuda.device_count():
        raise HemeError(f"This machine has {torch.cuda.device_count()} GPUs.", "--devices N")
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={devices}"]
    if nodes > 1:
        address, port = os.environ.get("MASTER_ADDR", "localhost"), os.environ.get("MASTER_PORT")
        command += [
            f"--nnodes={nodes}",
            f"--node-rank={os.environ.get('NODE_RANK', '0')}",
            f"--master-addr={address}",
            f"--master-port={port or 29500}",
        ]
    else:
        command.append("--standalone")
    return subprocess.run(
        [*command, "-m", "--", "heme_train.cli", *arguments], check=False
    ).returncode
