import subprocess
from io import BytesIO

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from lineament.errors import ConfigError, StorageError
from lineament.store.video import animation_bytes, read_comment, save_animation


@pytest.fixture
def frames() -> np.ndarray:
    """Six frames of odd sides, a grey that brightens."""
    return np.stack([np.full((33, 47, 3), 40 * k, np.uint8) for k in range(6)])


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_pillow_animations_loop_over_all_frames(frames, suffix):
    with Image.open(BytesIO(animation_bytes(frames, suffix, fps=20.0, comment="yaw=+20"))) as picture:
        assert picture.size == (47, 33)
        assert picture.n_frames == 6
        assert picture.info["loop"] == 0
        picture.seek(5)
        assert abs(int(np.asarray(picture.convert("RGB")).mean()) - 200) < 6
        if suffix == ".gif":
            assert picture.info["duration"] == 50


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_what_was_written_into_it_is_read_back(frames, suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    save_animation(path, frames, comment="yaw=+20; faces of b.png")
    assert read_comment(path) == "yaw=+20; faces of b.png"
    save_animation(path, frames)
    assert read_comment(path) == ""


def test_a_webp_says_in_ascii_what_is_not(frames, tmp_path):
    path = tmp_path / "a.webp"
    save_animation(path, frames, comment="Blüte 5°")
    assert read_comment(path) == r"Bl\xfcte 5\xb0"


def test_mp4_is_playable_and_padded_to_even_sides(frames, tmp_path):
    path = tmp_path / "a.mp4"
    save_animation(path, frames, fps=12.0, comment="yaw=+20")
    assert path.read_bytes()[4:8] == b"ftyp"
    assert b"yaw=+20" in path.read_bytes()
    command = [get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    decoded = np.frombuffer(raw, np.uint8).reshape(6, 34, 48, 3)
    assert abs(float(decoded[5].mean()) - 200) < 4
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("count", "suffix", "fps", "message"),
    [(6, ".avi", 24.0, "rename"), (0, ".gif", 24.0, "more frames"), (6, ".gif", 0.0, "fps is 0")],
)
def test_what_cannot_be_an_animation_is_refused(frames, count, suffix, fps, message):
    with pytest.raises(ConfigError, match=message):
        animation_bytes(frames[:count], suffix, fps=fps)


def test_a_failed_save_leaves_nothing(frames, tmp_path):
    with pytest.raises(StorageError):
        save_animation(tmp_path / "missing" / "a.gif", frames)
    assert list(tmp_path.iterdir()) == []
