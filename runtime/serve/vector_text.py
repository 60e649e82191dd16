"""Vectors as the parts of JSON answers."""

import asyncio
import base64
from typing import TYPE_CHECKING

from embedge.runtime.number_text import json_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# About a millisecond of formatting: no reason to leave the event loop.
_FEW = 2048


async def arrays(vectors: "NDArray[np.float32]") -> list[str]:
    """Return each vector (texts, dim) as a JSON array, away from the event loop if many."""
    if vectors.size <= _FEW:
        return [json_array(vector) for vector in vectors]
    return await asyncio.to_thread(lambda: [json_array(vector) for vector in vectors])


def base64_strings(vectors: "NDArray[np.number]") -> list[str]:
    """Return each vector as a JSON string: base64 of little-endian float32."""
    return [
        '"' + base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii") + '"'
        for vector in vectors
    ]
