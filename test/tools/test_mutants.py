"""The mutation run, on a project of a few lines whose tests are known to be good, or not good enough."""

import json
from pathlib import Path

import pytest
from mutants import explained, forge
from mutants.__main__ import main
from mutants.generate import mutants_of
from mutants.project import Project

ROOT = Path(__file__).resolve().parents[2]

FOUNDRY = """
[profile.default]
src = "contracts"
test = "test/contracts"
script = "script"
auto_detect_remappings = false
solc = "tools/solc"
offline = true
optimizer = true
bytecode_hash = "none"
"""

LIMIT = """
// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

library Limit {
    function admits(uint256 count) internal pure returns (bool) {
        return count < 3;
    }
}
"""

GATE = """
// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {Limit} from "./Limit.sol";

contract Gate {
    uint256 public count;

    function enter() external {
        require(Limit.admits(count));
        ++count;
    }
}
"""

TESTS = """
// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {Gate} from "contracts/Gate.sol";
import {Limit} from "contracts/Limit.sol";

contract GateTest {
    function test_AdmitsThree() public {
        Gate gate = new Gate();
        for (uint256 i = 0; i < 3; ++i) {
            gate.enter();
        }
        require(gate.count() == 3);
        // no more
    }

    function test_RefusesFive() public pure {
        require(!Limit.admits(5));
    }
}
"""

ZOO = """
// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

contract Zoo {
    bytes32 private constant OWNER = keccak256("OWNER");
    bytes32 private constant GUEST = keccak256("GUEST");

    struct Pair {
        uint256 left;
        uint256 right;
    }

    event Fed(address by, uint8 food, uint8 drink);

    modifier only(bytes32 role) {
        require(role != 0);
        _;
    }

    function arithmetic(uint256 a, uint256 b) external pure returns (uint256) {
        return a * b;
    }

    function logic(bool a, bool b) external pure returns (bool) {
        return a && !b;
    }

    function guard(bytes32 word) external pure {
        if (word == 0) revert();
    }

    function role() external only(OWNER) {}

    function log(uint8 food, uint8 drink) external {
        emit Fed(msg.sender, food, drink);
    }

    function member(Pair calldata pair) external pure returns (uint256) {
        return pair.left;
    }

    function choice(bool a) external pure returns (bytes1) {
        return a ? bytes1(hex"0f") : bytes1(hex"00");
    }

    function steps() external pure returns (uint256 sum) {
        for (uint256 i = 0; i < 4; ++i) {
            sum += i;
        }
    }

    function low(uint256 a) external pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            mstore(0x20, a)
            hash := keccak256(0x20, 0x20)
        }
    }
}
"""

