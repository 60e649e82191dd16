"""Calibration sees what a naive pass over every text alone sees, padding left out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from embedge.models.bundle import open_bundle
from embedge.models.errors import InputError
from embedge.models.sample_texts import SampleText
from embedge.quantize.calibrate import calibrate, split_by_language
from embedge.quantize.linears import find_linears
from embedge.quantize.statistics import Statistics
from embedge.quantize.token_batches import texts_of_files, token_batches

TEXTS = [
    SampleText(language, "document", text)
    for language, text in (
        ("a", "the river house"), ("b", "night word and memory"), ("c", "ein haus"),
        ("d", "le 42 !? on est une computer vector text " * 3), ("a", "x"), ("b", "и в не на"),
    )
]  # fmt: skip


def values_alone(model: ir.Model, run: Callable[..., Any], rows: list[Any], name: str) -> list[Any]:
    """Values of one name for every text by itself, without padding."""
    copy = model.clone()
    value = next(v for node in copy.graph for v in node.outputs if v.name == name)
    value.type = ir.TensorType(ir.DataType.FLOAT)
    copy.graph.outputs.append(value)
    return [run(copy, row[None], [name])[0] for row in rows]


@pytest.fixture
def rows(tiny_bundle: Path) -> Callable[[list[SampleText]], list[Any]]:
    bundle = open_bundle(tiny_bundle)

    def of(texts: list[SampleText]) -> list[Any]:
        batches = token_batches(bundle, texts)
        return [
            ids[: int(mask.sum())]
            for batch in batches
            for ids, mask in zip(batch.ids, batch.mask, strict=True)
        ]

    return of


def test_peaks_and_moments_equal_a_pass_over_single_texts(
    tiny_bundle: Path,
    moe_graph: ir.Model,
    run: Callable[..., Any],
    rows: Callable[..., Any],
) -> None:
    found = calibrate(open_bundle(tiny_bundle), TEXTS, threads=1)
    parts = split_by_language(TEXTS)
    for linear in find_linears(moe_graph.graph).found:
        if linear.name not in ("encoder.layers.0.mlp.fc1.weight", "encoder.layers.0.mlp.fc2.weight",
                               "encoder.layers.1.mlp.experts.mlp.w2.2"):  # fmt: skip
            continue
        name = str(linear.source.name)
        sets = [np.concatenate(values_alone(moe_graph, run, rows(part), name)) for part in parts]
        everything = np.concatenate(sets)
        moments = found.moments[linear.name]
        assert moments.rows == len(everything)
        np.testing.assert_allclose(everything.mean(axis=0), moments.mean, rtol=6e-3, atol=1e-6)
        if linear.kind == "norm":
            spread = everything.var(axis=0)
            np.testing.assert_allclose(spread, moments.variance, rtol=2e-2, atol=1e-6)
            for seen, kept in zip(sets, _both(found, linear.site), strict=True):
                largest = np.abs(seen).max(axis=0)
                assert (largest <= kept).all()
                np.testing.assert_allclose(largest, kept, rtol=1.01e-2)


def _both(found: Statistics, site: str) -> tuple[Any, Any]:
    return found.norms[site].calibration, found.norms[site].validation


def test_experts_of_a_layer_share_one_maximum(tiny_bundle: Path) -> None:
    found = calibrate(open_bundle(tiny_bundle), TEXTS, threads=1)
    assert set(found.gelus) == {
        "encoder.layers.0.mlp.fc2.weight",
        "encoder.layers.1.mlp.experts.mlp.w2",
    }
    assert all(peaks.calibration.shape == (1,) for peaks in found.gelus.values())


def test_every_text_and_token_is_counted_once(tiny_bundle: Path, rows: Callable[..., Any]) -> None:
    steps: list[tuple[str, int, int | None]] = []
    found = calibrate(
        open_bundle(tiny_bundle), TEXTS, threads=1, progress=lambda *step: steps.append(step)
    )
    assert found.tokens == sum(len(row) for row in rows(TEXTS))
    assert steps[-1] == ("calibrate", found.tokens, found.tokens)


def test_validation_languages_are_others() -> None:
    calibration, validation = split_by_language(TEXTS)
    assert {row.language for row in validation} == {"d"}
    assert {row.language for row in calibration} == {"a", "b", "c"}


def test_own_texts_are_one_per_line_and_take_turns_with_prompts(tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_text("one\n\n two \n" + "\n".join(f"line {n}" for n in range(20)), encoding="utf-8")
    texts = texts_of_files([file])
    assert [row.text for row in texts[:3]] == ["one", " two ", "line 0"]
    assert {row.task for row in texts} == {"document", "query", "classification", "clustering"}
    calibration, validation = split_by_language(texts)
    assert calibration
    assert validation


@pytest.mark.parametrize(
    ("content", "message"), [(b"\xff\xfe", "not UTF-8"), (b"\n \n", "holds no text")]
)
def test_unusable_calibration_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "own.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        texts_of_files([file])


def test_missing_calibration_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        texts_of_files([tmp_path / "none.txt"])
