"""The little XML the stores' own protocols speak: a root with fields, and one kind of entry that repeats."""

from __future__ import annotations


class NotThatDocument(ValueError):
    """It is no XML, or has another root than was asked for."""


def read_entries(document: bytes, roots: frozenset[str], entry: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The root's own fields, and the fields of each element called ``entry``, wherever it stands.

    Fields of deeper elements are left out. Namespaces are taken as they are written: the stores use a default one.

    Raises:
        NotThatDocument: it is no document with one of these roots.
    """
    from xml.parsers import expat  # noqa: PLC0415 - only for listings; expat itself refuses entity bombs

    top: dict[str, str] = {}
    entries: list[dict[str, str]] = []
    path: list[str] = []
    text: list[str] = []
    depth = [0]

    def begin(name: str, _: dict[str, str]) -> None:
        if not path and name not in roots:
            raise NotThatDocument(name)
        path.append(name)
        text.clear()
        if name == entry:
            depth[0] = len(path)
            entries.append({})

    def finish(name: str) -> None:
        if depth[0] and len(path) == depth[0] + 1:
            entries[-1][name] = "".join(text)
        elif len(path) == 2:  # noqa: PLR2004 - right below the root
            top[name] = "".join(text)
        if len(path) == depth[0]:
            depth[0] = 0
        path.pop()
        text.clear()

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = begin
    parser.EndElementHandler = finish
    parser.CharacterDataHandler = text.append
    try:
        parser.Parse(document, True)  # noqa: FBT003 - expat's own signature
    except expat.ExpatError as error:
        raise NotThatDocument from error
    return top, entries
