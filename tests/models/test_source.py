"""Name, sizes and prompts: built in, from flags, from the side file, from the folder."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from embedge.models.config import read_config
from embedge.models.errors import ConfigError
from embedge.models.source import (
    PUBLISHED_CONFIG,
    PUBLISHED_REVISION,
    Source,
    SourceOverrides,
    is_published,
    read_source,
)


@pytest.fixture
def folder(checkpoints: ModuleType, tmp_path: Path) -> Path:
    path = tmp_path / "My_Model-2"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(checkpoints.tiny_config()))
    return path


def write(folder: Path, name: str, content: Any) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def read(folder: Path, **flags: Any) -> Source:
    return read_source(folder, read_config(folder), SourceOverrides(**flags))


def test_a_bare_folder_gives_its_name_and_no_prompts(folder: Path) -> None:
    source = read(folder)
    assert (source.name, source.short_name) == ("My_Model-2", "mymodel2")
    assert source.matryoshka == (32,)
    assert source.max_tokens == 512
    assert set(source.prompts.values()) == {""}
    assert source.revision is None
    assert source.floors == {}


def test_any_folder_name_gives_a_plain_model_name(checkpoints: ModuleType, tmp_path: Path) -> None:
    for name, plain in (("My model (v2)", "My-model-v2"), ("模型", "model"), ("a+b", "a-b")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(checkpoints.tiny_config()))
        assert read(folder).name == plain


def test_sentence_transformers_files_give_prompts_aliases_and_limit(folder: Path) -> None:
    table = {
        "query": "q: ", "passage": "d: ", "Classification": "c: ", "STS": "c: ", "Speed": "d: ",
        "Clustering": "k: ", "Other": "o: ",
    }  # fmt: skip
    write(folder, "config_sentence_transformers.json", {"prompts": table})
    write(folder, "sentence_bert_config.json", {"max_seq_length": 128})
    source = read(folder)
    assert source.prompts == {
        "query": "q: ", "document": "d: ", "classification": "c: ", "clustering": "k: ",
    }  # fmt: skip
    assert source.prompt_aliases == {
        "passage": "document", "Speed": "document", "Clustering": "clustering",
        "Classification": "classification", "STS": "classification",
    }  # fmt: skip
    assert source.max_tokens == 128


def test_flags_win_over_the_side_file_and_that_over_the_folder(folder: Path) -> None:
    write(folder, "sentence_bert_config.json", {"max_seq_length": 128})
    side = {"name": "side", "license": "MIT", "matryoshka": [32, 8], "max_tokens": 64}
    write(folder, "embedge-source.json", side)
    source = read(folder, name="flag", matryoshka=(32, 16))
    assert (source.name, source.short_name, source.license) == ("flag", "flag", "MIT")
    assert (source.matryoshka, source.max_tokens) == ((32, 16), 64)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("matryoshka", [16, 32]),
        ("matryoshka", [64, 32]),
        ("matryoshka", [32, 32]),
        ("matryoshka", [32, 0]),
        ("matryoshka", []),
        ("matryoshka", "32"),
        ("matryoshka", [32.0]),
        ("prompts", {"query": "q"}),
        ("prompts", ["q"]),
        ("prompts", {"query": 1, "document": "", "classification": "", "clustering": ""}),
        ("prompt_aliases", {"passage": "nothing"}),
        ("max_tokens", 513),
        ("max_tokens", 8),
        ("name", ""),
        ("license", 3),
        ("nmae", "x"),
        ("name", "a/b"),
        ("short_name", "a b"),
        ("revision", "x/y"),
        ("floors", 3),
        ("floors", {"int8": 3}),
        ("floors", {"int8": {"mean": "high"}}),
        ("floors", {"int9": {"mean": 0.9}}),
        ("sources", [1]),
        ("sources", {"what": "weights"}),
        ("prompt_aliases", {"passage": ["document"]}),
    ],
)
def test_impossible_values_are_refused_by_name(key: str, value: Any, folder: Path) -> None:
    write(folder, "embedge-source.json", {key: value})
    with pytest.raises(ConfigError, match=key):
        read(folder)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True}, "cls_token"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False}, "mean of all tokens"),
        ("1_Pooling/config.json", {"include_prompt": False}, "prompt out of the mean"),
        ("modules.json", [{"type": "sentence_transformers.models.Dense"}], "Dense"),
    ],
)
def test_another_pooling_is_refused(name: str, content: Any, told: str, folder: Path) -> None:
    write(folder, name, content)
    with pytest.raises(ConfigError, match=told):
        read(folder)


@pytest.fixture
def like_published(
    checkpoints: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder that passes for the published one, with a vocabulary that fits into a test."""
    from dataclasses import replace

    import embedge.models.source as module

    config = checkpoints.tiny_config(n_positions=2048)
    path: Path = tmp_path / "any-name"
    tensors = checkpoints.random_tensors(config)
    word = tensors["embeddings.word_embeddings.weight"]
    word[1] = np.linspace(-1.499232e-02, 1e-2, 32, dtype=np.float32)
    checkpoints.write_checkpoint(path, config, tensors)
    monkeypatch.setattr(module, "PUBLISHED_CONFIG", read_config(path))
    values = replace(module._PUBLISHED, matryoshka=(32, 16))
    monkeypatch.setattr(module, "_PUBLISHED", values)
    return path


def test_published_weights_are_recognised_by_their_pad_row_in_any_folder(
    like_published: Path,
) -> None:
    source = read(like_published)
    assert (source.name, source.short_name) == ("nomic-embed-text-v2-moe", "nv2m")
    assert source.revision == PUBLISHED_REVISION
    assert source.license == "Apache-2.0"
    assert source.prompts["document"] == "search_document: "
    assert source.prompt_aliases["passage"] == "document"
    assert source.floors["int8"] == {"mean": 0.998, "language": 0.997, "p1": 0.994}
    assert source.is_published


def test_published_weights_are_recognised_in_shards_too(
    like_published: Path, checkpoints: ModuleType
) -> None:
    from embedge.models.tensor_file import TensorFile

    single = TensorFile(like_published / "model.safetensors")
    tensors = {name: single.rows(name) for name in single.entries}
    (like_published / "model.safetensors").unlink()
    config = checkpoints.tiny_config(n_positions=2048)
    checkpoints.write_checkpoint(like_published, config, tensors, shards=3)
    assert read(like_published).is_published


def test_weights_of_the_same_shape_with_another_pad_row_are_not_the_published_ones(
    like_published: Path, checkpoints: ModuleType
) -> None:
    tensors = checkpoints.random_tensors(checkpoints.tiny_config(n_positions=2048))
    checkpoints.write_safetensors(like_published / "model.safetensors", tensors)
    assert not read(like_published).is_published


def test_another_config_is_not_the_published_one(tiny_checkpoint: Path) -> None:
    assert read_config(tiny_checkpoint) != PUBLISHED_CONFIG
    assert not is_published(tiny_checkpoint, read_config(tiny_checkpoint))
