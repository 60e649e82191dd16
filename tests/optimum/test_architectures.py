"""Bundles of dense models against transformers at fp32, and against numpy at INT8."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("optimum", reason="needs the extra [optimum]; `.ci/optimum` runs these tests")

from embedge import Embedder
from embedge.cli import run as run_command
from embedge.export.dense import export_dense
from embedge.models.bundle import open_bundle
from embedge.models.errors import CheckpointError, ConfigError, MissingExtra
from embedge.quantize import QuantizeReport, quantize_bundle

# torch warns about itself when transformers loads some of its models.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

KINDS = (
    "albert", "bert", "camembert", "distilbert", "electra", "modernbert", "mpnet", "roberta",
    "xlm-roberta",
)  # fmt: skip
POOLING = {"bert": "cls", "camembert": "cls", "modernbert": "cls"}
LINEARS = {"albert": 13, "electra": 13, "modernbert": 8}

# Lengths 2 to the limit, so that every batch holds padding.
TEXTS = ["hello world", "a", "", "the quick brown fox, 42!", "x" * 30, "y z " * 40]
TOLERANCE = 1e-5  # features of unit vectors


@dataclass(frozen=True)
class Made:
    """A model's folder and its two bundles."""

    kind: str
    folder: Path
    fp32: Path
    int8: Path
    report: QuantizeReport


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, make_model: Callable[..., Path]) -> Made:
    folder = make_model(request.param)
    fp32 = export_dense(folder, folder.parent / "fp32", engine="optimum", measure=False).path
    report = quantize_bundle(fp32, folder.parent / "int8", measure=False)
    return Made(request.param, folder, fp32, folder.parent / "int8", report)


def by_transformers(folder: Path, pooling: str) -> Any:
    """Vectors of the model itself, each text alone and without padding."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    vectors = []
    for text in TEXTS:
        ids = tokenizer(text, truncation=True, max_length=48)["input_ids"]
        with torch.inference_mode():
            states = model(torch.tensor([ids])).last_hidden_state[0].double().numpy()
        pooled = states[0] if pooling == "cls" else states.mean(axis=0)
        vectors.append(pooled / np.linalg.norm(pooled))
    return np.array(vectors)


def test_every_supported_kind_is_tested() -> None:
    from embedge.models.dense_config import OPTIMUM_KINDS

    assert frozenset(KINDS) == OPTIMUM_KINDS


def test_fp32_vectors_are_those_of_transformers(made: Made) -> None:
    expected = by_transformers(made.folder, POOLING.get(made.kind, "mean"))
    with Embedder(made.fp32, variant="fp32") as embedder:
        found = embedder.encode(TEXTS, prefix="", long_text="truncate")
        alone = [embedder.encode(text, prefix="", long_text="truncate") for text in TEXTS]
    np.testing.assert_allclose(expected, found, atol=TOLERANCE)
    np.testing.assert_allclose(alone, found, atol=1e-6)


def test_every_linear_is_quantized(made: Made) -> None:
    assert made.report.kept_float == {}
    assert len(made.report.tables) == 1
    assert all(scheme.reason for scheme in made.report.schemes.values())


@pytest.mark.parametrize("bits", [8, 7])
def test_every_product_equals_numpy_on_identical_inputs(
    made: Made, int8_sites: ModuleType, bits: int
) -> None:
    ids = np.random.default_rng(3).integers(5, 50, (3, 24))
    mask = np.ones_like(ids)
    ids[1, 7:], mask[1, 7:] = (0 if made.kind in ("bert", "distilbert", "electra") else 1), 0
    sites = int8_sites.sites_of(made.int8, bits, ids, mask)
    assert len(sites) == LINEARS.get(made.kind, 12)
    assert {name: value for name, value in int8_sites.worst(sites) if value > 1e-5} == {}


@pytest.mark.parametrize("variant", ["int8", "int8-avx2"])
def test_int8_vectors_stay_near_and_do_not_depend_on_the_batch(made: Made, variant: str) -> None:
    with Embedder(made.fp32, variant="fp32") as parent:
        wanted = parent.encode(TEXTS)
    with Embedder(made.int8, variant=variant) as child:
        found = child.encode(TEXTS)
        alone = np.array([child.encode(text) for text in TEXTS])
    assert (wanted * found).sum(axis=1).mean() > (0.995 if variant == "int8" else 0.98)
    np.testing.assert_array_equal(alone, found)


@pytest.mark.parametrize("opset", [19, 20])
def test_other_opsets_give_the_same_vectors(
    make_model: Callable[..., Path], tmp_path: Path, opset: int
) -> None:
    folder = make_model("bert")
    bundle = export_dense(folder, tmp_path / "b", engine="optimum", opset=opset, measure=False)
    with Embedder(bundle.path, variant="fp32") as embedder:
        found = embedder.encode(TEXTS, prefix="", long_text="truncate")
    np.testing.assert_allclose(by_transformers(folder, "cls"), found, atol=TOLERANCE)


def test_weights_that_do_not_fit_the_config_are_refused(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    folder = make_model("bert")
    lost = "encoder.layer.1.output.dense.weight"
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name: v for name, v in tensors.items() if name != lost}, folder / "model.safetensors"
    )
    with pytest.raises(CheckpointError, match=f"missing.*{lost}"):
        export_dense(folder, tmp_path / "out", engine="optimum")
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_transformers_reads_otherwise_is_refused(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_model("bert")
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "BertTokenizer", "do_lower_case": false}'
    )
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json changes it"):
        export_dense(folder, tmp_path / "out", engine="optimum")


def test_positions_that_count_from_another_padding_are_refused(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_model("roberta", pad_token_id=5)
    with pytest.raises(ConfigError, match="pad_token_id is 5"):
        export_dense(folder, tmp_path / "out", engine="optimum")


def test_a_newer_transformers_is_refused_with_the_way_out(monkeypatch: Any) -> None:
    import embedge.export.optimum_engine as engine

    monkeypatch.setattr(engine, "version", lambda name: "4.58.1")
    with pytest.raises(MissingExtra, match=r"transformers 4\.58\.1.*optimum-env"):
        engine.require_optimum()


def test_the_command_traces_quantizes_and_reports(
    make_model: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", make_model("bert"), tmp_path / "out", "--engine", "optimum"]
    words += ["--variant", "int8", "--keep-parent", "--no-measure", "--json"]
    assert run_command([*map(str, words)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["manifest"]["architecture"]["engine"] == "optimum"
    parent = open_bundle(tmp_path / "out-fp32", verify="full").manifest
    assert parent.measured["checks"]["transformers max-abs"] <= TOLERANCE  # type: ignore[call-overload, index, operator]  # numbers in an object
    assert parent.tools["torch"].startswith("2.13.0")
