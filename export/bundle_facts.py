"""What an fp32 bundle says about itself, whichever way its graph was made."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from embedge.models.bundle import TOKENIZER_NAME
from embedge.models.errors import CheckpointError
from embedge.models.manifest import GraphEntry, Json, Manifest
from embedge.models.source import Source
from embedge.models.space import Identity, canonical_json
from embedge.runtime.cpu import cpu_model

RECIPE = "fp32/1"

_TOOLS = ("embedge", "numpy", "onnx", "onnx_ir", "onnxruntime", "onnxscript")


def tokenizer_file(folder: Path) -> Path:
    """Return the path of the checkpoint's tokenizer.

    Raises:
        CheckpointError: there is none.
    """
    path = folder / TOKENIZER_NAME
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {TOKENIZER_NAME}; copy it there from the model")
    return path


def fp32_manifest(
    source: Source,
    *,
    checkpoint_sha256: str,
    tokenizer_sha256: str,
    full: int,
    architecture: Mapping[str, Json],
    tools: Mapping[str, str],
) -> Manifest:
    """Describe an fp32 bundle with a graph for every trained size; nothing is measured yet."""
    identity = Identity(
        checkpoint_sha256=checkpoint_sha256,
        tokenizer_sha256=tokenizer_sha256,
        variant="fp32",
        recipe=RECIPE,
        pooling=source.pooling,
        dim=full,
        normalized=True,
        max_tokens=source.max_tokens,
        prompts=dict(source.prompts),
    )
    return Manifest(
        name=source.name,
        short_name=source.short_name,
        # A checkpoint without a published revision is named by its own bytes.
        revision=source.revision or checkpoint_sha256[:12],
        license=source.license,
        identity=identity,
        recipes={"fp32": RECIPE},
        graphs=tuple(
            GraphEntry("fp32", dim, "model.onnx" if dim == full else f"model-{dim}.onnx")
            for dim in source.matryoshka
        ),
        matryoshka=source.matryoshka,
        prompt_aliases=dict(source.prompt_aliases),
        architecture=architecture,
        floors=source.floors,
        tools=tools,
        sources=source.sources,
    )


def graph_metadata(manifest: Manifest) -> dict[str, str]:
    """What another runtime needs to use a proto; graphs made from this one may carry it too."""
    identity = manifest.identity
    return {
        "embedge.name": manifest.name,
        "embedge.revision": manifest.revision,
        "embedge.license": manifest.license,
        "embedge.pooling": identity.pooling,
        "embedge.max_tokens": str(identity.max_tokens),
        "embedge.trained_sizes": canonical_json(list(manifest.matryoshka)),
        "embedge.prompts": canonical_json(dict(identity.prompts)),
    }


def tool_versions(*more: str) -> dict[str, str]:
    """Return the versions of everything that writes a bundle, and the processor's name."""
    tools = {name: version(name) for name in (*_TOOLS, *more)}
    return tools | {"cpu": cpu_model()}
