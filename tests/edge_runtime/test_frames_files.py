"""Videos and photo folders that are damaged, empty or something else; the spec itself."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from heme_edge.errors import SourceError
from heme_edge.frames import open_source
from heme_edge.frames.folder import PhotoFolder
from heme_edge.frames.video import VideoFile
from tests.edge_runtime.test_frames_kit import number_of, write_photos, write_video


@pytest.mark.parametrize("spec", ["no/such/file.mp4", "", "ftp://x/y", "camera", "-1"])
def test_an_unknown_spec_is_one_sentence(spec: str) -> None:
    with pytest.raises(SourceError, match="There is no camera, stream, video or folder") as caught:
        open_source(spec)
    assert "sim" in caught.value.hint


def test_text_named_avi_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "notes.avi"
    path.write_text("not a video\n" * 50)
    with pytest.raises(SourceError, match="is not a video that can be read"):
        open_source(str(path))


def test_an_empty_file_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    with pytest.raises(SourceError, match="is not a video"):
        open_source(str(path))


def test_a_truncated_video_gives_its_frames_then_says_so(tmp_path: Path) -> None:
    path = write_video(tmp_path / "smear.avi", 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(str(path))
    numbers: list[int] = []
    error = None
    while error is None:
        try:
            frame = source.read()
        except SourceError as caught:
            error = caught
        else:
            assert frame is not None
            numbers.append(number_of(frame.image))
    source.close()
    assert f"breaks off after {len(numbers)} of 40 frames" in error.message
    assert 10 < len(numbers) < 25
    assert numbers[:-1] == list(range(len(numbers) - 1))


def test_a_folder_passes_over_bad_photos_and_lists_them(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", 12)
    (folder / "field 3.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("ignored")
    source = open_source(str(folder))
    assert isinstance(source, PhotoFolder)
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    assert [number_of(f.image) for f in frames] == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]
    assert [f.index for f in frames] == list(range(11))
    assert [frames[0].name, frames[-1].name] == ["field 0.png", "field 11.tif"]
    assert [name for name, _ in source.skipped] == ["field 3.png"]
    assert source.skipped[0][1]


def test_names_are_relative_to_the_folder(tmp_path: Path) -> None:
    write_photos(tmp_path / "slide 1", 1)
    frame = open_source(str(tmp_path)).read()
    assert frame is not None
    assert frame.name == "slide 1/field 0.png"


def test_a_folder_without_photos(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no photo"):
        open_source(str(tmp_path))


def test_a_folder_of_bad_photos_only(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match="None of the 1 photos") as caught:
        open_source(str(tmp_path)).read()
    assert "a.png" in caught.value.hint


def test_importing_the_package_does_not_load_opencv() -> None:
    code = "import sys, heme_edge.frames; print('cv2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_video_in_real_time_drops_what_is_late_and_waits_for_what_is_early(
    tmp_path: Path,
) -> None:
    video = VideoFile(write_video(tmp_path / "smear.avi", 40), real_time=True)
    frames, started = [], time.monotonic()
    while (frame := video.read()) is not None:
        frames.append(frame)
        assert time.monotonic() >= frame.captured_s
        if len(frames) == 5:
            time.sleep(0.3)
    took = time.monotonic() - started
    numbers = [frame.index for frame in frames]
    assert numbers == [number_of(frame.image) for frame in frames]
    assert numbers[:5] == [0, 1, 2, 3, 4]
    assert numbers[5] >= 10
    assert numbers[-1] == 39
    assert video.captured == 40
    assert took >= 38 / 25


def test_a_video_in_real_time_that_is_closed_while_it_waits_ends(tmp_path: Path) -> None:
    video = VideoFile(write_video(tmp_path / "smear.avi", 40), real_time=True)
    assert video.read() is not None
    video.close()
    assert video.read() is None
