"""`quantize_bundle`: what it writes, refuses, measures and leaves behind."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedge.models.bundle import open_bundle
from embedge.models.errors import BundleError, InvalidOption, ModelIntegrityError
from embedge.models.manifest import read_manifest
from embedge.models.sample_texts import SampleText, measurement_texts
from embedge.models.source import SourceOverrides
from embedge.quantize import quantize_bundle
from embedge.quantize.bundle_parts import Recipe
from embedge.quantize.calibrate import calibrate
from embedge.quantize.pipeline import Watch, write_quantized
from embedge.quantize.scheme import Options


@pytest.fixture
def few_texts(monkeypatch: pytest.MonkeyPatch) -> list[SampleText]:
    """Let calibration and measurement use small sets."""
    texts = measurement_texts()
    measured, calibrated = texts[::40], texts[1::40]
    monkeypatch.setattr("embedge.quantize.measure.measurement_texts", lambda: measured)
    monkeypatch.setattr("embedge.quantize.pipeline.calibration_texts", lambda: calibrated)
    return measured


def test_bundle_holds_both_variants_at_every_size_over_one_weight_file(
    tiny_bundle: Path, tiny_int8: Path
) -> None:
    bundle = open_bundle(tiny_int8, verify="full")
    files = {(g.variant, g.dim): g.file for g in bundle.manifest.graphs}
    assert files == {
        ("int8", 32): "model.onnx", ("int8", 16): "model-16.onnx",
        ("int8-avx2", 32): "model-avx2.onnx", ("int8-avx2", 16): "model-avx2-16.onnx",
    }  # fmt: skip
    names = {"weights.bin", "tokenizer.json", "calibration.json", "selftest.json"}
    assert names <= bundle.manifest.files.keys()
    assert bundle.manifest.files["weights.bin"].size < (tiny_bundle / "weights.bin").stat().st_size


def test_manifest_names_recipe_parent_and_what_every_site_got(
    tiny_bundle: Path, tiny_int8: Path
) -> None:
    manifest, parent = read_manifest(tiny_int8), read_manifest(tiny_bundle)
    assert manifest.recipes == {"int8": "int8/1", "int8-avx2": "int8/1"}
    assert manifest.identity == replace(parent.identity, variant="int8", recipe="int8/1")
    assert manifest.parent["space"] == parent.space("fp32", 32).fingerprint
    assert manifest.measured == {}
    sites: Any = manifest.calibration["sites"]
    assert {site["method"] for site in sites.values()} == {"static", "shifted", "row"}
    assert all(site["reason"] for site in sites.values())


def test_same_statistics_give_the_same_bytes(tiny_bundle: Path, tmp_path: Path) -> None:
    parent = open_bundle(tiny_bundle)
    statistics = calibrate(parent, measurement_texts()[::60], threads=1)
    recipe = Recipe(Options(), own_texts=False, statistics=statistics)
    written = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        write_quantized(parent, folder, (32, 16), recipe, Watch())
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]
    assert {"weights.bin", "model.onnx", "model-avx2-16.onnx"} <= written[0].keys()


@pytest.mark.usefixtures("few_texts")
def test_dim_writes_only_the_graphs_of_that_size(tiny_bundle: Path, tmp_path: Path) -> None:
    report = quantize_bundle(tiny_bundle, tmp_path / "small", dims=[16])
    graphs = read_manifest(report.bundle).graphs
    assert {graph.file for graph in graphs} == {"model-16.onnx", "model-avx2-16.onnx"}
    # All trained sizes are measured from the uncut vectors.
    assert set(report.distances["int8"].sizes) == {32, 16}


@pytest.mark.usefixtures("few_texts")
def test_distance_is_measured_printed_and_stored(tiny_bundle: Path, tmp_path: Path) -> None:
    report = quantize_bundle(tiny_bundle, tmp_path / "out")
    manifest = read_manifest(report.bundle)
    stored: Any = manifest.measured["against_parent"]
    assert stored["int8"] == json.loads(json.dumps(report.distances["int8"].to_json()))
    assert report.distances["int8"].full.mean > report.distances["int8-avx2"].full.mean > 0.99
    assert report.distances["int8"].routing_agreement.keys() == {"encoder.layers.1.mlp"}
    assert 0.9 < report.distances["int8"].routing_agreement["encoder.layers.1.mlp"] <= 1
    assert {dim: len(r) for dim, r in manifest.output_ranges.items()} == {"32": 32, "16": 16}
    text = str(report)
    assert re.search(r"int8-avx2 at 16 against fp32 on \d+ texts: cosine mean 0\.99", text)
    assert "encoder.layers.1.mlp.router.layer.weight: float; router" in text
    assert "calibrate" in text
    assert report.seconds.keys() == {"calibrate", "quantize", "measure"}


@pytest.mark.usefixtures("few_texts")
def test_own_text_marks_the_recipe(tiny_bundle: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("\n".join(f"the river house {n}" for n in range(40)), encoding="utf-8")
    report = quantize_bundle(tiny_bundle, tmp_path / "out", calibrate=[own], measure=False)
    recipe = read_manifest(report.bundle).identity.recipe
    assert re.fullmatch(r"int8/1\+[0-9a-f]{8}", recipe)


def test_other_options_mark_the_recipe(tiny_bundle: Path) -> None:
    statistics = calibrate(open_bundle(tiny_bundle), measurement_texts()[::200], threads=1)
    names = {
        Recipe(options, own_texts=False, statistics=statistics).name
        for options in (Options(), Options(margin=1.2), Options(row_alpha=0.5))
    }
    assert len(names) == 3
    assert "int8/1" in names


@pytest.fixture
def demanding_bundle(tiny_checkpoint: Path, tmp_path: Path) -> Callable[[float], Path]:
    """Export a bundle whose source declares floors for the mean cosine."""
    from embedge.export import export_checkpoint

    def make(mean: float) -> Path:
        floors = {"int8": {"mean": mean}, "int8-avx2": {"mean": 0.9}}
        source = SourceOverrides(floors=floors)
        return export_checkpoint(tiny_checkpoint, tmp_path / "parent", source=source).path

    return make


@pytest.mark.usefixtures("few_texts")
def test_missed_floor_leaves_no_bundle(
    demanding_bundle: Callable[[float], Path], tmp_path: Path
) -> None:
    parent = demanding_bundle(0.9999999)
    with pytest.raises(ModelIntegrityError, match=r"int8 mean is 0\.\d+, floor 0.9999999"):
        quantize_bundle(parent, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"parent"}


@pytest.mark.usefixtures("few_texts")
def test_kept_floors_go_into_the_new_manifest(
    demanding_bundle: Callable[[float], Path], tmp_path: Path
) -> None:
    report = quantize_bundle(demanding_bundle(0.99), tmp_path / "out")
    assert read_manifest(report.bundle).floors["int8"] == {"mean": 0.99}


def test_untrained_size_is_refused_before_any_work(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=r"not trained for \[24\]; choose among 32, 16"):
        quantize_bundle(tiny_bundle, tmp_path / "out", dims=[24])
    assert not any(tmp_path.iterdir())


def test_int8_bundle_is_not_quantized_again(tiny_int8: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="quantizing starts from fp32"):
        quantize_bundle(tiny_int8, tmp_path / "out")


def test_int8_avx2_is_not_written_by_itself(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="whose bundle holds int8-avx2 too"):
        quantize_bundle(tiny_bundle, tmp_path / "out", variant="int8-avx2")


def test_existing_folder_is_kept(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(BundleError, match="exists already"):
        quantize_bundle(tiny_bundle, tmp_path / "out")


def test_smaller_graph_equals_the_cut_of_the_full_one(
    tiny_int8: Path, run: Callable[..., Any], random_ids: Callable[..., Any]
) -> None:
    from embedge.models.graph_file import read_graph

    ids = random_ids([5, 20], vocabulary=600)
    pooled = run(read_graph(tiny_int8 / "model.onnx"), ids, ["pooled"])[0][:, :16]
    small = run(read_graph(tiny_int8 / "model-16.onnx"), ids, ["embedding"])[0]
    np.testing.assert_allclose(
        pooled / np.linalg.norm(pooled, axis=1, keepdims=True), small, atol=1e-6
    )
