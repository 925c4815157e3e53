"""Seeds of the campaign that every change has to pass; `make chaos` runs as many as one likes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from chaos import judge
from chaos.catalogue import CATALOGUE
from chaos.run import Report, Run, run
from chaos.trouble import Trouble
from chaos.world import Connections, World, begin
from ground import Ground

SEEDS = 25
NOTHING = frozenset[str]()


@pytest.mark.usefixtures("urls")
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_seed_comes_to_rest_and_all_is_well(
    deployed: Ground, opened: Connections, tmp_path: Path, seed: int
) -> None:
    report = await run(deployed, opened, tmp_path, seed)
    assert report.flaws == [], "\n".join(report.trace)
    assert all(one.blocks is not None for one in report.recoveries)


async def test_a_seed_repeats_its_run(
    deployed: Ground, opened: Connections, tmp_path: Path, empty: Callable[[], None]
) -> None:
    """Also after a run in which a node was given up."""
    reports: list[Report] = []
    (given_up,) = (trouble for trouble in CATALOGUE if trouble.name == "no answers")
    for turn in (None, [given_up], None):
        empty()
        reports.append(await run(deployed, opened, tmp_path / str(len(reports)), SEEDS, turn))
    first, _, second = reports
    assert first.trace == second.trace
    assert first.digest == second.digest


def test_every_trouble_has_a_name_of_its_own() -> None:
    names = [(trouble.kind, trouble.name) for trouble in CATALOGUE]
    assert len(names) == len(set(names))


async def test_without_a_bell_polling_goes_on_and_the_silence_is_noticed(
    deployed: Ground,
    opened: Connections,
    tmp_path: Path,
    empty: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(world: World) -> None:
        world.sockets.refusing = True
        world.sockets.drop()

    monkeypatch.setattr("chaos.run._HEARS_WITHIN_S", 0.01)
    empty()
    report = await run(deployed, opened, tmp_path, 0, [Trouble("H sockets", "refused for good", refuse)])
    assert report.flaws == ["the leader is not told of new blocks any more"]
    assert all(one.blocks is not None for one in report.recoveries)


WRONG = {
    "a job is not confirmed": (
        "jobs",
        "UPDATE jobs SET state = 'confirming', confirmed_at = NULL WHERE ticket = 1",
    ),
    "a batch waits for a human without a cause": (
        "batches",
        "UPDATE batches SET state = 'needs_human', reason = 'integrity' WHERE root IN (SELECT min(root) FROM batches)",
    ),
    "a batch is said to be in another block": (
        "batches",
        "UPDATE batches SET block_hash = sha256(block_hash)",
    ),
    "a slot is open": ("chain_txs", "UPDATE chain_txs SET state = 'broadcast' WHERE nonce = 0"),
    "a nonce was given and never used": ("chain_txs", "UPDATE chain_txs SET nonce = nonce + 1000"),
    "a ticket was spent without the database": (
        "batch_words",
        "UPDATE batch_words SET mask = sha256(mask)",
    ),
    "a root was never announced": ("batches", "UPDATE batches SET root = sha256(root)"),
}


async def test_the_judge_sees_what_is_wrong(
    deployed: Ground, opened: Connections, tmp_path: Path, superuser: psycopg.Connection[Any]
) -> None:
    world = await begin(deployed, opened, tmp_path, 0)
    assert (await Run(world, 0, []).run()).flaws == []
    for name, (table, statement) in WRONG.items():
        superuser.execute(f"CREATE TEMP TABLE kept AS TABLE {table}".encode())
        assert superuser.execute(statement.encode()).rowcount > 0, name
        assert await judge.flaws(world, NOTHING), name
        superuser.execute(f"DELETE FROM {table}".encode())  # noqa: S608 - a name from above
        superuser.execute(f"INSERT INTO {table} TABLE kept".encode())
        superuser.execute("DROP TABLE kept")
    assert await judge.flaws(world, NOTHING) == []
