"""`--engine onnx`: published graphs become bundles that give the model's own vectors."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from embedge import Embedder
from embedge.cli import run as run_command
from embedge.export.dense import export_dense
from embedge.models.bundle import Bundle, open_bundle
from embedge.models.errors import CheckpointError, ConfigError, InvalidOption
from embedge.models.graph_file import read_graph
from embedge.models.source import SourceOverrides

TEXTS = ["Hello world", "a", "", "The quick brown fox, 42!", "x" * 30, "query: what is it?"]
TOLERANCE = 1e-5  # float32 against float64, features of unit vectors

Write = Callable[..., Path]


@pytest.fixture
def published(dense_graphs: ModuleType, tmp_path: Path) -> Write:
    """Write a folder with `model.onnx`; options are those of `DenseFile`."""

    def write(pooling: str = "mean", config: Any = None, place: str = "", **form: Any) -> Path:
        folder = tmp_path / "model"
        dense_graphs.write_side_files(folder, pooling=pooling, config=config)
        graph = dense_graphs.DenseFile(dense_graphs.random_weights(7), **form).build()
        if not form.get("fused"):  # the checker knows standard operators only
            onnx.checker.check_model(graph)
        (folder / place).mkdir(exist_ok=True)
        onnx.save(graph, folder / place / "model.onnx")
        return folder

    return write


@pytest.fixture
def expected(dense_graphs: ModuleType) -> Callable[..., NDArray[np.float64]]:
    """Vectors of the reference for texts, with the prefix given."""

    def vectors(texts: list[str], pooling: str = "mean", prefix: str = "") -> Any:
        reference = dense_graphs.Reference(dense_graphs.random_weights(7))
        tokenizer = dense_graphs.word_pieces()
        tokenizer.no_truncation()
        tokenizer.no_padding()
        rows = [tokenizer.encode(prefix + text).ids for text in texts]
        return np.array([reference.vector(row, pooling) for row in rows])

    return vectors


def export(folder: Path, **options: Any) -> Bundle:
    options.setdefault("measure", False)
    return export_dense(folder, folder.parent / "bundle", engine="onnx", **options)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"gelu": "node"},
        {"norms": "spelt"},
        {"norms": "spelt", "opset": 14},
        {"gelu": "tanh", "output": "token_embeddings"},
        {"fused": True},
    ],
    ids=["torch", "gelu", "spelt", "old", "named", "fused"],
)
def test_vectors_are_those_of_the_model_alone_and_in_a_batch(
    published: Write, expected: Callable[..., Any], form: dict[str, Any], pooling: str
) -> None:
    bundle = export(published(pooling, **form))
    tolerance = 2e-3 if form.get("gelu") == "tanh" else TOLERANCE  # another function
    with Embedder(bundle.path, variant="fp32") as embedder:
        together = embedder.encode(TEXTS, prefix="", own_prefix=False)
        alone = [embedder.encode(text, prefix="", own_prefix=False) for text in TEXTS]
    wanted = expected(TEXTS, pooling)
    np.testing.assert_allclose(wanted, together, atol=tolerance)
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_a_token_type_other_than_zero_would_give_other_vectors(
    published: Write, expected: Callable[..., Any]
) -> None:
    """The control of the test above: without the row of type 0 the vectors differ."""
    bundle = export(published(inputs=("input_ids", "attention_mask")))
    with Embedder(bundle.path, variant="fp32") as embedder:
        found = embedder.encode(TEXTS, prefix="", own_prefix=False)
    assert np.abs(expected(TEXTS) - found).max() > 0.01


def test_side_files_say_pooling_prompts_and_limit(
    published: Write, expected: Callable[..., Any]
) -> None:
    bundle = export(published("cls", place="onnx"))
    identity = bundle.manifest.identity
    assert (identity.pooling, identity.max_tokens, identity.dim) == ("cls", 48, 32)
    assert (identity.prompts["query"], identity.prompts["document"]) == ("query: ", "passage: ")
    assert bundle.manifest.name == "model"
    with Embedder(bundle.path, variant="fp32") as embedder:
        found = embedder.encode(["fox"], task="query")
    np.testing.assert_allclose(expected(["fox"], "cls", "query: "), found, atol=TOLERANCE)


def test_a_longer_text_than_the_limit_is_cut_there(
    published: Write, expected: Callable[..., Any]
) -> None:
    bundle = export(published())
    with Embedder(bundle.path, variant="fp32") as embedder:
        found = embedder.encode("a " * 100, prefix="", long_text="truncate")
    np.testing.assert_allclose(expected(["a " * 46])[0], found, atol=TOLERANCE)


def test_the_command_exports_quantizes_and_reports(
    published: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "int8"
    words = ["export", published(), out, "--engine", "onnx", "--variant", "int8", "--no-measure"]
    words += ["--name", "tiny-bert", "--license", "MIT", "--matryoshka", "32,16", "--json"]
    assert run_command([*map(str, words)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["name"] == "tiny-bert"
    manifest = open_bundle(out, verify="full").manifest
    assert manifest.architecture["engine"] == "onnx"
    assert {graph.dim for graph in manifest.graphs} == {32, 16}
    assert "dense, of the kind bert" in (out / "card.md").read_text()


def test_a_file_that_lists_its_weights_as_inputs_is_read_like_any_other(
    published: Write, expected: Callable[..., Any]
) -> None:
    folder = published(opset=14, norms="spelt")
    proto = onnx.load(folder / "model.onnx")
    for tensor in proto.graph.initializer:
        shape = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        proto.graph.input.append(shape)
    onnx.save(proto, folder / "model.onnx")
    bundle = export(folder)
    names = [value.name for value in read_graph(bundle.path / "model.onnx").graph.inputs]
    assert names == ["input_ids", "attention_mask"]
    with Embedder(bundle.path, variant="fp32") as embedder:
        found = embedder.encode(TEXTS, prefix="", own_prefix=False)
    np.testing.assert_allclose(expected(TEXTS), found, atol=TOLERANCE)


def test_the_same_file_gives_the_same_bundle(published: Write, tmp_path: Path) -> None:
    folder = published()
    first, second = (
        export_dense(folder, tmp_path / name, engine="onnx", measure=False) for name in "ab"
    )
    assert first.manifest.files == second.manifest.files
    space = first.manifest.space("fp32", 32)
    assert second.manifest.space("fp32", 32).fingerprint == space.fingerprint


def test_weights_in_a_file_of_their_own_are_part_of_the_identity(
    published: Write, dense_graphs: ModuleType
) -> None:
    folder = published()
    inside = export(folder, source=SourceOverrides(name="one"))
    graph = onnx.load(folder / "model.onnx")
    onnx.save(
        graph, folder / "model.onnx", save_as_external_data=True, location="weights",
        size_threshold=0,
    )  # fmt: skip
    outside = export_dense(folder, folder.parent / "two", engine="onnx", measure=False)
    one, two = inside.manifest.identity, outside.manifest.identity
    assert one.checkpoint_sha256 != two.checkpoint_sha256
    (folder / "weights").unlink()
    with pytest.raises(CheckpointError, match=r"keeps weights in .*, expected files beside it"):
        export_dense(folder, folder.parent / "three", engine="onnx", measure=False)


def test_weights_get_the_names_of_their_places(published: Write) -> None:
    bundle = export(published(norms="spelt", opset=14))
    graph = read_graph(bundle.path / "model.onnx").graph
    assert "encoder.layer.0.attention.self.query.weight" in graph.initializers
    assert not [name for name in graph.initializers if name.startswith("onnx::MatMul")]
    kinds = [node.op_type for node in graph]
    assert kinds.count("LayerNormalization") == 5
    assert "ReduceMean" not in kinds


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_experts": 8, "moe_top_k": 2}, r"moe_top_k is 2.*|num_experts is 8"),
        ({"is_decoder": True}, "is_decoder is true"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "auto_map"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"vocab_size": 20}, "vocab_size is 20"),
        ({"hidden_size": 64}, "hidden_size 64"),
        ({"max_position_embeddings": None}, "max_position_embeddings is missing"),
        ({"max_position_embeddings": 40}, "max_tokens is 48"),
    ],
)
def test_a_model_that_would_be_computed_wrongly_is_refused_by_field(
    published: Write, dense_graphs: ModuleType, change: dict[str, Any], told: str
) -> None:
    folder = published(config=dense_graphs.CONFIG | change)
    with pytest.raises(ConfigError, match=told):
        export(folder)
    assert not (folder.parent / "bundle").exists()


def test_experts_are_named_also_where_optimum_would_trace(
    published: Write, checkpoints: ModuleType
) -> None:
    from embedge.models.dense_config import OPTIMUM_KINDS, read_dense_config

    folder = published(config=checkpoints.tiny_config())
    with pytest.raises(ConfigError, match=r'model_type is "nomic_bert".*num_experts is 4'):
        read_dense_config(folder, OPTIMUM_KINDS)


def test_other_inputs_outputs_and_precisions_are_refused_by_name(
    published: Write, dense_graphs: ModuleType
) -> None:
    folder = published()
    proto = onnx.load(folder / "model.onnx")

    def refuse(told: str) -> None:
        onnx.save(proto, folder / "model.onnx")
        with pytest.raises(ConfigError, match=told):
            export(folder)

    proto.graph.input[2].name = "position_ids"
    refuse("input position_ids is none that we can fill")
    proto = onnx.load_model_from_string(
        dense_graphs.DenseFile(dense_graphs.random_weights(7)).build().SerializeToString()
    )
    proto.graph.output[0].type.tensor_type.shape.dim.pop(1)
    refuse("gives last_hidden_state, expected hidden states")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
        ("1_Pooling/config.json", {"pooling_mode": "lasttoken"}, "lasttoken"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "joins",
        ),
        ("modules.json", [{"type": "sentence_transformers.models.Dense"}], "Dense"),
        ("config.json", {"model_type": "bert"}, "hidden_size is missing"),
    ],
)
def test_side_files_that_ask_for_more_are_refused_by_field(
    published: Write, name: str, content: Any, told: str
) -> None:
    folder = published()
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=told):
        export(folder)


def test_a_folder_without_a_graph_names_what_it_has(published: Write) -> None:
    folder = published()
    (folder / "model.onnx").rename(folder / "model_fp16.onnx")
    with pytest.raises(CheckpointError, match=r"it has model_fp16\.onnx"):
        export(folder)


def test_opset_belongs_to_graphs_that_we_write(published: Write) -> None:
    with pytest.raises(InvalidOption, match="--opset"):
        export(published(), opset=18)


def test_optimum_without_its_packages_gives_the_commands_for_an_environment(
    published: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    from importlib.metadata import PackageNotFoundError

    import embedge.export.optimum_engine as engine

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(engine, "version", missing)
    words = ["export", str(published()), str(tmp_path / "out"), "--engine", "optimum"]
    assert run_command(words) == 2
    told = capsys.readouterr().err
    assert "python -m venv optimum-env" in told
    assert "embedge[optimum]" in told
    monkeypatch.setattr(engine, "version", lambda name: "5.24.0")
    assert run_command(words) == 2
    assert "transformers 5.24.0" in capsys.readouterr().err


@pytest.mark.usefixtures("no_sockets")
def test_a_hub_id_is_not_downloaded_for_an_engine_that_cannot_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    import embedge.export.optimum_engine as engine

    words = ["export", "maker/model", str(tmp_path / "out"), "--engine"]
    assert run_command([*words, "onnx"]) == 2
    assert "takes a folder with model.onnx" in capsys.readouterr().err
    monkeypatch.setattr(engine, "version", lambda name: "5.24.0")
    assert run_command([*words, "optimum"]) == 2
    assert "embedge[optimum]" in capsys.readouterr().err
