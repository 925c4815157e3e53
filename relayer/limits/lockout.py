"""Lock-outs: whoever fails too often within a while is not heard for a longer one."""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from relayer.limits.local import monotonic_microseconds
from relayer.limits.policy import MICROSECONDS
from relayer.limits.store import Script, SharedStore

_MOST_SUBJECTS = 100_000


@dataclass(frozen=True, slots=True)
class LockoutRule:
    """So many failures within `window` lock for `hold`; both in microseconds."""

    name: str
    failures: int = 10
    window: int = 60 * MICROSECONDS
    hold: int = 15 * 60 * MICROSECONDS


class Lockouts:
    """Counts failures of subjects, all processes together; each alone while the store is away."""

    def __init__(
        self, store: SharedStore, rule: LockoutRule, *, clock: Callable[[], int] | None = None
    ) -> None:
        self._store = store
        self._rule = rule
        self._clock = clock
        self._local = _LocalLockouts(rule, clock or monotonic_microseconds)
        self._script = Script(files("relayer.limits").joinpath("lockout.lua").read_text("utf-8"))

    async def locked(self, subject: str) -> int:
        """For how many microseconds a subject is not heard; 0 where it is."""
        return await self._ask(subject, 0)

    async def failed(self, subject: str) -> int:
        """Count a failure; give for how long the subject was locked out before it."""
        return await self._ask(subject, 1)

    async def _ask(self, subject: str, failures: int) -> int:
        rule = self._rule
        place = f"jobseal:lockout:{rule.name}:{subject}"
        args: list[Any] = ["" if self._clock is None else self._clock(), failures]
        args += (rule.failures, rule.window, rule.hold)
        left = await self._store.ask(
            lambda redis: self._script(redis, [f"{place}:failures", f"{place}:lock"], args)
        )
        return self._local.ask(subject, failures) if left is None else int(left)


class _LocalLockouts:
    def __init__(self, rule: LockoutRule, clock: Callable[[], int]) -> None:
        self._rule = rule
        self._clock = clock
        self._failures: OrderedDict[str, deque[int]] = OrderedDict()
        self._locks: OrderedDict[str, int] = OrderedDict()

    def ask(self, subject: str, failures: int) -> int:
        now = self._clock()
        left = self._locks.get(subject, now) - now
        if left > 0:
            return min(left, self._rule.hold)
        if failures:
            times = self._failures.setdefault(subject, deque(maxlen=self._rule.failures))
            self._failures.move_to_end(subject)
            times.append(now)
            if len(times) == self._rule.failures and abs(now - times[0]) <= self._rule.window:
                self._locks[subject] = now + self._rule.hold
                del self._failures[subject]
            for kept in (self._failures, self._locks):
                while len(kept) > _MOST_SUBJECTS:
                    kept.popitem(last=False)
        return 0
