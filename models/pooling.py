"""How the side files of Sentence Transformers make one vector of a text's hidden states."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from embedge.models.errors import ConfigError
from embedge.models.side_file import read_json, read_object

Pooling = Literal["mean", "cls"]

_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
_MODES: Mapping[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean", "mean": "mean",
    "pooling_mode_cls_token": "cls", "cls": "cls",
}  # fmt: skip
_MEANING: Mapping[Pooling, str] = {
    "mean": "mean pooling over all tokens, prompt included,",
    "cls": "the first token",
}


def read_pooling(folder: Path, supported: Sequence[Pooling]) -> Pooling:
    """Read `modules.json` and the pooling module's config; without them it is the mean.

    A layer behind the pooling (`Dense`) or another pooling would give other vectors, so both are
    refused.

    Raises:
        ConfigError: names every field that asks for something else than `supported`.
    """
    modules = read_json(folder / "modules.json") or []
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    problems = [
        f"modules.json names the module {kind}" for kind in kinds if kind not in _KNOWN_MODULES
    ]
    places = [m.get("path") for m, kind in zip(modules, kinds, strict=True) if kind == "Pooling"]
    name = f"{(places or ['1_Pooling'])[0]}/config.json"
    config = read_object(folder / name)
    chosen = _modes(config)
    problems += [f"{name} has {mode}" for mode in chosen if _MODES.get(mode) not in supported]
    if not chosen and config.get("pooling_mode_mean_tokens") is False:
        problems.append(f"{name} does not ask for the mean of all tokens")
    if len(chosen) > 1:
        problems.append(f"{name} joins {' and '.join(chosen)}")
    pooling = _MODES.get(chosen[0], "mean") if chosen else "mean"
    if config.get("include_prompt") is False and pooling == "mean":
        problems.append(f"{name} has include_prompt false, which leaves the prompt out of the mean")
    if problems:
        can = " or ".join(_MEANING[each] for each in supported)
        raise ConfigError(f"{folder}: {'; '.join(problems)}; only {can} can be exported")
    return pooling


def _modes(config: Mapping[str, Any]) -> list[str]:
    """Return the pooling modes that a config switches on, in either spelling of the file."""
    named = config.get("pooling_mode")
    if named is not None:
        return [named] if isinstance(named, str) else [str(mode) for mode in named]
    return [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
