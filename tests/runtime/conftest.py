"""Embedders over the tiny bundles, fp32 and both int8 variants."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedge import Embedder

# Two languages per line of thought, prefixes, code, white space, digits, unknown characters.
WORDS = (
    "the river house memory computer a of and to vector night word ein der die und ist nicht "
    "le les des est на это как по 的 一 是 في من है के 42 !? search_query: ABC xyz 🚀 日"
).split()


@pytest.fixture(scope="session")
def tiny_int8_bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int8 bundle of `tiny_bundle`: both int8 graphs at both sizes."""
    from embedge.quantize import quantize_bundle

    out = tmp_path_factory.mktemp("int8") / "tiny-int8"
    quantize_bundle(tiny_bundle, out, measure=False)
    return out


@pytest.fixture(scope="session")
def embedder(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedder]:
    """fp32, full size, two threads."""
    with Embedder(tiny_bundle, threads=2, cache_dir=tmp_path_factory.mktemp("cache")) as opened:
        yield opened


@pytest.fixture(scope="session")
def open_embedder(
    tiny_bundle: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Embedder]]:
    """Open an embedder of a variant at a size; equal arguments give the same one."""
    opened: dict[tuple[str, int | None, int], Embedder] = {}
    cache = tmp_path_factory.mktemp("cache")

    def open_one(variant: str, dim: int | None = None, threads: int = 2) -> Embedder:
        key = (variant, dim, threads)
        if key not in opened:
            is_fp32 = variant == "fp32"
            bundle = tiny_bundle if is_fp32 else request.getfixturevalue("tiny_int8_bundle")
            opened[key] = Embedder(
                bundle, variant=variant, dim=dim, threads=threads, cache_dir=cache
            )
        return opened[key]

    yield open_one
    for embedder in opened.values():
        embedder.close()


@pytest.fixture
def words() -> list[str]:
    return WORDS
