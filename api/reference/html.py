"""HTML for people: one frame, one style sheet inside it, no script, nothing from anywhere else."""

import base64
import hashlib
import re
from html import escape
from importlib.resources import files

from starlette.responses import Response

_STYLE = files("api.reference").joinpath("style.css").read_text("utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "public, max-age=300",
    "Referrer-Policy": "no-referrer",
}
_CODE = re.compile(r"`([^`]+)`")
_BOLD = re.compile(r"\*\*([^*]+)\*\*")


def page(title: str, navigation: str, main: str) -> Response:
    """Answer with a page; `navigation` and `main` are HTML."""
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        '<body><a class="skip" href="#main">Skip to the content</a>\n'
        f'<nav aria-label="Contents">{navigation}</nav>\n<main id="main">{main}</main></body></html>\n'
    )
    return Response(text, headers=_HEADERS, media_type="text/html")


def markdown(text: str) -> str:
    """Write the little Markdown that descriptions use: paragraphs, lists, `code`, **bold**."""
    parts = []
    for block in text.strip().split("\n\n"):
        if block.startswith("* "):
            items = re.split(r"\n(?=\* )", block)
            parts.append(f"<ul>{''.join(f'<li>{inline(item[2:])}</li>' for item in items)}</ul>")
        else:
            parts.append(f"<p>{inline(block)}</p>")
    return "".join(parts)


def inline(text: str) -> str:
    """Write one line of it."""
    return _BOLD.sub(r"<strong>\1</strong>", _CODE.sub(r"<code>\1</code>", escape(text)))


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Write a table of cells that are HTML."""
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def contents(sections: dict[str, dict[str, str]]) -> str:
    """Write a table of contents: by heading, the links and what they are called."""
    return "".join(
        f"<h2>{escape(heading)}</h2><ul>"
        + "".join(f'<li><a href="{escape(target)}">{escape(name)}</a></li>' for target, name in links.items())
        + "</ul>"
        for heading, links in sections.items()
    )
