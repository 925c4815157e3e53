"""Into which contracts the code of a file goes.

By the syntax trees: the source maps of a contract forget what the optimizer has folded away.
"""

from collections.abc import Iterator, Mapping
from functools import cache

from mutants.solc import Target
from mutants.syntax import Node, nodes_of


class Reach:
    """The contracts of a program, given as a syntax tree for each path, and what their bytecode is made of."""

    def __init__(self, trees: Mapping[str, Node]) -> None:
        declared = [(path, node) for path, tree in trees.items() for node in nodes_of(tree) if "id" in node]
        self._paths = {node["id"]: path for path, node in declared}
        self._nodes = {node["id"]: node for _, node in declared}
        self._contracts = [node for _, node in declared if node["nodeType"] == "ContractDefinition"]
        self._uses_of = cache(lambda declaration: set(self._uses(self._nodes[declaration])))

    def contracts_with(self, path: str) -> set[Target]:
        """All contracts that have code of the file `path` in their bytecode, or in that of one that they create."""
        return {
            (self._paths[contract["id"]], contract["name"])
            for contract in self._contracts
            if path in self._files(contract)
        }

    def _files(self, contract: Node) -> set[str]:
        reached: set[int] = set()
        ahead = [contract["id"]]
        while ahead:
            declaration = ahead.pop()
            if declaration not in reached:
                reached.add(declaration)
                ahead += self._uses_of(declaration)
        return {self._paths[declaration] for declaration in reached}

    def _uses(self, declaration: Node) -> Iterator[int]:
        """The declarations whose code is compiled into that of another: bases, internal functions, constants."""
        if declaration["nodeType"] == "ContractDefinition":
            yield from declaration["linearizedBaseContracts"]
            yield from declaration["contractDependencies"]
        for node in nodes_of(declaration):
            yield from (reference["declaration"] for reference in node.get("externalReferences", ()))
            used: int = node.get("referencedDeclaration", 0)
            kind = node.get("typeDescriptions", {}).get("typeIdentifier", "")
            if kind.startswith("t_function"):
                is_compiled_in = kind.startswith("t_function_internal")
            else:
                is_compiled_in = self._nodes.get(used, {}).get("constant", False)
            if is_compiled_in and used in self._nodes:
                yield used
