"""The bill of materials of a copied model is a valid CycloneDX document that says what is in it."""

import json
from importlib.metadata import version

import pytest

pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib comes with [sbom], [integration]")

from cyclonedx.exception import MissingOptionalDependencyException
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from embedge.cli import run
from embedge.models.manifest import read_manifest
from embedge.models.store import find_model


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    out = tmp_path_factory.mktemp("stick") / "mini"
    assert run(["models", "bundle", "bundled", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def sbom(copy):
    return json.loads((copy / "sbom.cdx.json").read_text())


def test_it_is_valid_under_its_schema(copy):
    text = (copy / "sbom.cdx.json").read_text()
    try:
        problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    except MissingOptionalDependencyException as error:
        pytest.skip(f"the validator's own extra is not installed: {error}")
    assert problem is None


def test_it_names_the_model_its_licence_and_every_file_with_its_hash(sbom):
    manifest = read_manifest(find_model("bundled"))
    model = sbom["metadata"]["component"]
    assert (model["type"], model["name"]) == ("machine-learning-model", manifest.name)
    assert model["licenses"] == [{"expression": manifest.license}]
    files = {each["name"]: each["hashes"][0]["content"] for each in model["components"]}
    assert files == {name: entry.sha256 for name, entry in manifest.files.items()}


def test_it_names_the_sources_and_the_libraries_in_their_versions(sbom):
    manifest = read_manifest(find_model("bundled"))
    data = [each for each in sbom["components"] if each["type"] == "data"]
    assert {each["name"] for each in data} == {source["what"] for source in manifest.sources}
    libraries = {e["name"]: e for e in sbom["components"] if e["type"] == "library"}
    assert {"embedge", "numpy", "onnxruntime", "tokenizers", "typer"} <= libraries.keys()
    assert libraries["numpy"]["version"] == version("numpy")
    assert libraries["numpy"]["purl"] == f"pkg:pypi/numpy@{version('numpy')}"
    assert [name for name, each in libraries.items() if not each.get("licenses")] == []
    assert not {"pytest", "langchain-core", "ray"} & libraries.keys()


def test_the_copy_installs_with_it(copy, tmp_path):
    assert run(["models", "pull", str(copy), "--cache-dir", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("models/*/*/*/embedge.json"))) == 1
