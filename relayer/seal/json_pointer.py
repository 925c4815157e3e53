"""JSON Pointer (RFC 6901): how an error names a place in a JSON value."""


def below(pointer: str, step: str | int) -> str:
    """Give the pointer of a member or an item of what `pointer` names; the empty pointer names the whole value."""
    return f"{pointer}/{str(step).replace('~', '~0').replace('/', '~1')}"
