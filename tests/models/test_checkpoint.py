"""The tensor contract and the lazy reader of safetensors."""

import hashlib
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from embedge.models.checkpoint import open_checkpoint, tensor_shapes
from embedge.models.config import parse_config
from embedge.models.errors import CheckpointError
from embedge.models.tensor_file import TensorFile


def test_published_model_has_148_tensors_and_475_292_928_values(checkpoints: ModuleType) -> None:
    config = checkpoints.published_config()
    shapes = tensor_shapes(parse_config(config, "config.json"))
    assert len(shapes) == 148
    assert sum(math.prod(shape) for shape in shapes.values()) == 475_292_928
    assert shapes == checkpoints.tensor_shapes(config)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_every_type_and_layout_reads_as_float32(
    dtype: str, shards: int, checkpoints: ModuleType, tmp_path: Path
) -> None:
    config = checkpoints.tiny_config()
    tensors = checkpoints.random_tensors(config)
    checkpoints.write_checkpoint(tmp_path, config, tensors, dtype=dtype, shards=shards)
    weights = open_checkpoint(tmp_path)
    for name, values in tensors.items():
        read = weights.tensor(name)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, checkpoints.rounded(values, dtype))


def test_rows_are_read_without_the_rest(checkpoints: ModuleType, tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.float32).reshape(10, 6)
    checkpoints.write_safetensors(tmp_path / "x.safetensors", {"x": values})
    np.testing.assert_array_equal(
        values[3:5], TensorFile(tmp_path / "x.safetensors").rows("x", 3, 5)
    )


def test_reader_agrees_with_the_safetensors_library(
    checkpoints: ModuleType, tmp_path: Path
) -> None:
    from safetensors.numpy import save_file

    tensors = checkpoints.random_tensors(checkpoints.tiny_config())
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    file = TensorFile(path)
    assert file.entries.keys() == tensors.keys()
    for name, values in tensors.items():
        np.testing.assert_array_equal(values, file.rows(name))


def test_sha256_is_that_of_the_file_or_of_the_sorted_shard_hashes(
    checkpoints: ModuleType, tmp_path: Path
) -> None:
    config = checkpoints.tiny_config()
    tensors = checkpoints.random_tensors(config)
    single = checkpoints.write_checkpoint(tmp_path / "single", config, tensors)
    whole = hashlib.sha256((single / "model.safetensors").read_bytes()).hexdigest()
    assert open_checkpoint(single).sha256 == whole
    sharded = checkpoints.write_checkpoint(tmp_path / "sharded", config, tensors, shards=2)
    hashes = sorted(
        hashlib.sha256(path.read_bytes()).hexdigest() for path in sharded.glob("model-*")
    )
    joined = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    assert open_checkpoint(sharded).sha256 == joined


def test_missing_extra_and_misshapen_tensors_come_in_one_message(
    checkpoints: ModuleType, tmp_path: Path
) -> None:
    config = checkpoints.tiny_config()
    tensors = checkpoints.random_tensors(config)
    del tensors["emb_ln.weight"], tensors["encoder.layers.1.mlp.experts.bias"]
    tensors["encoder.layers.0.mlp.fc1.weight"] = np.zeros((32, 64), np.float32)
    tensors["encoder.layers.1.mlp.router.layer.bias"] = np.zeros(4, np.float32)
    tensors["embeddings.position_embeddings.weight"] = np.zeros((512, 32), np.float32)
    checkpoints.write_checkpoint(tmp_path, config, tensors)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path)
    message = str(caught.value)
    assert "2 tensors missing (emb_ln.weight, encoder.layers.1.mlp.experts.bias)" in message
    assert "2 unknown tensors (embeddings.position_embeddings.weight" in message
    assert "encoder.layers.0.mlp.fc1.weight is [32, 64], expected [64, 32]" in message


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth"])
def test_pickled_weights_are_refused_with_the_reason(
    name: str, checkpoints: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(checkpoints.tiny_config()))
    (tmp_path / name).write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(CheckpointError, match=f"{name}.*can run any code"):
        open_checkpoint(tmp_path)


