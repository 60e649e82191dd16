"""The checkpoint: which tensors it must hold, and lazy access to them.

The contract is written out here, apart from the encoder that uses the tensors, so that a mistake
in one shows against the other.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from embedge.models.bundle import file_sha256
from embedge.models.config import EncoderConfig, read_config
from embedge.models.errors import CheckpointError
from embedge.models.tensor_file import Float32, TensorFile

SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")

Shape = tuple[int, ...]


def tensor_shapes(config: EncoderConfig) -> dict[str, Shape]:
    """Return every tensor that a checkpoint of this config holds, with its shape."""
    h = config.hidden
    shapes: dict[str, Shape] = {
        "embeddings.word_embeddings.weight": (config.vocabulary, h),
        "embeddings.token_type_embeddings.weight": (1, h),
        **_with_bias("emb_ln", (h,)),
    }
    if config.rotary_base is None:
        shapes["embeddings.position_embeddings.weight"] = (config.positions, h)
    for i in range(config.layers):
        shapes |= {
            f"encoder.layers.{i}.{name}": shape for name, shape in _layer_shapes(config, i).items()
        }
    return shapes


def _layer_shapes(config: EncoderConfig, layer: int) -> dict[str, Shape]:
    h, f = config.hidden, config.inner
    shapes = {
        **_with_bias("attn.Wqkv", (3 * h, h)),
        **_with_bias("attn.out_proj", (h, h)),
        **_with_bias("norm1", (h,)),
        **_with_bias("norm2", (h,)),
    }
    if not config.is_moe(layer):
        return shapes | _with_bias("mlp.fc1", (f, h)) | _with_bias("mlp.fc2", (h, f))
    # The expert axis is outermost: expert e owns rows e*f..(e+1)*f of w1 and w2. The router has
    # no bias, and one output bias serves all experts.
    return shapes | {
        "mlp.router.layer.weight": (config.experts, h),
        "mlp.experts.mlp.w1": (config.experts * f, h),
        "mlp.experts.mlp.w2": (config.experts * f, h),
        "mlp.experts.bias": (h,),
    }


def _with_bias(name: str, shape: Shape) -> dict[str, Shape]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


@dataclass(frozen=True)
class Checkpoint:
    """A checked checkpoint: its config, and its tensors one at a time."""

    path: Path
    config: EncoderConfig
    files: tuple[TensorFile, ...]

    @cached_property
    def sha256(self) -> str:
        """Hash of the weights: of the one file, or of the sorted hex hashes of all shards."""
        return weights_sha256([file.path for file in self.files])

    @property
    def parameters(self) -> int:
        """Number of values in all tensors."""
        total = 0
        for shape in tensor_shapes(self.config).values():
            values = 1
            for size in shape:
                values *= size
            total += values
        return total

    def tensor(self, name: str, start: int = 0, stop: int | None = None) -> Float32:
        """Return a tensor, or its rows `start..stop`, as read-only float32."""
        return self._home[name].rows(name, start, stop)

    @cached_property
    def _home(self) -> Mapping[str, TensorFile]:
        return {name: file for file in self.files for name in file.entries}


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open a checkpoint folder; no weight is read.

    Raises:
        ConfigError: the config describes an unsupported kind of model.
        CheckpointError: weights are missing, damaged, pickled, or break the tensor contract;
            every missing, extra and misshapen tensor is named in one message.
    """
    config = read_config(folder)
    files = tuple(TensorFile(path) for path in weight_files(folder))
    _require_contract(folder, config, files)
    return Checkpoint(folder, config, files)


def weights_sha256(files: Sequence[Path]) -> str:
    """Hash weights: of the one file, or of the sorted hex hashes of all."""
    hashes = sorted(file_sha256(file) for file in files)
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("\n".join(hashes).encode("ascii")).hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """Return the one weight file, or all shards that the index names.

    Raises:
        CheckpointError: there are none, some are missing, or they are Python pickles.
    """
    if (folder / SINGLE_NAME).is_file():
        return [folder / SINGLE_NAME]
    if (folder / INDEX_NAME).is_file():
        return _shards(folder / INDEX_NAME)
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise CheckpointError(
            f"{folder} holds its weights as Python pickles ({', '.join(pickles)}), and loading a "
            f"pickle can run any code that is hidden in it. Convert them to {SINGLE_NAME} on a "
            f"machine where that is acceptable, or get the safetensors form of the model."
        )
    raise CheckpointError(
        f"{folder} holds neither {SINGLE_NAME} nor {INDEX_NAME}; download the weights there"
    )


def _shards(index: Path) -> list[Path]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(weight_map.values()))
        plain = all(Path(name).name == name for name in shards)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{index} is damaged: {error!r}, expected a weight_map; download it again"
        ) from error
    if not shards or not plain:
        raise CheckpointError(f"{index} names the files {shards}, expected plain names beside it")
    missing = [name for name in shards if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{index.parent} lacks {len(missing)} of {len(shards)} weight files: "
            f"{', '.join(missing)}. Download them again."
        )
    return [index.parent / name for name in shards]


def _require_contract(folder: Path, config: EncoderConfig, files: tuple[TensorFile, ...]) -> None:
    expected = tensor_shapes(config)
    found: dict[str, Shape] = {}
    twice = []
    for file in files:
        for name, entry in file.entries.items():
            if name in found:
                twice.append(name)
            found[name] = entry.shape
    problems = list(_tensor_problems(expected, found))
    if twice:
        problems.append(f"{len(twice)} in more than one file ({', '.join(sorted(twice))})")
    if problems:
        raise CheckpointError(
            f"{folder} does not match its config.json: {'; '.join(problems)}. "
            f"Take config and weights of the same revision."
        )


def _tensor_problems(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> Iterator[str]:
    missing = sorted(expected.keys() - found.keys())
    if missing:
        yield f"{len(missing)} tensors missing ({', '.join(missing)})"
    extra = sorted(found.keys() - expected.keys())
    if extra:
        yield f"{len(extra)} unknown tensors ({', '.join(extra)})"
    wrong = [
        f"{name} is {list(found[name])}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if wrong:
        yield f"{len(wrong)} misshapen tensors ({', '.join(wrong)})"
