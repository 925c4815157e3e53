"""Tries mutants side by side."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing
from queue import SimpleQueue

from mutants.generate import Mutant
from mutants.memory import Memory
from mutants.project import Project
from mutants.trial import Bench, Verdict


def run(project: Project, mutants: Sequence[Mutant], workers: int) -> Iterator[tuple[Mutant, Verdict]]:
    """Each mutant with its verdict, as they come: first those that are remembered."""
    memory = Memory(project.workplace / "verdicts.jsonl", project.root)
    unknown = []
    for mutant in mutants:
        if (verdict := memory.recall(mutant)) is not None:
            yield mutant, verdict
        else:
            unknown.append(mutant)
    for mutant, verdict in _judged(project, unknown, min(workers, len(unknown))):
        memory.keep(mutant, verdict)
        yield mutant, verdict


def _judged(project: Project, mutants: Sequence[Mutant], workers: int) -> Iterator[tuple[Mutant, Verdict]]:
    known: dict[str, Verdict] = {}
    benches: SimpleQueue[Bench] = SimpleQueue()

    def judge(mutant: Mutant) -> Verdict:
        bench = benches.get()
        try:
            return bench.judge(mutant, known)
        finally:
            benches.put(bench)

    with ExitStack() as stack, ThreadPoolExecutor(max(workers, 1)) as pool:
        for number in range(workers):
            benches.put(stack.enter_context(closing(Bench(project, project.workplace / f"bench-{number}"))))
        trials = {pool.submit(judge, mutant): mutant for mutant in mutants}
        try:
            for trial in as_completed(trials):
                yield trials[trial], trial.result()
        finally:
            pool.shutdown(cancel_futures=True)  # where one trial could not be held, the others need not be
