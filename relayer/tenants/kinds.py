"""What may be the name of a kind to which administration gives something; it need not be installed."""

LONGEST_KIND = 64


def is_kind(text: str) -> bool:
    """Whether it is 1 to 64 printable characters."""
    return 0 < len(text) <= LONGEST_KIND and text.isprintable()