def test_a_folder_without_weights_says_what_is_missing(
    checkpoints: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(checkpoints.tiny_config()))
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors"):
        open_checkpoint(tmp_path)


@pytest.fixture
def sharded(checkpoints: ModuleType, tmp_path: Path) -> Path:
    config = checkpoints.tiny_config()
    tensors = checkpoints.random_tensors(config)
    folder: Path = checkpoints.write_checkpoint(tmp_path / "s", config, tensors, shards=3)
    return folder


def test_missing_shards_are_all_named(sharded: Path) -> None:
    shards = sorted(sharded.glob("model-*"))
    shards[0].unlink()
    shards[2].unlink()
    with pytest.raises(CheckpointError, match=f"{shards[0].name}, {shards[2].name}"):
        open_checkpoint(sharded)


@pytest.mark.parametrize(
    "index",
    ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {}}', '{"weight_map": {"a": "../x"}}'],
)
def test_a_damaged_index_is_a_checkpoint_error(index: str, sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=r"index\.json"):
        open_checkpoint(sharded)


def test_a_tensor_in_two_shards_is_named(sharded: Path, checkpoints: ModuleType) -> None:
    shards = sorted(sharded.glob("model-*"))
    tensors = checkpoints.random_tensors(checkpoints.tiny_config())
    both = {name: tensors[name] for name in TensorFile(shards[0]).entries} | {
        name: tensors[name] for name in TensorFile(shards[1]).entries
    }
    checkpoints.write_safetensors(shards[0], both)
    with pytest.raises(CheckpointError, match="in more than one file"):
        open_checkpoint(sharded)


def header_of(data: bytes) -> tuple[dict[str, dict[str, object]], bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(header: object, values: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


def overlap(data: bytes) -> bytes:
    header, values = header_of(data)
    header["b"]["data_offsets"] = [4, 20]
    return with_header(header, values)


def beyond_the_end(data: bytes) -> bytes:
    header, values = header_of(data)
    header["b"]["data_offsets"] = [1 << 40, (1 << 40) + 16]
    return with_header(header, values)


def negative_offset(data: bytes) -> bytes:
    header, values = header_of(data)
    header["a"]["data_offsets"] = [-16, 0]
    return with_header(header, values)


def wrong_length(data: bytes) -> bytes:
    header, values = header_of(data)
    header["a"]["shape"] = [5]
    return with_header(header, values)


def integer_type(data: bytes) -> bytes:
    header, values = header_of(data)
    header["a"]["dtype"] = "I32"
    return with_header(header, values)


def entry_that_is_no_object(data: bytes) -> bytes:
    header: dict[str, object] = dict(header_of(data)[0])
    header["a"] = [1, 2]
    return with_header(header, header_of(data)[1])


@pytest.mark.parametrize(
    "damage",
    [
        overlap,
        beyond_the_end,
        negative_offset,
        wrong_length,
        integer_type,
        entry_that_is_no_object,
        pytest.param(lambda data: data[:-1], id="last_byte_missing"),
        pytest.param(lambda data: data + b"x", id="a_byte_too_many"),
        pytest.param(lambda data: data[:20], id="cut_inside_the_header"),
        pytest.param(lambda data: data[:4], id="cut_inside_the_length"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: b"\xff" * 64, id="no_safetensors_at_all"),
        pytest.param(lambda data: with_header([1], b""), id="header_is_a_list"),
        pytest.param(lambda data: data[:8] + b"\x00" + data[9:], id="header_is_no_json"),
    ],
)
def test_a_damaged_file_is_a_checkpoint_error_that_names_it(
    damage: Callable[[bytes], bytes], checkpoints: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {"a": np.ones(4, np.float32), "b": np.ones(4, np.float32)}
    checkpoints.write_safetensors(path, tensors)
    TensorFile(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        TensorFile(path)
