"""DOCX: paragraphs, headings, lists and tables as Markdown, by the standard library alone.

Read: text, tracked insertions, fields as shown, text boxes, foot- and endnotes. Left out: tracked
deletions, comments, page headers and footers, pictures.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from embedge.models.errors import InputError
from embedge.runtime.extract.archive import Archive
from embedge.runtime.extract.decoding import without_lone_surrogates
from embedge.runtime.extract.document import Document
from embedge.runtime.extract.registry import Source
from embedge.runtime.extract.word_parts import (
    ParagraphStyles,
    core_properties,
    main_part,
    paragraph_styles,
    parts_beside,
)
from embedge.runtime.extract.xml_events import read_xml

_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_WORD = "wordprocessingml"  # part of both namespaces, transitional and strict
_MATHS = "/math"

# Moved text would come twice; a fallback repeats its drawing; `rt` spells a character out.
_DROPPED = frozenset(("moveFrom", "Fallback", "rt"))
_MARKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "\u2011"}
_BLANKS = re.compile(r"[ \t\u00a0]*\n\s*|[ \t]+$")


def read_docx(source: Source) -> Document:
    """Read the text of a Word document; headings become `#` lines, cells are joined by ` | `.

    Raises:
        InputError: `format` for damaged or encrypted files, `limit` for zip and XML bombs,
            `no_text`.
    """
    if source.data.startswith(_OLD_OFFICE):  # what Word writes around an encrypted document
        raise InputError(
            f"{source.path} is encrypted, or an old Office document by another name; save it as "
            "DOCX without a password",
            "format",
        )
    archive = Archive(source.data, source.path)
    main = main_part(archive)
    beside = parts_beside(archive, main)
    styles = paragraph_styles(archive, beside.get("styles"))
    body = _Body(styles)
    read_xml(archive.read(main), body, path=source.path, member=main)
    for kind in ("footnotes", "endnotes"):
        if kind in beside:
            read_xml(archive.read(beside[kind]), body, path=source.path, member=beside[kind])
    text = without_lone_surrogates("\n\n".join(body.blocks))
    if not text:
        raise InputError(f"{source.path} has pictures or nothing, but no text to embed", "no_text")
    properties = core_properties(archive)
    return Document(
        text=text,
        media_type="application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        kind="markdown",
        encoding="utf-8",
        extractor="docx/1",
        title=properties.get("title") or body.title,
        author=properties.get("creator"),
        subject=properties.get("subject"),
        keywords=properties.get("keywords"),
    )


@dataclass
class _Paragraph:
    parts: list[str] = field(default_factory=list)
    style: str = ""
    level: int | None = None
    list_depth: int | None = None

    def text(self) -> str:
        return _BLANKS.sub(lambda blank: "\n" if "\n" in blank[0] else "", "".join(self.parts))


@dataclass
class _Table:
    rows: list[str] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    cell: list[str] = field(default_factory=list)


@dataclass
class _Body:
    """Collects blocks: a paragraph, or a whole table. Paragraphs nest through text boxes."""

    styles: ParagraphStyles
    blocks: list[str] = field(default_factory=list)
    title: str | None = None
    _paragraphs: list[_Paragraph] = field(default_factory=list)
    _tables: list[_Table] = field(default_factory=list)
    _dropped: list[str] = field(default_factory=list)
    _in_text: bool = False
    _is_tight: bool = False  # the last block is an item of a list

    def start(self, space: str, name: str, attributes: Mapping[str, str]) -> None:
        if name in _DROPPED:
            self._dropped.append(name)
        elif not self._dropped and _WORD in space:
            self._start_word(name, attributes)
        elif not self._dropped and name == "t" and _MATHS in space:
            self._in_text = True

    def end(self, space: str, name: str) -> None:
        if self._dropped:
            if name == self._dropped[-1]:
                self._dropped.pop()
        elif name == "t":
            self._in_text = False
        elif _WORD in space:
            self._end_word(name)

    def text(self, data: str) -> None:
        if self._in_text and self._paragraphs and not self._dropped:
            self._paragraphs[-1].parts.append(data)

    def _start_word(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "p":
            self._paragraphs.append(_Paragraph())
        elif name == "tbl":
            self._tables.append(_Table())
        elif self._paragraphs:
            self._start_in_paragraph(self._paragraphs[-1], name, attributes)

    def _start_in_paragraph(
        self, paragraph: _Paragraph, name: str, attributes: Mapping[str, str]
    ) -> None:
        value = attributes.get("val", "")
        if name == "t":
            self._in_text = True
        elif name in _MARKS:
            # Tab stops of the paragraph's layout are called `tab`, too, and have a value.
            paragraph.parts.append("" if name == "tab" and value else _MARKS[name])
        elif name == "pStyle":
            paragraph.style = value
        elif name == "outlineLvl" and value.isdecimal():
            paragraph.level = int(value) + 1 if int(value) < 9 else 0
        elif name == "ilvl" and value.isdecimal():
            paragraph.list_depth = min(int(value), 8)
        elif name == "numId" and value == "0":  # no list after all
            paragraph.list_depth = None

    def _end_word(self, name: str) -> None:
        if name == "p" and self._paragraphs:
            self._end_paragraph(self._paragraphs.pop())
        elif name == "tc" and self._tables:
            table = self._tables[-1]
            table.cells.append(" ".join(table.cell))
            table.cell = []
        elif name == "tr" and self._tables:
            table = self._tables[-1]
            table.rows.append(" | ".join(cell for cell in table.cells if cell))
            table.cells = []
        elif name == "tbl" and self._tables:
            self._end_table(self._tables.pop())

    def _end_paragraph(self, paragraph: _Paragraph) -> None:
        text = paragraph.text().strip(" \t\n")
        if not text:
            return
        if self._tables:
            self._tables[-1].cell.append(" ".join(text.split()))
            return
        level = self.styles.level(paragraph.style) if paragraph.level is None else paragraph.level
        if level:
            title = " ".join(text.split())
            self.title = self.title or title
            self._add(f"{'#' * min(level, 6)} {title}")
        elif paragraph.list_depth is not None or self.styles.is_list(paragraph.style):
            self._add(f"{'  ' * (paragraph.list_depth or 0)}- {text}", is_item=True)
        else:
            self._add(text)

    def _end_table(self, table: _Table) -> None:
        text = "\n".join(row for row in table.rows if row)
        if self._tables:  # in a cell of another table
            self._tables[-1].cell.append(" ".join(text.split()))
        elif text:
            self._add(text)

    def _add(self, text: str, *, is_item: bool = False) -> None:
        if is_item and self._is_tight:
            self.blocks[-1] += "\n" + text
        else:
            self.blocks.append(text)
        self._is_tight = is_item