MUTANTS_OF_THE_ZOO = """
Zoo.OWNER: bytes32 private constant OWNER = keccak256(⟨"OWNER" → ""⟩)
Zoo.GUEST: bytes32 private constant GUEST = keccak256(⟨"GUEST" → ""⟩)
Zoo.only: ⟨require(role != 0); → {}⟩
Zoo.only: require(⟨role != 0 → false⟩)
Zoo.only: require(role ⟨!= → ==⟩ 0)
Zoo.only: require(role != ⟨0 → 1⟩)
Zoo.arithmetic: return ⟨a → b⟩ * b
Zoo.arithmetic: return ⟨a * b → a⟩
Zoo.arithmetic: return ⟨a * b → b⟩
Zoo.arithmetic: return ⟨a * b → uint256(0)⟩
Zoo.arithmetic: return a ⟨* → +⟩ b
Zoo.arithmetic: return a ⟨* → /⟩ b
Zoo.arithmetic: return a * ⟨b → a⟩
Zoo.logic: return ⟨a → b⟩ && !b
Zoo.logic: return ⟨a → false⟩ && !b
Zoo.logic: return ⟨a → true⟩ && !b
Zoo.logic: return ⟨a && !b → !b⟩
Zoo.logic: return ⟨a && !b → a⟩
Zoo.logic: return ⟨a && !b → false⟩
Zoo.logic: return ⟨a && !b → true⟩
Zoo.logic: return a ⟨&& → ||⟩ !b
Zoo.logic: return a && ⟨!b → b⟩
Zoo.logic: return a && ⟨!b → false⟩
Zoo.logic: return a && ⟨!b → true⟩
Zoo.logic: return a && !⟨b → a⟩
Zoo.guard: if (⟨word == 0 → false⟩) revert()
Zoo.guard: if (⟨word == 0 → true⟩) revert()
Zoo.guard: if (word ⟨== → !=⟩ 0) revert()
Zoo.guard: if (word == ⟨0 → 1⟩) revert()
Zoo.guard: if (word == 0) ⟨revert(); → {}⟩
Zoo.role: ⟨only(OWNER) → ⟩
Zoo.role: only(⟨OWNER → GUEST⟩)
Zoo.role: only(⟨OWNER → bytes32(0)⟩)
Zoo.log: ⟨emit Fed(msg.sender, food, drink); → {}⟩
Zoo.log: emit Fed(⟨msg.sender → address(0)⟩, food, drink)
Zoo.log: emit Fed(⟨msg.sender → tx.origin⟩, food, drink)
Zoo.log: emit Fed(msg.sender, ⟨food → drink⟩, drink)
Zoo.log: emit Fed(msg.sender, ⟨food → uint8(0)⟩, drink)
Zoo.log: emit Fed(msg.sender, ⟨food, drink → drink, food⟩)
Zoo.log: emit Fed(msg.sender, food, ⟨drink → food⟩)
Zoo.log: emit Fed(msg.sender, food, ⟨drink → uint8(0)⟩)
Zoo.member: return ⟨pair.left → uint256(0)⟩
Zoo.member: return pair.⟨left → right⟩
Zoo.choice: return ⟨a → false⟩ ? bytes1(hex"0f") : bytes1(hex"00")
Zoo.choice: return ⟨a → true⟩ ? bytes1(hex"0f") : bytes1(hex"00")
Zoo.choice: return ⟨a ? bytes1(hex"0f") : bytes1(hex"00") → bytes1(0)⟩
Zoo.choice: return a ? ⟨bytes1(hex"0f") : bytes1(hex"00") → bytes1(hex"00") : bytes1(hex"0f")⟩
Zoo.choice: return a ? bytes1(⟨hex"0f" → hex"0e"⟩) : bytes1(hex"00")
Zoo.choice: return a ? bytes1(hex"0f") : bytes1(⟨hex"00" → hex"01"⟩)
Zoo.steps: uint256 i = ⟨0 → 1⟩
Zoo.steps: ⟨i → sum⟩ < 4
Zoo.steps: ⟨i < 4 → false⟩
Zoo.steps: ⟨i < 4 → true⟩
Zoo.steps: i ⟨< → !=⟩ 4
Zoo.steps: i ⟨< → <=⟩ 4
Zoo.steps: i ⟨< → >=⟩ 4
Zoo.steps: i < ⟨4 → 3⟩
Zoo.steps: i < ⟨4 → 5⟩
Zoo.steps: ⟨++i → ⟩
Zoo.steps: ⟨++i → --i⟩
Zoo.steps: ⟨sum += i; → {}⟩
Zoo.steps: sum ⟨+= → -=⟩ i
Zoo.steps: sum ⟨+= → =⟩ i
Zoo.steps: sum += ⟨i → sum⟩
Zoo.low: ⟨mstore → mstore8⟩(0x20, a)
Zoo.low: ⟨mstore(0x20, a) → ⟩
Zoo.low: mstore(⟨0x20 → 0⟩, a)
Zoo.low: mstore(⟨0x20 → 0x1f⟩, a)
Zoo.low: mstore(⟨0x20 → 0x21⟩, a)
Zoo.low: mstore(⟨0x20, a → a, 0x20⟩)
Zoo.low: mstore(0x20, ⟨a → 0⟩)
Zoo.low: ⟨hash := keccak256(0x20, 0x20) → ⟩
Zoo.low: hash := ⟨keccak256(0x20, 0x20) → 0⟩
Zoo.low: hash := keccak256(⟨0x20 → 0⟩, 0x20)
Zoo.low: hash := keccak256(⟨0x20 → 0x1f⟩, 0x20)
Zoo.low: hash := keccak256(⟨0x20 → 0x21⟩, 0x20)
Zoo.low: hash := keccak256(0x20, ⟨0x20 → 0⟩)
Zoo.low: hash := keccak256(0x20, ⟨0x20 → 0x1f⟩)
Zoo.low: hash := keccak256(0x20, ⟨0x20 → 0x21⟩)
"""

