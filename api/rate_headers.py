"""`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers), as structured fields (RFC 9651)."""

from functools import lru_cache

from relayer.limits.policy import MICROSECONDS, Policy, Standing, Verdict


def seconds(microseconds: int) -> int:
    """Round up to whole seconds, of which there is at least one."""
    return max(1, -(-microseconds // MICROSECONDS))


def rate_headers(verdict: Verdict) -> dict[str, str]:
    """Describe the policies of a request and how it stands to them.

    `q` units are whole again in `w` seconds; `r` are free; in `t` seconds all of them are, or, after a refusal, those
    that the request needs. A refusal names only the policies that refused, so that no `t` lies behind `Retry-After`.
    """
    shown = verdict.standings if verdict.allowed else verdict.violated
    return {
        "RateLimit-Policy": ", ".join([_policy(one.charge.policy) for one in verdict.standings]),
        "RateLimit": ", ".join(map(_standing, shown)),
    }


@lru_cache(maxsize=1024)
def _policy(policy: Policy) -> str:
    return f'"{policy.name}";q={policy.burst};w={policy.window_seconds}'


def _standing(standing: Standing) -> str:
    wait = standing.reset if standing.allowed else standing.retry_after
    return f'"{standing.charge.policy.name}";r={standing.remaining};t={-(-wait // MICROSECONDS)}'
