"""What the operators say: put this text there."""

from typing import NamedTuple

from mutants.syntax import Node, Place, span


class Edit(NamedTuple):
    """A replacement of the bytes from `start` to before `end` of a file."""

    start: int
    end: int
    text: str


def replace(node: Node, text: str) -> Edit:
    """The whole of `node` becomes `text`."""
    return Edit(*span(node), text)


def between(place: Place, left: Node, right: Node, token: str, text: str) -> Edit:
    """The `token` between two neighbouring nodes becomes `text`."""
    start = place.source.content.index(token.encode(), span(left)[1], span(right)[0])
    return Edit(start, start + len(token), text)


def swap(place: Place, left: Node, right: Node) -> Edit:
    """Two nodes change places."""
    gap = place.source.slice(span(left)[1], span(right)[0])
    text = place.source.text(right) + gap + place.source.text(left)
    return Edit(span(left)[0], span(right)[1], text)
