from pathlib import Path

import pytest

from embedge.models.errors import ConfigError
from embedge.models.recipes.__main__ import RECIPE
from embedge.models.recipes.settings import read_recipe


def test_the_recipe_of_the_bundled_model_is_complete_and_leaves_share_alike_text_out() -> None:
    recipe = read_recipe(RECIPE)

    assert recipe.text.left_out == ["stsb-mt-train", "indian-parallel"]
    assert recipe.training.steps > 0


def test_a_misspelt_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.read_text(encoding="utf-8").replace("warmup =", "warm_up ="))

    with pytest.raises(ConfigError, match=r"\[training\].*warm_up.*warmup"):
        read_recipe(path)
