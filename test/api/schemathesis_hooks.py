"""What schemathesis leaves alone: the key that it shows. Without it, all that follows is refused, and says nothing."""

import os
from typing import Any

import schemathesis

OWN_KEY_ID = os.environ["OWN_KEY_ID"]
NO_KEY_ID = "key_01970000-0000-7000-8000-000000000000"


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], __: dict[str, Any]) -> None:
    """Revoke or rotate a key that there never was, in its place."""
    if case.path_parameters.get("key_id") == OWN_KEY_ID:
        case.path_parameters["key_id"] = NO_KEY_ID