WEAK = TESTS
STRONG = TESTS.replace("// no more", "try gate.enter() { assert(false); } catch {}")

LIVES_IN_THE_WEAK = [
    "Gate.enter: ⟨require(Limit.admits(count)); → {}⟩",
    "Gate.enter: require(Limit.admits(⟨count → uint256(0)⟩))",
    "Limit.admits: return count ⟨< → <=⟩ 3",
    "Limit.admits: return count < ⟨3 → 4⟩",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project without tests."""
    for name in ("node_modules", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    for folder in ("contracts", "script", "test/contracts"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "foundry.toml").write_text(FOUNDRY)
    (tmp_path / "package-lock.json").write_text("{}")
    (tmp_path / "contracts/Limit.sol").write_text(LIMIT)
    (tmp_path / "contracts/Gate.sol").write_text(GATE)
    return tmp_path


def write_tests(root: Path, text: str) -> None:
    (root / "test/contracts/Gate.t.sol").write_text(text)


def explain(root: Path, mutants: list[str]) -> None:
    text = f"[[survivors]]\nbecause = 'it is known'\nmutants = {json.dumps(mutants)}\n"
    (root / "test/contracts/mutants.toml").write_text(text)


def verdicts(root: Path) -> dict[str, str]:
    entries = json.loads((root / ".build/mutants/verdicts.json").read_text())
    return {entry["mutant"]: entry["verdict"] for entry in entries}


def names(root: Path) -> list[str]:
    return [mutant.name for source in Project(root).sources for mutant in mutants_of(source)]


@pytest.mark.campaign
def test_a_strong_test_leaves_no_survivor_and_nothing_to_explain(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tests(root, STRONG)
    assert main([], root) == 0
    assert list(verdicts(root)) == names(root)
    assert set(verdicts(root).values()) == {"killed"}

    explain(root, [LIVES_IN_THE_WEAK[0], "Gate.leave: ⟨--count; → {}⟩"])
    assert main([], root) == 1
    told = capsys.readouterr().out
    assert f"is explained, but is killed: {LIVES_IN_THE_WEAK[0]}" in told
    assert "is explained, but there is no such mutant: Gate.leave: ⟨--count; → {}⟩" in told


@pytest.mark.campaign
def test_survivors_of_a_weak_test_are_named_until_explained(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tests(root, WEAK)
    assert main([], root) == 1
    assert [name for name, verdict in verdicts(root).items() if verdict == "survived"] == LIVES_IN_THE_WEAK
    assert f"contracts/Gate.sol:11: survives: {LIVES_IN_THE_WEAK[0]}" in capsys.readouterr().out

    monkeypatch.delattr(forge, "test")  # nothing has changed that would have to be tried again
    explain(root, LIVES_IN_THE_WEAK)
    assert main([], root) == 0


@pytest.mark.campaign
def test_names_outlive_edits_elsewhere(root: Path) -> None:
    write_tests(root, WEAK)
    before = names(root)
    gate = root / "contracts/Gate.sol"
    gate.write_text(
        GATE.replace("uint256 public", "/// How many are in — ever.\n    uint256 public").replace(
            "function enter", "function leave() external {\n        --count;\n    }\n\n    function enter"
        )
    )
    added = ["Gate.leave: ⟨--count; → {}⟩", "Gate.leave: ⟨--count → ++count⟩"]
    assert sorted(names(root)) == sorted(before + added)


@pytest.mark.campaign
def test_each_construct_has_its_mutants(root: Path) -> None:
    write_tests(root, WEAK)
    (root / "contracts/Zoo.sol").write_text(ZOO)
    found = [name for name in names(root) if name.startswith("Zoo.")]
    assert found == MUTANTS_OF_THE_ZOO.split("\n")[1:-1]


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        (
            'because = "one"\nmutants = ["a"]\n[[survivors]]\nbecause = "two"\nmutants = ["a"]',
            "names it twice: a",
        ),
        ('because = " "\nmutants = ["a"]', "no reason"),
    ],
)
def test_an_explanation_is_given_once_and_says_something(
    tmp_path: Path, entries: str, complaint: str
) -> None:
    file = tmp_path / "mutants.toml"
    file.write_text(f"[[survivors]]\n{entries}\n")
    with pytest.raises(ValueError, match=complaint):
        explained.read(file)
