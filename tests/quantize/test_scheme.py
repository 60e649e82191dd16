"""The scheme of every site follows from the statistics; clipping on validation text decides."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from embedge.quantize.scheme import Options, choose_schemes, mean_inputs
from embedge.quantize.statistics import Moments, Peaks, Statistics, round_up

SITE = "layers.0.norm1"


@pytest.fixture
def statistics(
    dense_graph: ir.Model, statistics_of: Callable[..., Any], random_ids: Callable[..., Any]
) -> Statistics:
    measured: Statistics = statistics_of(dense_graph, random_ids([30] * 40))
    return measured


def with_validation(statistics: Statistics, factor: float) -> Statistics:
    """Let the validation texts of `SITE` reach `factor` times the calibrated magnitudes."""
    peaks = statistics.norms[SITE]
    changed = Peaks(peaks.calibration, (peaks.calibration * np.float32(factor)))
    return replace(statistics, norms={**statistics.norms, SITE: changed})


def test_site_is_static_where_validation_stays_inside_the_margin(
    dense_graph: ir.Model, statistics: Statistics
) -> None:
    scheme = choose_schemes(dense_graph, with_validation(statistics, 1.05), Options())[SITE]
    assert (scheme.method, scheme.margin) == ("static", 1.1)
    assert "1.050 of the calibrated range" in scheme.reason


def test_margin_is_raised_to_what_validation_needs(
    dense_graph: ir.Model, statistics: Statistics
) -> None:
    scheme = choose_schemes(dense_graph, with_validation(statistics, 1.2), Options())[SITE]
    # 1.2 * 1.02 = 1.224, next multiple of 0.02 above.
    assert (scheme.method, scheme.margin) == ("static", 1.24)
    assert scheme.smoothing is not None
    seen = statistics.norms[SITE].calibration * np.float32(1.2) / scheme.smoothing
    assert seen.max() < scheme.largest  # nothing clips


def test_site_falls_back_to_rows_where_no_margin_helps(
    dense_graph: ir.Model, statistics: Statistics
) -> None:
    scheme = choose_schemes(dense_graph, with_validation(statistics, 2.0), Options())[SITE]
    assert (scheme.method, scheme.alpha) == ("row", 0.6)
    assert "beyond any margin" in scheme.reason
    assert scheme.smoothing is not None


def test_inputs_that_no_norm_or_gelu_feeds_are_named_and_get_rows(
    dense_graph: ir.Model, statistics: Statistics
) -> None:
    schemes = choose_schemes(dense_graph, statistics, Options())
    rows = {site for site, scheme in schemes.items() if scheme.method == "row"}
    assert rows == {"layers.0.attn.out_proj.weight", "layers.1.attn.out_proj.weight"}


def test_gelu_keeps_the_larger_of_both_maxima(
    dense_graph: ir.Model, statistics: Statistics
) -> None:
    peaks = Peaks(np.array([3.0], np.float32), np.array([8.0], np.float32))
    changed = replace(statistics, gelus={**statistics.gelus, "layers.0.fc2.weight": peaks})
    scheme = choose_schemes(dense_graph, changed, Options())["layers.0.fc2.weight"]
    assert (scheme.method, scheme.largest) == ("shifted", 8.0)


def test_mean_of_few_tokens_corrects_nothing(dense_graph: ir.Model, statistics: Statistics) -> None:
    schemes = choose_schemes(dense_graph, statistics, Options())
    moments = statistics.moments["layers.0.fc2.weight"]
    rare = {"layers.0.fc2.weight": Moments(moments.mean, moments.variance, rows=99)}
    changed = replace(statistics, moments={**statistics.moments, **rare})
    assert "layers.0.fc2.weight" in mean_inputs(dense_graph, statistics, schemes)
    assert "layers.0.fc2.weight" not in mean_inputs(dense_graph, changed, schemes)


def test_mean_input_is_divided_like_the_input(
    dense_graph: ir.Model, statistics: Statistics
) -> None:
    schemes = choose_schemes(dense_graph, statistics, Options())
    means = mean_inputs(dense_graph, statistics, schemes)
    smoothing = schemes[SITE].smoothing
    assert smoothing is not None
    expected = statistics.moments["layers.0.fc1.weight"].mean / smoothing
    np.testing.assert_array_equal(expected, means["layers.0.fc1.weight"])


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(1.2345, 1.24), (1.23, 1.23), (0.0, 0.0), (99.91, 100.0), (9.991e-5, 1e-4)],
)
def test_peaks_are_rounded_up_to_three_digits(value: float, rounded: float) -> None:
    assert round_up([value])[0] == np.float32(rounded)
