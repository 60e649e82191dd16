"""INT8 weights and rows: worked examples, error bounds, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedge.quantize.int8_embedding import quantize_rows
from embedge.quantize.weights import mean_correction, quantize_columns


def test_int8_error_is_at_most_half_a_step() -> None:
    weight = np.array([[-1.27], [0.0], [0.635]], dtype=np.float32)  # one column, step 0.01
    codes, scale = quantize_columns(weight)
    np.testing.assert_array_equal([[-127], [0], [64]], codes)  # 63.5 rounds to even
    assert np.abs(codes * scale - weight).max() <= 0.005 + 1e-6


@given(arrays(np.float32, (5, 4), elements=st.floats(-100, 100, width=32)))
def test_every_column_keeps_its_own_half_step(weight: np.ndarray) -> None:
    codes, scale = quantize_columns(weight)
    assert codes.min() >= -127
    assert (np.abs(codes * scale - weight) <= scale / 2 * 1.0001 + 1e-12).all()


def test_column_of_zeros_stays_zero() -> None:
    codes, scale = quantize_columns(np.zeros((3, 2), np.float32))
    assert not codes.any()
    assert (scale > 0).all()


def test_weight_with_nan_is_refused_with_its_column() -> None:
    weight = np.ones((2, 3), np.float32)
    weight[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"columns \[2\]"):
        quantize_columns(weight)


def test_each_table_row_has_a_scale_of_its_own() -> None:
    table = np.array([[1.27, -0.64], [127.0, 12.7]], np.float32)  # steps 0.01 and 1
    codes, scale = quantize_rows(table)
    np.testing.assert_array_equal([[127, -64], [127, 13]], codes)
    np.testing.assert_allclose([[0.01], [1.0]], scale, rtol=1e-6)


def test_mean_correction_gives_back_what_rounding_took_from_the_mean_output() -> None:
    # Step 1, so 0.4 becomes 0 and 126.6 becomes 127: errors 0.4, -0.4 and 0.
    weight = np.array([[0.4], [126.6], [127.0]], np.float32)
    codes, scale = quantize_columns(weight)
    correction = mean_correction(weight, codes, scale, np.array([10.0, 2.0, 5.0], np.float32))
    np.testing.assert_allclose([0.4 * 10 - 0.4 * 2], correction, rtol=1e-5)
