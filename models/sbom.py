"""Bill of materials of a model in CycloneDX 1.6: its files, what it came from, what runs it."""

import re
import uuid
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from embedge.models.bundle import Bundle
from embedge.models.manifest import Manifest

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_LICENSE_NAME = 80  # some packages put the whole text into that field


def make_sbom(bundle: Bundle) -> bytes:
    """Describe a bundle as CycloneDX JSON.

    Components: the model with its files and their SHA-256; its sources (weights, tokenizer, data)
    with their licences; embedge and every library that it needs, in the versions of this machine.

    Raises:
        ModuleNotFoundError: the extra [sbom] is not installed.
    """
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    manifest = bundle.manifest
    space = manifest.space(manifest.identity.variant, manifest.full_dim)
    files = [
        _component(
            name,
            type=ComponentType.FILE,
            bom_ref=f"file:{name}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=entry.sha256)],
        )
        for name, entry in sorted(manifest.files.items())
    ]
    model = _component(
        manifest.name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"model:{manifest.name}",
        version=manifest.revision or None,
        license=manifest.license,
        components=files,
        properties={
            "embedge:space": space.fingerprint,
            "embedge:precision": space.identity.variant,
        },
    )
    sources, libraries = list(_sources(manifest)), list(_libraries())
    bom = Bom(components=[*sources, *libraries])
    # The same bundle under the same libraries is the same document.
    seed = f"{space.fingerprint} {sorted(each.purl.to_string() for each in libraries)}"
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, seed)
    bom.metadata.component = model
    bom.metadata.tools.components.add(
        _component("embedge", type=ComponentType.APPLICATION, version=metadata.version("embedge"))
    )
    bom.register_dependency(model, [*sources, *libraries])
    text: str = JsonV1Dot6(bom).output_as_string(indent=1)
    return f"{text}\n".encode()


def _sources(manifest: Manifest) -> "Iterator[Component]":
    """Yield what the model was made from, as the manifest names it."""
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
    from cyclonedx.model.component import ComponentType

    for number, source in enumerate(manifest.sources):
        origin = source.get("from", "")
        link = re.search(r"https?://\S+", origin)
        yield _component(
            source.get("what") or origin,
            type=ComponentType.DATA,
            bom_ref=f"source:{number}",
            license=source.get("license", ""),
            description=origin or None,
            external_references=[
                ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(link.group()))
            ]
            if link
            else [],
        )


def _libraries() -> "Iterator[Component]":
    """Yield embedge and the installed distributions that it needs without extras."""
    from cyclonedx.model.component import ComponentType
    from packageurl import PackageURL

    for distribution in _needed("embedge"):
        name = distribution.metadata["Name"]
        yield _component(
            name,
            type=ComponentType.LIBRARY,
            bom_ref=f"library:{name}",
            version=distribution.version,
            license=_license(distribution),
            purl=PackageURL("pypi", name=name.lower(), version=distribution.version),
        )


def _needed(root: str) -> Iterator[metadata.Distribution]:
    """Yield a distribution and what it needs here; requirements of extras are left out."""
    waiting, seen = [root], set()
    while waiting:
        name = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in seen:
            continue
        seen.add(key)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform
        yield distribution
        waiting += [
            found.group()
            for requirement in distribution.requires or ()
            if not re.search(r"\bextra\s*==", requirement)
            and (found := _NAME.match(requirement)) is not None
        ]


def _license(distribution: metadata.Distribution) -> str:
    fields = distribution.metadata
    for field in ("License-Expression", "License"):
        value = (fields[field] or "").strip() if field in fields else ""
        if value and "\n" not in value and len(value) <= _LONGEST_LICENSE_NAME:
            return str(value)
    classifiers: Iterable[str] = fields.get_all("Classifier") or ()
    names = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License ::")]
    return " AND ".join(names)


def _component(name: str, *, license: str = "", **fields: object) -> "Component":
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component

    properties = fields.pop("properties", {})
    assert isinstance(properties, dict)
    return Component(
        name=name,
        licenses=[LicenseFactory().make_from_string(license)] if license else [],
        properties=[Property(name=key, value=value) for key, value in properties.items()],
        **fields,
    )
