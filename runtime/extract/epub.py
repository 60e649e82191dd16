"""EPUB: the chapters in reading order, each read like a web page."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from embedge.models.errors import InputError
from embedge.runtime.extract.archive import Archive, inner_path
from embedge.runtime.extract.decoding import decode
from embedge.runtime.extract.document import Document
from embedge.runtime.extract.epub_contents import chapter_names, with_heading
from embedge.runtime.extract.registry import Source
from embedge.runtime.extract.web_page import visible_text
from embedge.runtime.extract.xml_events import read_xml, xml_bomb

_PACKAGE_TYPE = "application/oebps-package+xml"
_NCX_TYPE = "application/x-dtbncx+xml"
_CHAPTER_TYPES = ("application/xhtml+xml", "text/html", "text/x-oeb1-document")
# Scrambled fonts are no obstacle; anything else in the list of encrypted members is.
_FONT_SCRAMBLING = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")

_PROLOG_BYTES = 1 << 16


def read_epub(source: Source) -> Document:
    """Read the text of a book; headings become `#` lines.

    The table of contents is left out, but names the chapters that have no heading themselves.

    Raises:
        InputError: `format` for damaged and copy-protected books, `limit` for zip and XML
            bombs, `no_text`, `encoding`.
    """
    archive = Archive(source.data, source.path)
    container = _Container()
    _read(archive, "META-INF/container.xml", container)
    if not container.package:
        raise archive.damaged("META-INF/container.xml names no package")
    package = _Package()
    _read(archive, container.package, package)
    chapters = package.chapters(posixpath.dirname(container.package))
    if not chapters:
        raise archive.damaged(f"{container.package} names no chapters")
    protected = _protected(archive)
    if protected & set(chapters):
        raise InputError(
            f"{source.path} is copy-protected, its chapters are encrypted; it can only be read in "
            "its shop's program",
            "format",
        )
    names = _chapter_names(archive, package, posixpath.dirname(container.package))
    texts = [with_heading(_chapter(archive, each), names.get(each)) for each in chapters]
    text = "\n\n".join(each for each in texts if each)
    if not text:
        raise InputError(f"{source.path} has pictures but no text to embed", "no_text")
    return Document(
        text=text,
        media_type="application/epub+zip",
        kind="markdown",
        encoding="utf-8",
        extractor="epub/1",
        title=package.one("title"),
        author=package.all("creator"),
        subject=package.all("subject"),
    )


@dataclass
class _Container:
    """META-INF/container.xml: where the package is."""

    package: str = ""

    def start(self, space: str, name: str, attributes: Mapping[str, str]) -> None:
        is_package = attributes.get("media-type", _PACKAGE_TYPE) == _PACKAGE_TYPE
        if name == "rootfile" and is_package and not self.package:
            self.package = inner_path("", unquote(attributes.get("full-path", ""))) or ""

    def end(self, space: str, name: str) -> None: ...

    def text(self, data: str) -> None: ...


@dataclass
class _Package:
    """The package: properties, the list of members, the order of reading."""

    _items: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    _order: list[str] = field(default_factory=list)
    _properties: dict[str, list[str]] = field(default_factory=dict)
    _open: str = ""

    def one(self, name: str) -> str | None:
        """Return the first value of a property."""
        return next(iter(self._values(name)), None)

    def all(self, name: str) -> str | None:
        """Return all values of a property, joined by `, `."""
        return ", ".join(self._values(name)) or None

    def chapters(self, folder: str) -> list[str]:
        """Return the members that hold text, in reading order, each once."""
        paths: dict[str, None] = {}
        for each in self._order:
            reference, media_type, properties = self._items.get(each, ("", "", ""))
            path = inner_path(folder, unquote(reference))
            if path and media_type in _CHAPTER_TYPES and "nav" not in properties.split():
                paths[path] = None
        return list(paths)

    def contents(self, folder: str) -> list[str]:
        """Return the members that list the chapters: a navigation page, an older NCX file."""
        found = [
            inner_path(folder, unquote(reference))
            for reference, media_type, properties in self._items.values()
            if media_type == _NCX_TYPE or "nav" in properties.split()
        ]
        return [path for path in found if path]

    def start(self, space: str, name: str, attributes: Mapping[str, str]) -> None:
        if name == "item":
            self._items[attributes.get("id", "")] = (
                attributes.get("href", ""),
                attributes.get("media-type", ""),
                attributes.get("properties", ""),
            )
        elif name == "itemref":
            self._order.append(attributes.get("idref", ""))
        elif name in ("title", "creator", "subject") and "purl.org/dc/" in space:
            self._open = name
            self._properties.setdefault(name, []).append("")

    def end(self, space: str, name: str) -> None:
        self._open = ""

    def text(self, data: str) -> None:
        if self._open:
            self._properties[self._open][-1] += data

    def _values(self, name: str) -> list[str]:
        values = (" ".join(value.split()) for value in self._properties.get(name, []))
        return [value for value in values if value]


@dataclass
class _Encryption:
    """META-INF/encryption.xml: the members that only a key opens."""

    members: set[str] = field(default_factory=set)
    _method: str = ""

    def start(self, space: str, name: str, attributes: Mapping[str, str]) -> None:
        if name == "EncryptionMethod":
            self._method = attributes.get("Algorithm", "")
        elif name == "CipherReference" and self._method not in _FONT_SCRAMBLING:
            path = inner_path("", unquote(attributes.get("URI", "")))
            self.members |= {path} if path else set()

    def end(self, space: str, name: str) -> None:
        if name == "EncryptedData":
            self._method = ""

    def text(self, data: str) -> None: ...


def _chapter_names(archive: Archive, package: _Package, folder: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for member in package.contents(folder):
        data = archive.read_optional(member)
        if data and data.strip():
            markup, _ = decode(Source(data, f"{archive.path}: {member}", ".xhtml", None))
            names = chapter_names(markup, member) | names
    return names


def _protected(archive: Archive) -> set[str]:
    encryption = _Encryption()
    data = archive.read_optional("META-INF/encryption.xml")
    if data is not None:
        read_xml(data, encryption, path=archive.path, member="META-INF/encryption.xml")
    return encryption.members


def _read(archive: Archive, member: str, events: "_Container | _Package") -> None:
    read_xml(archive.read(member), events, path=archive.path, member=member)


def _chapter(archive: Archive, member: str) -> str:
    """Return the text of a chapter; browsers' rules, because many are not well-formed."""
    data = archive.read(member)
    if not data.strip():
        return ""
    place = f"{archive.path}: {member}"
    if b"<!ENTITY" in data[:_PROLOG_BYTES].replace(b"\0", b"").partition(b"<html")[0]:
        raise xml_bomb(archive.path, member, "declares entities")
    return visible_text(Source(data, place, ".xhtml", None))
