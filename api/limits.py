"""Who is let in: the limits of addresses where no key is known, those of keys and tenants where one is.

A request without a valid key spends its address's allowance and never a tenant's, so that nobody can use up, or sound
out, the limits of another. While Redis is away, reads pass, and what changes something is held to a bucket of this process.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from uuid import UUID

from starlette.requests import Request

from api.address import Network, Visitor, visitor
from api.errors import Code, ProblemError
from api.rate_headers import rate_headers, seconds
from relayer.limits.limiter import Limiter
from relayer.limits.lockout import Lockouts
from relayer.limits.policy import Charge, Policy, Verdict
from relayer.telemetry.metrics import Metrics
from relayer.tenants.plans import Limits
from relayer.tenants.principal import Principal

MOST_ITEMS = 500
"""Jobs of one request."""

UNAUTHENTICATED = Policy.per_minute("ip-unauth", 30, 30)
OPEN = Policy.per_minute("ip-open", 300, 60)
"""What is open to all."""

# A key that came from an address a while ago is no guess: its holder is heard while others at the address are locked out.
_KNOWN_FOR_S = 15 * 60.0
_MOST_KNOWN = 10_000


class Action(Enum):
    """What a request does, and which of the tenant's rates it is held to."""

    READ = "tenant-read"
    WRITE = "tenant-write"
    SUBMIT = "tenant-submit"


class Admission:
    """Lets requests in, or raises the problem that they are refused with."""

    def __init__(
        self, limiter: Limiter, failures: Lockouts, trusted: Sequence[Network], metrics: Metrics
    ) -> None:
        self._limiter = limiter
        self._metrics = metrics
        self._failures = failures
        self._trusted = trusted
        self._known: OrderedDict[bytes, float] = OrderedDict()
        self._made: dict[UUID, tuple[Principal, dict[Action, list[Charge]]]] = {}

    def visitor(self, request: Request) -> Visitor:
        """Say where a request comes from."""
        return visitor(request, self._trusted)

    async def meet(self, request: Request, address: str, credential: str) -> bool:
        """Hear a credential before anything is asked about it; say whether it needs no new welcome.

        Raises:
            ProblemError: its address failed too often, or used up its allowance.

        """
        left = self._known.get(_pair(address, credential), 0.0) - time.monotonic()
        if left > 0:
            return left > _KNOWN_FOR_S / 2
        locked, verdict = await asyncio.gather(
            self._failures.locked(_suspect(address, credential)),
            self._limiter.check([Charge(UNAUTHENTICATED, address, 0)]),
        )
        if locked:
            raise self._locked_out(locked)
        if not verdict.allowed:
            request.state.rate_headers = rate_headers(verdict)
            raise self._refused(verdict)
        return False

    async def count_failure(self, request: Request, address: str, credential: str | None) -> None:
        """Count a request that did not show who it is; None: it showed nothing.

        Raises:
            ProblemError: its address tries too often, so that it hears nothing else.

        """
        if credential is not None:
            self._known.pop(_pair(address, credential), None)
            if locked := await self._failures.failed(_suspect(address, credential)):
                raise self._locked_out(locked)
        verdict = await self._limiter.check([Charge(UNAUTHENTICATED, address)])
        if not verdict.allowed:
            request.state.rate_headers = rate_headers(verdict)
            raise self._refused(verdict)

    async def visit(self, request: Request) -> None:
        """Hold a request for what is open to all to the rate of its address.

        Raises:
            ProblemError: its address asks too often.

        """
        verdict = await self._limiter.check([Charge(OPEN, self.visitor(request).address)])
        if not verdict.allowed:
            request.state.rate_headers = rate_headers(verdict)
            raise self._refused(verdict)

    def welcome(self, address: str, credential: str) -> None:
        """Remember that a credential was valid at its address."""
        pair = _pair(address, credential)
        self._known[pair] = time.monotonic() + _KNOWN_FOR_S
        self._known.move_to_end(pair)
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)

    async def admit(self, request: Request, principal: Principal, action: Action, units: int = 1) -> None:
        """Hold a request to the rates of its key and its tenant, all or none.

        Units are jobs where something is submitted; a batch has one until their number is known, and `submit` follows.

        Raises:
            ProblemError: a rate is used up.

        """
        charges = self._charges(principal)[action]
        if units != 1:
            charges = [charges[0], replace(charges[1], units=units)]
        await self._check(request, action, charges)

    async def submit(self, request: Request, principal: Principal, jobs: int) -> None:
        """Hold a batch that was admitted as one job to the tenant's rate of submissions.

        Raises:
            ProblemError: the rate is used up; nothing was used of it but what let the batch in.

        """
        if jobs == 1:
            return
        _, charge = self._charges(principal)[Action.SUBMIT]
        await self._check(request, Action.SUBMIT, [replace(charge, units=jobs - 1, paid=1)])

    async def _check(self, request: Request, action: Action, charges: Sequence[Charge]) -> None:
        verdict = await self._limiter.check(charges)
        request.state.rate_headers = rate_headers(verdict)
        if verdict.is_local:
            self._metrics.local_verdicts.inc()
        if verdict.allowed or (verdict.is_local and action is Action.READ):
            return
        raise self._refused(verdict)

    def _refused(self, verdict: Verdict) -> ProblemError:
        for standing in verdict.violated:
            self._metrics.refused.labels(standing.charge.policy.name).inc()
        return _reduced(verdict) if verdict.is_local else _limited(verdict)

    def _locked_out(self, microseconds: int) -> ProblemError:
        self._metrics.refused.labels("auth-failure").inc()
        return _locked_out(microseconds)

    def _charges(self, principal: Principal) -> dict[Action, list[Charge]]:
        """Give what a request of each kind is charged, made once for as long as its key is remembered."""
        kept = self._made.get(principal.key_id)
        if kept is not None and kept[0] is principal:
            return kept[1]
        key, rates = _policies(principal.limits)
        charges = {
            action: [Charge(key, str(principal.key_id)), Charge(rate, str(principal.tenant_id))]
            for action, rate in rates.items()
        }
        if len(self._made) >= _MOST_KNOWN:
            self._made.clear()
        self._made[principal.key_id] = (principal, charges)
        return charges


