"""The table of contents of an EPUB: names of chapters that have no heading themselves."""

import posixpath
import re
from html.parser import HTMLParser
from urllib.parse import unquote

from embedge.runtime.extract.archive import inner_path

_HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)


def chapter_names(markup: str, member: str) -> dict[str, str]:
    """Return the first name of each chapter that a table of contents lists.

    Args:
        markup: of a navigation page (EPUB 3) or of an NCX file (EPUB 2); read by the rules of
            browsers, because many are not well-formed.
        member: where it lies; its links are relative to that.
    """
    contents = _Contents()
    contents.feed(markup)
    names: dict[str, str] = {}
    for link, name in contents.entries:
        path = inner_path(posixpath.dirname(member), unquote(link))
        if path and name:
            names.setdefault(path, name)
    return names


def with_heading(text: str, name: str | None) -> str:
    """Put a chapter's name before its text, unless the text has a heading or begins with it."""
    if not text or not name or _HEADING.search(text):
        return text
    first, _, rest = text.partition("\n")
    if first.strip() == name:
        return f"# {name}\n{rest}"
    return f"# {name}\n\n{text}"


class _Contents(HTMLParser):
    """Collects links with their text: `a` in a page, `navLabel` and `content` in an NCX."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.entries: list[tuple[str, str]] = []
        self._link: str | None = None
        self._name = ""
        self._is_open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("a", "navlabel"):
            self._name, self._link, self._is_open = "", values.get("href"), True
        elif tag == "content" and values.get("src"):
            self._add(values["src"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._add(self._link)
        if tag in ("a", "navlabel"):
            self._is_open = False

    def handle_data(self, data: str) -> None:
        if self._is_open:
            self._name += data

    def _add(self, link: str | None) -> None:
        if link:
            self.entries.append((link, " ".join(self._name.split())))
