# noqa: INP001 - a script, not part of a package
"""Writes the API's description, `docs/reference/openapi.json`, and the list of codes in `docs/reference/errors.md`.

``tools/openapi.py`` writes them; ``tools/openapi.py --check`` fails where they differ from what it would write, or where
the description breaks a promise of `openapi.released.json`, the copy of the last release.
"""

import json
import sys
from typing import Any

import snapshot
from openapi_changes import breaking_changes
from pydantic import SecretBytes, SecretStr

from api import explanations
from api.app import Settings, create_app
from relayer.settings import (
    ApiSettings,
    BlobSettings,
    DatabaseSettings,
    KeySettings,
    RedisSettings,
    RegistrySettings,
    TokenSettings,
)

REFERENCE = snapshot.ROOT / "docs/reference"
DESCRIPTION = REFERENCE / "openapi.json"
ERRORS = REFERENCE / "errors.md"
BEGIN, END = "<!-- written by `make openapi` -->", "<!-- end -->"
RELEASED = REFERENCE / "openapi.released.json"


def describe() -> dict[str, Any]:
    """Give the description of an application that reaches nothing."""
    settings = Settings(
        ApiSettings(),
        DatabaseSettings(url=SecretStr("postgresql://nobody@localhost/nothing")),
        RegistrySettings(chain_id=1, address=f"0x{'0' * 40}"),
        BlobSettings(folder=snapshot.ROOT / ".build/blobs"),
        KeySettings(pepper=SecretBytes(b"nothing is kept")),
        RedisSettings(url=SecretStr("redis://localhost")),
        TokenSettings(issuer="https://jobseal.example", secret=SecretBytes(bytes(32))),
    )
    return create_app(settings).openapi()


def main() -> int:
    """Write or check; give the exit status."""
    document = describe()
    failed = snapshot.settle(
        DESCRIPTION,
        json.dumps(document, indent=1, ensure_ascii=False) + "\n",
        "is not what the API serves: run `make openapi` and commit it",
    )
    errors = ERRORS.read_text()
    before, _, rest = errors.partition(BEGIN)
    _, _, after = rest.partition(END)
    failed |= snapshot.settle(
        ERRORS,
        f"{before}{BEGIN}\n{explanations.table()}\n{END}{after}",
        "does not list the API's codes as they are: run `make openapi` and commit it",
    )
    broken = breaking_changes(json.loads(RELEASED.read_text()), document) if RELEASED.exists() else []
    for line in broken:
        sys.stderr.write(f"breaks clients of the last release: {line}\n")
    return failed or bool(broken)


if __name__ == "__main__":
    sys.exit(main())
