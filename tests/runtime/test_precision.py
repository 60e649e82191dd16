"""float16, int8 and packed signs (interface 4.3)."""

from dataclasses import replace

import numpy as np
import pytest

from embedge import Embedder, InvalidOption
from embedge.runtime.precision import convert, measure_ranges

VECTORS = np.array([[0.5, -0.25, 0.1, 0.0], [-1.0, 0.125, 0.02, 0.0]], dtype=np.float32)


def test_int8_codes_are_shares_of_a_fixed_range() -> None:
    # 0.5 / 1.0 * 127 = 63.5 rounds to even; -0.25 / 0.25 = -127; 0.1 / 0.05 clips
    codes = convert(VECTORS, "int8", [1.0, 0.25, 0.05, 0.1])
    np.testing.assert_array_equal([[64, -127, 127, 0], [-127, 64, 51, 0]], codes)
    assert codes.dtype == np.int8


def test_int8_codes_of_two_calls_compare() -> None:
    ranges = measure_ranges(VECTORS)
    one_by_one = np.stack([convert(row, "int8", ranges) for row in VECTORS])
    np.testing.assert_array_equal(convert(VECTORS, "int8", ranges), one_by_one)


def test_ranges_are_the_largest_magnitudes_and_never_zero() -> None:
    assert measure_ranges(VECTORS) == pytest.approx((1.0, 0.25, 0.1, 1e-6))


def test_ubinary_packs_the_signs_first_feature_highest() -> None:
    vector = np.array([1, -1, 0.5, 0, -2, 3, 3, 3], dtype=np.float32)
    np.testing.assert_array_equal([0b10100111], convert(vector, "ubinary", None))


def test_float16_rounds(embedder: Embedder) -> None:
    exact = embedder.encode(["the river", "a"])
    half = embedder.encode(["the river", "a"], precision="float16")
    assert half.dtype == np.float16
    np.testing.assert_array_equal(exact.astype(np.float16), half)


@pytest.mark.parametrize(
    ("precision", "dtype", "width"),
    [("float32", "f4", 32), ("float16", "f2", 32), ("ubinary", "u1", 4)],
)
def test_shapes_and_types_hold_for_no_text_one_text_and_many(
    embedder: Embedder, precision: str, dtype: str, width: int
) -> None:
    for texts, shape in ([], (0, width)), ("a", (width,)), (["a", "b"], (2, width)):
        found = embedder.encode(texts, precision=precision)  # type: ignore[call-overload]
        assert (found.dtype, found.shape) == (np.dtype(dtype), shape)


def test_int8_takes_the_ranges_of_the_size_from_the_manifest(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges = tuple(0.1 + 0.01 * n for n in range(16))
    options = embedder.loaded.options
    manifest = replace(options.manifest, output_ranges={"16": ranges})
    fixed = replace(embedder.loaded, options=replace(options, manifest=manifest))
    monkeypatch.setattr(embedder, "_model", fixed)
    vector = embedder.encode("the river", dim=16).astype(np.float64)
    expected = np.clip(np.rint(vector / ranges * 127), -127, 127)
    codes = embedder.encode("the river", dim=16, precision="int8")
    assert codes.dtype == np.int8
    np.testing.assert_array_equal(expected, codes)
    with pytest.raises(InvalidOption, match="choose a trained size"):
        embedder.encode("the river", dim=20, precision="int8")
