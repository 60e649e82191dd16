"""A folder with a plain `model.onnx`, as Sentence Transformers and others publish it."""

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from embedge.models.config import CONFIG_NAME
from embedge.models.errors import CheckpointError
from embedge.models.graph_file import read_graph

_PLACES = ("model.onnx", "onnx/model.onnx")


@dataclass(frozen=True)
class OnnxFolder:
    """Where a published graph and its side files lie.

    Attributes:
        graph: `model.onnx`.
        files: the graph and the files that hold its weights.
        side: folder of config.json, tokenizer.json and the files of Sentence Transformers.
    """

    graph: Path
    files: tuple[Path, ...]
    side: Path


def find_onnx(folder: Path) -> OnnxFolder:
    """Find the graph in `folder` or in its `onnx/`, with side files there or one level above.

    Raises:
        CheckpointError: there is no such graph, or a weight file is missing or lies elsewhere.
        BundleError: the file is not an ONNX graph.
    """
    found = [folder / place for place in _PLACES if (folder / place).is_file()]
    if not found:
        places = (folder, folder / "onnx")
        others = sorted(path.name for place in places for path in place.glob("*.onnx"))
        also = f"; it has {', '.join(others)}" if others else ""
        raise CheckpointError(f"{folder} has neither {' nor '.join(_PLACES)}{also}")
    graph = found[0]
    near = (folder, graph.parent, folder.parent)
    side = next((place for place in near if (place / CONFIG_NAME).is_file()), folder)
    return OnnxFolder(graph, (graph, *_data_files(graph)), side)


def _data_files(graph: Path) -> list[Path]:
    """Return the files beside `graph` that hold its large constants."""
    names = {
        str(value.const_value.location)
        for value in read_graph(graph).graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    outside = sorted(name for name in names if Path(name).name != name)
    missing = sorted(name for name in names if not (graph.parent / name).is_file())
    if outside or missing:
        raise CheckpointError(
            f"{graph} keeps weights in {', '.join(outside or missing)}, expected files beside it; "
            f"download all of them into one folder"
        )
    return sorted(graph.parent / name for name in names)
