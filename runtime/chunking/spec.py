"""Identity of a way to cut: chunks of equal specs are interchangeable."""

import hashlib
import json
from dataclasses import dataclass

from embedge.runtime.chunking.local_minima import WINDOW_TOKENS

ALGORITHM = "local-min/1"
"""Raised when the same text, options and tokenizer would be cut elsewhere."""


@dataclass(frozen=True)
class ChunkerSpec:
    """The options that decide where cuts fall; `max_tokens` counts text tokens."""

    max_tokens: int
    overlap: int
    tokenizer_sha256: str

    def canonical_json(self) -> str:
        """Return the spec as JSON with sorted keys and no white space."""
        spec = {
            "kind": ALGORITHM,
            "markup": "auto",
            "max_tokens": self.max_tokens,
            "overlap": self.overlap,
            "tokenizer_sha256": self.tokenizer_sha256,
            "window": WINDOW_TOKENS,
        }
        return json.dumps(spec, sort_keys=True, separators=(",", ":"))

    @property
    def fingerprint(self) -> str:
        """`ck-` and the first 8 hex digits of the SHA-256 of the canonical JSON."""
        return "ck-" + hashlib.sha256(self.canonical_json().encode()).hexdigest()[:8]
