"""The compiler, kept running."""

import json
import subprocess
from pathlib import Path
from typing import Any

# (path, contract) and what solc says of it, where the contract has bytecode.
Target = tuple[str, str]
Compiled = dict[Target, dict[str, Any]]

_WANTED = [
    "evm.bytecode.object",
    "evm.bytecode.linkReferences",
    "evm.deployedBytecode.object",
    "evm.deployedBytecode.linkReferences",
    "evm.deployedBytecode.immutableReferences",
]


class Compiler:
    """Compiles changes of one base, an input in solc's standard JSON, in a process of its own until `close`."""

    def __init__(self, base: Path) -> None:
        self._process = subprocess.Popen(
            ["node", Path(__file__).with_name("solc.js"), base],  # noqa: S607 - Node.js of whoever runs the tool
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def compile(self, path: str, content: str, targets: list[Target]) -> Compiled | None:
        """The targets with `content` as the file `path`; None where that does not compile."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        selection: dict[str, dict[str, list[str]]] = {}
        for file, contract in targets:
            selection.setdefault(file, {})[contract] = _WANTED
        stdin.write(json.dumps({"path": path, "content": content, "outputSelection": selection}) + "\n")
        stdin.flush()
        output = json.loads(stdout.readline())
        if any(error["severity"] == "error" for error in output.get("errors", ())):
            return None
        return {(file, contract): output["contracts"][file][contract]["evm"] for file, contract in targets}

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def creation_code(compiled: Compiled) -> list[str]:
    """The creation bytecode of each contract, in hexadecimal digits."""
    return [evm["bytecode"]["object"] for evm in compiled.values()]
