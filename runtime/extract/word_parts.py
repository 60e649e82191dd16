"""The parts of a DOCX beside its text: where the text is, heading styles, title and author."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from embedge.runtime.extract.archive import Archive, inner_path
from embedge.runtime.extract.xml_events import read_xml

_MAIN = "word/document.xml"


@dataclass
class Relations:
    """Targets of a `.rels` part by the last word of their type; external ones are left out."""

    targets: dict[str, str] = field(default_factory=dict)

    def start(self, space: str, name: str, attributes: Mapping[str, str]) -> None:
        if name == "Relationship" and attributes.get("TargetMode", "Internal") == "Internal":
            kind = attributes.get("Type", "").rpartition("/")[2]
            self.targets.setdefault(kind, attributes.get("Target", ""))

    def end(self, space: str, name: str) -> None: ...

    def text(self, data: str) -> None: ...


@dataclass
class ParagraphStyles:
    """Which styles are headings, of level 1 to 9, and which are lists; own or inherited."""

    _own: dict[str, int] = field(default_factory=dict)
    _lists: set[str] = field(default_factory=set)
    _parent: dict[str, str] = field(default_factory=dict)
    _style: str = ""

    def level(self, style: str) -> int | None:
        """Return the level of a style; None for body text."""
        levels = (self._own[each] for each in self._chain(style) if each in self._own)
        return next(levels, None) or None

    def is_list(self, style: str) -> bool:
        """Tell whether paragraphs of a style are items of a list."""
        return any(each in self._lists for each in self._chain(style))

    def start(self, space: str, name: str, attributes: Mapping[str, str]) -> None:
        value = attributes.get("val", "")
        if name == "style":
            self._style = attributes.get("styleId", "")
        elif name == "basedOn":
            self._parent[self._style] = value
        elif name == "name":
            kind, _, number = value.lower().rpartition(" ")
            if kind == "heading" and number in set("123456789"):
                self._own.setdefault(self._style, int(number))
            elif value.lower() == "title":
                self._own.setdefault(self._style, 1)
        elif name == "numId" and value != "0":
            self._lists.add(self._style)
        elif name == "outlineLvl" and value in set("0123456789"):
            # Level 9 is body text, as a style below a heading may say.
            self._own[self._style] = 0 if value == "9" else int(value) + 1

    def end(self, space: str, name: str) -> None: ...

    def text(self, data: str) -> None: ...

    def _chain(self, style: str) -> list[str]:
        """Return a style and those that it builds on, which a damaged file may tie to a ring."""
        chain: list[str] = []
        while style and style not in chain:
            chain.append(style)
            style = self._parent.get(style, "")
        return chain


@dataclass
class Properties:
    """Dublin Core and Office properties by their local name."""

    values: dict[str, str] = field(default_factory=dict)
    _name: str = ""

    def get(self, name: str) -> str | None:
        """Return a property without white space around it; None when absent or empty."""
        return " ".join(self.values.get(name, "").split()) or None

    def start(self, space: str, name: str, attributes: Mapping[str, str]) -> None:
        self._name = name

    def end(self, space: str, name: str) -> None:
        self._name = ""

    def text(self, data: str) -> None:
        if self._name:
            self.values[self._name] = self.values.get(self._name, "") + data


def main_part(archive: Archive) -> str:
    """Return the member that holds the text.

    Raises:
        InputError: `format` or `limit`.
    """
    target = _relations(archive, "_rels/.rels").get("officeDocument", _MAIN)
    return inner_path("", target) or _MAIN


def parts_beside(archive: Archive, main: str) -> dict[str, str]:
    """Return the members that the text refers to, by kind: `styles`, `footnotes`, ...

    Raises:
        InputError: `format` or `limit`.
    """
    folder, _, name = main.rpartition("/")
    found = _relations(archive, f"{folder}/_rels/{name}.rels".lstrip("/"))
    paths = {kind: inner_path(folder, target) for kind, target in found.items()}
    return {kind: path for kind, path in paths.items() if path and path in archive}


def paragraph_styles(archive: Archive, member: str | None) -> ParagraphStyles:
    """Read the styles; without them nothing is a heading or a list.

    Raises:
        InputError: `format` or `limit`.
    """
    styles = ParagraphStyles()
    if member is not None:
        read_xml(archive.read(member), styles, path=archive.path, member=member)
    return styles


def core_properties(archive: Archive) -> Properties:
    """Read title, creator, subject and keywords; absent ones stay absent.

    Raises:
        InputError: `format` or `limit`.
    """
    properties = Properties()
    target = _relations(archive, "_rels/.rels").get("core-properties", "docProps/core.xml")
    member = inner_path("", target) or ""
    if member in archive:
        read_xml(archive.read(member), properties, path=archive.path, member=member)
    return properties


def _relations(archive: Archive, member: str) -> dict[str, str]:
    relations = Relations()
    data = archive.read_optional(member)
    if data is not None:
        read_xml(data, relations, path=archive.path, member=member)
    return relations.targets
