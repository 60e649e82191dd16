"""How much memory a run needs, and the batch that keeps a limit (`max_memory`)."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from embedge.models.bundle import WEIGHTS_NAME, Bundle
from embedge.models.errors import InvalidOption, MemoryBudgetError

# Padded tokens of a batch per thread: the inner states of so many stay in the cache of one core;
# larger batches cost more time per token and more memory (docs/performance.md).
_TOKENS_PER_THREAD = 256
_SMALLEST_BATCH, _LARGEST_BATCH = 512, 4096

# ONNX Runtime's arena grows in powers of two: a share of the need, and a part that small batches
# have, too. Measured peaks stay below (docs/memory.md).
_SAFETY = 1.25
_ARENA = 48 << 20
# Python, numpy, ONNX Runtime and the tokenizer of a small vocabulary.
_INTERPRETER = 60 << 20

_UNITS = {
    "": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE)


def parse_size(text: str | int) -> int:
    """Read `800MB`, `1GiB` or a plain number as bytes.

    Raises:
        InvalidOption: anything else, zero included.
    """
    match = _SIZE.fullmatch(str(text))
    size = 0 if match is None else float(match[1]) * _UNITS[(match[2] or "").lower()]
    if size < 1:
        raise InvalidOption(f"size {text!r} is not readable; write it like 800MB or 1.5GiB")
    return int(size)


def default_batch_tokens(threads: int) -> int:
    """Return how many padded tokens a batch has where memory allows it."""
    return min(_LARGEST_BATCH, max(_SMALLEST_BATCH, _TOKENS_PER_THREAD * threads))


@dataclass(frozen=True)
class MemoryModel:
    """Bytes that a model's graph needs.

    Attributes:
        hidden: width of the hidden states.
        inner: width inside a feed-forward block.
        heads: attention heads.
        experts_per_token: 1 for a dense model.
        weights: bytes of all weights.
        table: bytes of the word table, whose pages become resident as words occur.
    """

    hidden: int
    inner: int
    heads: int
    experts_per_token: int
    weights: int
    table: int

    @classmethod
    def of(cls, bundle: Bundle) -> "MemoryModel":
        """Read the sizes from a bundle's manifest."""
        facts = bundle.manifest.architecture

        def number(name: str, default: int) -> int:
            value = facts.get(name)
            return value if isinstance(value, int) else default

        hidden = number("hidden", bundle.manifest.full_dim)
        weights = bundle.manifest.files.get(WEIGHTS_NAME)
        value_bytes = 4 if bundle.manifest.identity.variant == "fp32" else 1
        return cls(
            hidden=hidden,
            inner=number("inner", 4 * hidden),
            heads=number("heads", max(1, hidden // 64)),
            experts_per_token=number("experts_per_token", 2),
            weights=weights.size if weights is not None else 0,
            table=number("vocabulary", 0) * hidden * value_bytes,
        )

    @property
    def packed(self) -> int:
        """Private copies of the matrices in the layout of the kernels."""
        return max(0, self.weights - self.table)

    def activations(self, batch_tokens: int, longest: int) -> int:
        """Bytes of activations at the peak of a batch of `batch_tokens` padded tokens.

        The larger of two moments: attention (q, k, v, context and `heads` rows of scores of
        `longest` values per token, once before and once after the softmax) and a feed-forward
        block (the inner state before and after GELU and its codes, beside the outputs of the
        experts).
        """
        attention = 4 * (6 * self.hidden + 2 * self.heads * longest)
        feed_forward = 4 * (4 + 2 * self.experts_per_token) * self.hidden + 9 * self.inner
        per_token = max(attention, feed_forward)
        return _ARENA + int(_SAFETY * batch_tokens * per_token)


def check_before_loading(model: MemoryModel, max_memory: int, name: str) -> None:
    """Refuse a limit that the weights alone exceed.

    Raises:
        MemoryBudgetError: names the smallest limit that could work.
    """
    least = _INTERPRETER + model.packed
    if max_memory < least:
        raise MemoryBudgetError(
            f"max_memory {_mb(max_memory)} cannot hold {name}, whose matrices need at least "
            f"{_mb(least)}; raise the limit, or choose an int8 variant or a smaller model"
        )


def batch_tokens_within(
    model: MemoryModel, max_memory: int, *, longest: int, wanted: int, peak: int, resident: int
) -> int:
    """Return the largest token budget up to `wanted` that keeps peak RSS below `max_memory`.

    Args:
        model: sizes of the loaded model.
        max_memory: bytes; mapped pages count, result arrays of `encode` do not.
        longest: tokens of the longest sequence that may come.
        wanted: the budget without a limit.
        peak: peak RSS of the process so far, bytes.
        resident: RSS now, bytes.

    Raises:
        MemoryBudgetError: not even one sequence of `longest` tokens fits; names what would.
    """
    fixed = max(resident + model.table, peak)
    one = model.activations(longest, longest)
    if fixed + one > max_memory:
        raise MemoryBudgetError(
            f"max_memory {_mb(max_memory)} is too small: the process needs {_mb(fixed)} and a text "
            f"of {longest} tokens {_mb(one)} more. Allow {_mb(fixed + one + (1 << 20))}, or use a "
            f"smaller max_tokens or model"
        )
    more = (max_memory - fixed - one) * longest // (one - _ARENA)
    return max(longest, min(wanted, longest + more))


def peak_rss() -> int:
    """Return the peak resident set of this process in bytes."""
    if sys.platform == "win32":
        return _windows_memory()[0]
    status = _linux_status("VmHWM")
    if status is not None:
        return status
    import resource

    # macOS counts bytes, other systems kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def resident_rss() -> int:
    """Return the resident set of this process in bytes; its peak where the system hides it."""
    if sys.platform == "win32":
        return _windows_memory()[1]
    status = _linux_status("VmRSS")
    return peak_rss() if status is None else status


def _linux_status(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{field}:\s+(\d+) kB$", lines, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _windows_memory() -> tuple[int, int]:
    """Return peak and current working set, from PROCESS_MEMORY_COUNTERS."""
    import ctypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("cb", ctypes.c_uint32),
            ("page_faults", ctypes.c_uint32),
            ("peak_working_set", ctypes.c_size_t),
            ("working_set", ctypes.c_size_t),
            ("rest", ctypes.c_size_t * 6),
        )

    counters = Counters()
    counters.cb = ctypes.sizeof(counters)
    if sys.platform == "win32":
        kernel = ctypes.windll.kernel32
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(kernel.GetCurrentProcess())
        kernel.K32GetProcessMemoryInfo(handle, ctypes.byref(counters), counters.cb)
    return counters.peak_working_set, counters.working_set


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
