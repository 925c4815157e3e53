"""The description for programs, and the pages for people: the reference, and one for each error.

The pages load nothing from other hosts.
"""

import json
from html import escape

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import OPEN_TO_ALL
from api.bodies import to_json
from api.caching import conditional, tag_of
from api.errors import HELP_PATH, Code, ProblemError
from api.explanations import explain
from api.reference.html import contents, inline, page, table
from api.reference.page import reference

router = APIRouter(include_in_schema=False, dependencies=[OPEN_TO_ALL])

_KEEP = "public, max-age=300"


@router.get("/openapi.json")
async def description(request: Request) -> Response:
    """Give the description of the API (OpenAPI 3.1)."""
    # Made once, as the reference is: writing it takes many times what sending it does.
    made: tuple[str, bytes] | None = getattr(request.app.state, "description", None)
    if made is None:
        content = to_json(request.app.openapi())
        made = request.app.state.description = (tag_of(content), content)
    tag, content = made
    return conditional(request, tag, _KEEP, lambda: Response(content, media_type="application/json"))


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Give the reference of the API."""
    # Made once: the description of a running process never changes.
    made: tuple[str, str, str] | None = getattr(request.app.state, "reference", None)
    if made is None:
        made = request.app.state.reference = reference(request.app.openapi())
    return page(*made)


@router.get(HELP_PATH)
async def errors() -> Response:
    """Give the list of the codes of errors."""
    rows = [
        [
            f'<a href="{HELP_PATH}/{code.slug}"><code>{code.slug}</code></a>',
            str(code.value.status),
            code.value.title,
        ]
        for code in Code
    ]
    return page("Errors", _contents(), f"<h1>Errors</h1>{table(['code', 'status', 'what it means'], rows)}")


@router.get(f"{HELP_PATH}/{{slug}}")
async def error(slug: str) -> Response:
    """Explain a code: what it means, why it comes, what to do."""
    code = next((one for one in Code if one.slug == slug), None)
    if code is None:
        raise ProblemError(Code.NOT_FOUND, f"there is no such code; {HELP_PATH} lists those there are")
    definition, text = code.value, explain(code)
    retry = (
        "Yes: the same request may succeed later without a change."
        if definition.retryable
        else "No: the same request fails again until something is changed."
    )
    problem = ProblemError(code, "what is wrong with this request, and the remedy")
    example = json.dumps(problem.document("/v1/…", "req_…"), indent=2, ensure_ascii=False)
    main = (
        f"<h1><code>{code.slug}</code></h1><p>{escape(definition.title)}. Status {definition.status}.</p>"
        f"<h2>Why it comes</h2><p>It comes when {inline(text.cause)}.</p>"
        f"<h2>What to do</h2><p>{inline(text.remedy)}</p>"
        f"<h2>Is it worth another try?</h2><p>{retry}</p>"
        f"<h2>What it looks like</h2><pre tabindex=0><code>{escape(example)}</code></pre>"
    )
    return page(f"{code.slug}: {definition.title}", _contents(), main)


def _contents() -> str:
    codes = {f"{HELP_PATH}/{code.slug}": code.slug for code in Code}
    return contents({"Jobseal": {"/docs": "Reference", HELP_PATH: "Errors"}, "codes": codes})
