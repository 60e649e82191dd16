"""Vectors on disk: whole blocks, exact values, clear messages."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from embedge.models.errors import EmbedgeError
from embedge.runtime.quality.cache import VectorCache


def vectors(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)


def keys(n: int, first: int = 0) -> list[bytes]:
    return [i.to_bytes(16, "big") for i in range(first, first + n)]


def test_vectors_come_back_bit_for_bit_in_the_order_asked_for(tmp_path):
    cache = VectorCache(tmp_path / "deep" / "v.sqlite", 4)
    stored = vectors(2000)
    cache.add(keys(2000), stored)
    cache.close()
    again = VectorCache(tmp_path / "deep" / "v.sqlite", 4)
    order = [1999, 3, 3, 0]
    np.testing.assert_array_equal(again.read([keys(2000)[i] for i in order]), stored[order])
    assert again.known(keys(10, first=1995)) == set(keys(5, first=1995))
    again.close()


def test_a_vector_is_never_replaced(tmp_path):
    cache = VectorCache(tmp_path / "v.sqlite", 4)
    cache.add(keys(1), vectors(1, seed=1))
    cache.add(keys(2), vectors(2, seed=2))
    np.testing.assert_array_equal(cache.read(keys(1)), vectors(1, seed=1))
    cache.close()


def test_a_process_killed_inside_a_block_leaves_the_blocks_before_it(tmp_path):
    path = tmp_path / "v.sqlite"
    script = """
        import os, sys
        import numpy as np
        from pathlib import Path
        from embedge.runtime.quality.cache import VectorCache

        cache = VectorCache(Path(sys.argv[1]), 4)
        key = lambda i: i.to_bytes(16, "big")
        cache.add([key(0), key(1)], np.ones((2, 4), np.float32))
        cache._db.execute("BEGIN IMMEDIATE")
        cache._db.execute("INSERT INTO vectors VALUES (?, ?)", (key(2), b"half"))
        os.kill(os.getpid(), 9)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], check=False)
    assert done.returncode == -9
    cache = VectorCache(path, 4)
    assert cache.known(keys(3)) == set(keys(2))
    cache.close()


def test_two_open_files_share_their_vectors(tmp_path):
    first, second = (VectorCache(tmp_path / "v.sqlite", 4) for _ in range(2))
    first.add(keys(2), vectors(2))
    second.add(keys(2, first=1), vectors(2, seed=1))
    assert first.known(keys(3)) == set(keys(3))
    first.close()
    second.close()


def test_a_damaged_file_is_named_with_the_way_out(tmp_path):
    path = tmp_path / "v.sqlite"
    path.write_bytes(b"no database at all, but long enough to be read as a header" * 20)
    with pytest.raises(
        EmbedgeError, match=r"v\.sqlite cannot be used.*Remove the file.*--no-cache"
    ):
        VectorCache(path, 4)
