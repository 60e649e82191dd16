"""XML as a stream of events: no entities, no external references, limited depth.

Documents of Word and the lists of an EPUB need none of what makes XML dangerous, so a file that
declares entities is refused, and nothing outside the given bytes is ever opened.
"""

from collections.abc import Mapping
from typing import Protocol
from xml.parsers import expat

from embedge.models.errors import InputError

MAX_DEPTH = 200


class Events(Protocol):
    """Receives a document in order; names are local, `space` is the namespace."""

    def start(self, space: str, name: str, attributes: Mapping[str, str]) -> None:
        """Begin an element; attribute names come without their namespace."""
        ...

    def end(self, space: str, name: str) -> None:
        """End an element."""
        ...

    def text(self, data: str) -> None:
        """Take text; one run may come in pieces."""
        ...


def read_xml(data: bytes, events: Events, *, path: str, member: str) -> None:
    """Send a document to `events`.

    Args:
        data: the document; its encoding is the one that it declares.
        events: receives elements and text.
        path: of the file, for messages.
        member: which part of the file `data` is, for messages.

    Raises:
        InputError: `limit` for entity declarations and deep nesting, `format` for anything
            that is not well-formed.
    """
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise xml_bomb(path, member, f"nests deeper than {MAX_DEPTH} elements")
        space, _, local = name.rpartition(" ")
        events.start(space, local, {_local(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        space, _, local = name.rpartition(" ")
        events.end(space, local)

    def refuse(*_declaration: object) -> None:
        raise xml_bomb(path, member, "declares entities")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = events.text
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InputError(
            f"{path} is damaged: {member} is no XML ({error}); open it in its program and save "
            "it again",
            "format",
        ) from error
    except (LookupError, UnicodeError, ValueError) as error:  # an encoding that does not exist
        raise InputError(f"{path} is damaged: {member}: {error}", "format") from error


def xml_bomb(path: str, member: str, what: str) -> InputError:
    """Return the error for XML that would grow beyond its file."""
    return InputError(
        f"{path}: {member} {what}, as XML bombs do; leave it out with --exclude, or save its text "
        "in another format",
        "limit",
    )


def _local(name: str) -> str:
    return name.rpartition(" ")[2]