def _policies(limits: Limits) -> tuple[Policy, dict[Action, Policy]]:
    """Give the policies of a tenant's keys, and of the tenant.

    Writes that submit nothing have twice the rate of submissions: a job with a file takes one of each. One key alone
    may do all that its tenant may in the long run, and not all bursts at once.
    """
    submits, reads = limits.submissions_per_minute, limits.reads_per_minute
    return (
        Policy.per_minute("key-burst", 3 * submits + reads, limits.submissions_burst + limits.reads_burst),
        {
            Action.READ: Policy.per_minute("tenant-read", reads, limits.reads_burst),
            Action.WRITE: Policy.per_minute("tenant-write", 2 * submits, 2 * limits.submissions_burst),
            Action.SUBMIT: Policy.per_minute("tenant-submit", submits, limits.submissions_burst, MOST_ITEMS),
        },
    )


def policies_of(limits: Limits) -> list[Policy]:
    """Give every rate that a tenant's requests are held to."""
    key, rates = _policies(limits)
    return [key, *rates.values()]


def _suspect(address: str, credential: str) -> str:
    """Whom failures are counted for: an address and a kind of credential."""
    kind = (
        "_".join(credential.split("_")[:2]) if credential.startswith(("jsl_live_", "jsl_test_")) else "token"
    )
    return f"{address}:{kind}"


def _pair(address: str, credential: str) -> bytes:
    return hashlib.blake2b(f"{address}\n{credential}".encode(), digest_size=16).digest()


def _limited(verdict: Verdict) -> ProblemError:
    names = [standing.charge.policy.name for standing in verdict.violated]
    wait = seconds(verdict.retry_after)
    return ProblemError(
        Code.RATE_LIMITED,
        f"more requests than {' and '.join(names)} allow; try again in {wait} s",
        meta={"violated_policies": names},
        headers={"Retry-After": str(wait)},
    )


def _reduced(verdict: Verdict) -> ProblemError:
    wait = seconds(verdict.retry_after)
    return ProblemError(
        Code.TEMPORARILY_REDUCED_CAPACITY,
        f"a part of the platform is away, and less is accepted meanwhile; try again in {wait} s",
        meta={"violated_policies": [standing.charge.policy.name for standing in verdict.violated]},
        headers={"Retry-After": str(wait)},
    )


def _locked_out(microseconds: int) -> ProblemError:
    wait = seconds(microseconds)
    return ProblemError(
        Code.TOO_MANY_FAILURES,
        f"too many requests from this address had an invalid key; correct the key and try again in {wait} s",
        headers={"Retry-After": str(wait)},
    )
