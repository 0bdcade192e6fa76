"""What ``live --record`` writes of the simulated stage: size, loss and time of each kind of file.

    python -m benchmarks.recording

Loss is the peak signal-to-noise ratio over all frames and channels, dB. Time is of this process,
for each frame, encoding and writing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from heme_edge.frames.video import VideoFile
from heme_edge.live.recording import CODECS, CleanVideo
from heme_edge.sim.stage import SimulatedStage

VIEW_PX = (1280, 720)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=40)
    asked = parser.parse_args()
    stage = SimulatedStage(seed=0)
    shown = [stage.read() for _ in range(asked.frames)]
    stage.close()
    images = [frame.image for frame in shown if frame is not None]
    with tempfile.TemporaryDirectory() as folder:
        for suffix in CODECS:
            path = Path(folder) / f"smear{suffix}"
            started = time.process_time()
            video = CleanVideo(path, VIEW_PX)
            for image in images:
                video.write(image)
            video.close()
            took_ms = 1000 * (time.process_time() - started) / len(images)
            size_kb = path.stat().st_size / 1000 / len(images)
            print(f"{suffix}: {size_kb:.0f} KB, {took_ms:.1f} ms, {loss(path, images):.1f} dB")


def loss(path: Path, images: list[np.ndarray]) -> float:
    video = VideoFile(path)
    read = [frame.image for _ in images if (frame := video.read()) is not None]
    video.close()
    error = [
        np.mean((a.astype(np.float32) - b) ** 2) for a, b in zip(read, images, strict=True)
    ]  # fmt: skip
    return float(10 * np.log10(255**2 / np.mean(error)))


if __name__ == "__main__":
    main()
