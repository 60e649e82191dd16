"""Damaged files of every kind end in one of our own errors, and any text in a vector."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TARGETS = Path(__file__).parents[1] / "benchmarks" / "reliability" / "fuzz_targets.py"
SETTINGS = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def fuzz_targets(checkpoints: ModuleType) -> Iterator[ModuleType]:
    """The targets that `benchmarks/reliability/fuzz.py` explores for as long as one likes."""
    spec = importlib.util.spec_from_file_location("fuzz_targets", TARGETS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "checkpoints", checkpoints)
        spec.loader.exec_module(module)
    yield module
    module.close()


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[float, bytes, int]]:
    """Where (as a share of the length), what is written there, and how many bytes it replaces."""
    damage = st.tuples(
        st.floats(0, 1),
        st.binary(max_size=12) | st.sampled_from([b"null", b"-1", b"1e999", b"[]", b"{}", b'"']),
        st.integers(0, 200),
    )
    return draw(st.lists(damage, min_size=1, max_size=4))


def damaged(valid: bytes, damage: list[tuple[float, bytes, int]]) -> bytes:
    for share, written, replaced in damage:
        at = int(share * len(valid))
        valid = valid[:at] + written + valid[at + replaced :]
    return valid


@pytest.mark.parametrize("name", ["manifest", "safetensors", "tokenizer", "config", "files"])
@settings(SETTINGS, max_examples=120)
@given(damage=damages())
def test_a_damaged_file_is_read_or_refused(
    fuzz_targets: ModuleType, name: str, damage: list[tuple[float, bytes, int]]
) -> None:
    fuzz_targets.TARGETS[name](damaged(fuzz_targets.seed(name), damage))


@pytest.mark.parametrize("name", ["manifest", "safetensors", "tokenizer", "config", "files"])
@settings(SETTINGS, max_examples=40)
@given(length=st.floats(0, 1))
def test_a_truncated_file_is_read_or_refused(
    fuzz_targets: ModuleType, name: str, length: float
) -> None:
    valid = fuzz_targets.seed(name)
    fuzz_targets.TARGETS[name](valid[: int(length * len(valid))])


@settings(SETTINGS, max_examples=100)
@given(text=st.text(max_size=400))
def test_any_text_has_a_vector_and_chunks_that_join_again(
    fuzz_targets: ModuleType, text: str
) -> None:
    fuzz_targets.TARGETS["text"](text.encode("utf-8", "surrogatepass"))


@settings(SETTINGS, max_examples=60)
@given(data=st.binary(max_size=400))
def test_any_bytes_have_a_vector(fuzz_targets: ModuleType, data: bytes) -> None:
    fuzz_targets.TARGETS["text"](data)
