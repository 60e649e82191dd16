"""What a new user types first, on the model that the package ships."""

import io
import json

import numpy as np
import pytest

from embedge.models.manifest import read_manifest
from embedge.models.store import bundled_bundles

pytestmark = pytest.mark.skipif(not bundled_bundles(), reason="this tree ships no model")


@pytest.fixture
def environment(environment):
    return {name: value for name, value in environment.items() if name != "EMBED_MODEL"}


def test_a_file_becomes_records_without_any_option(embed, tmp_path):
    (tmp_path / "README.md").write_text("# Title\n\nSome words about boiling eggs.\n")
    done = embed("README.md")
    assert done.code == 0
    record = done.records[0]
    assert (record["path"], record["dim"], record["heading"]) == ("README.md", 384, "Title")
    assert np.linalg.norm(record["embedding"]) == pytest.approx(1, abs=1e-5)


def test_bundled_is_the_default_model(embed):
    assert embed("text", "hello", "-m", "bundled").stdout == embed("text", "hello").stdout


def test_meaning_decides_across_languages(embed):
    done = embed("similar", "how to boil an egg", "Eier kochen", "stock market", "--json")
    first = json.loads(done.text)["similarity"][0]
    assert first[1] > first[2]


def test_int8_codes_have_a_fixed_range(embed):
    done = embed("text", "--lines", "--precision", "int8", "-f", "npy", stdin="a\nb\n")
    codes = np.load(io.BytesIO(done.stdout))
    assert (codes.dtype, codes.shape) == (np.int8, (2, 384))


def test_its_manifest_is_as_this_version_writes_it():
    for bundle in bundled_bundles().values():
        text = (bundle / "embedge.json").read_text(encoding="utf-8")
        assert text == read_manifest(bundle).dump()
