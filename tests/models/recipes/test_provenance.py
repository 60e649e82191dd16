"""What a student was made from is written beside its weights."""

import json
from pathlib import Path
from types import ModuleType

import pytest

from embedge.models.errors import CheckpointError
from embedge.models.recipes.__main__ import RECIPE
from embedge.models.recipes.provenance import side_file
from embedge.models.recipes.settings import read_recipe


def test_the_side_file_names_teacher_vocabulary_and_the_licence_of_every_text() -> None:
    recipe = read_recipe(RECIPE)
    sources = side_file(recipe, 1234, None)["sources"]
    assert isinstance(sources, list)
    said = json.dumps(sources)
    assert "multilingual-e5-small" in said
    assert "all-MiniLM-L6-v2" in said
    assert "1,234 pieces" in said
    assert "medquad" in said
    for name in recipe.text.left_out:
        assert name not in said
    assert not any("SA" in entry["license"] for entry in sources)


def test_what_an_earlier_checkpoint_had_read_is_named_with_what_came_later(
    checkpoints: ModuleType, tmp_path: Path
) -> None:
    config = checkpoints.tiny_config()
    earlier = [
        {"what": "training text: headlines", "from": "somewhere", "license": "CC BY-SA 4.0"},
        {"what": "vocabulary", "from": "elsewhere", "license": "MIT"},
    ]
    start = checkpoints.write_checkpoint(
        tmp_path / "start", config, checkpoints.random_tensors(config),
        side_file={"license": "MIT", "sources": earlier},
    )  # fmt: skip
    sources = side_file(read_recipe(RECIPE), 10, start)["sources"]
    assert isinstance(sources, list)
    assert sources[-1] == {
        "what": "training text: headlines (of the earlier checkpoint)",
        "from": "somewhere", "license": "CC BY-SA 4.0",
    }  # fmt: skip
    assert "SHA-256" in sources[-2]["from"]


def test_weights_of_unknown_origin_are_not_written_on(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="names no `sources`"):
        side_file(read_recipe(RECIPE), 10, tmp_path)
