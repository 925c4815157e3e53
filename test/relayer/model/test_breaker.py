from relayer.model.breaker import Breaker, BreakerState


class Hand:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_after_failures_in_a_row_and_closes_after_one_good_probe() -> None:
    clock, seen = Hand(), list[bool]()
    breaker = Breaker("part", threshold=2, rest=1.0, clock=clock)
    breaker.listen(seen.append)
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert breaker.allows()
    breaker.failed()
    assert (breaker.allows(), breaker.seconds_to_probe) == (False, 1.0)
    clock.now = 1.0
    assert breaker.allows()
    assert not breaker.allows()
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.failed()
    assert not breaker.allows()
    clock.now = 2.0
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.allows()
    assert seen == [False, True]


def test_a_probe_that_never_says_how_it_went_is_followed_by_another() -> None:
    clock = Hand()
    breaker = Breaker("part", rest=1.0, clock=clock)
    breaker.failed()
    clock.now = 1.0
    assert breaker.allows()
    clock.now = 1.9
    assert not breaker.allows()
    clock.now = 2.0
    assert breaker.allows()


def test_late_failures_of_others_do_not_prolong_the_rest() -> None:
    clock = Hand()
    breaker = Breaker("part", rest=1.0, clock=clock)
    breaker.failed()
    clock.now = 0.9
    breaker.failed()
    clock.now = 1.0
    assert breaker.allows()
