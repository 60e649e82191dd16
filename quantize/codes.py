"""The integer codes of activations, for 8 bits and for the 7 bits that older CPUs need."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ActivationCodes:
    """Unsigned codes of one activation element.

    AVX2 and AVX512BW add pairs of products u8 x s8 in 16 bits with saturation. Codes up to 127
    keep the pair below 2 * 127 * 127 = 32,258, inside 16 bits, over the same int8 weights.

    Attributes:
        bits: 8 or 7.
    """

    bits: int

    @property
    def largest(self) -> int:
        """Largest code: 255 or 127."""
        return int(2**self.bits) - 1

    @property
    def zero(self) -> int:
        """Code of zero where the range is symmetric: 128 or 64."""
        return int(2 ** (self.bits - 1))

    @property
    def steps(self) -> int:
        """Steps between zero and the largest magnitude of a symmetric range: 127 or 63."""
        return self.zero - 1

    @property
    def may_exceed(self) -> bool:
        """Whether the uint8 that stores a code can hold more than the largest code."""
        return self.largest < np.iinfo(np.uint8).max


EIGHT_BITS = ActivationCodes(8)
SEVEN_BITS = ActivationCodes(7)
