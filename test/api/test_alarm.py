import asyncio

from api.alarm import Alarm


async def ring(alarm: Alarm) -> None:
    """Let it ring as soon as the loop turns."""
    alarm.move(asyncio.get_running_loop().time())
    await asyncio.sleep(0.01)


async def test_each_ring_is_taken_back() -> None:
    async def run() -> tuple[bool, bool, int]:
        task = asyncio.current_task()
        assert task is not None
        alarm = Alarm(asyncio.get_running_loop().time() + 60)
        for _ in range(2):
            try:
                await ring(alarm)
            except asyncio.CancelledError:
                continue
        return alarm.was_it(), alarm.was_it(), task.cancelling()

    assert await asyncio.create_task(run()) == (True, False, 0)


async def test_what_others_cancelled_stays_theirs() -> None:
    async def run() -> tuple[bool, bool, int]:
        task = asyncio.current_task()
        assert task is not None
        its_own = False
        alarm: Alarm | None = None
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            # Made by a task that was cancelled before: that is no business of the alarm.
            alarm = Alarm(asyncio.get_running_loop().time() + 60)
        assert alarm is not None
        try:
            await ring(alarm)
        except asyncio.CancelledError:
            its_own = alarm.was_it()
        try:
            alarm.move(asyncio.get_running_loop().time())
            asyncio.get_running_loop().call_later(0.01, task.cancel)
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    if task.cancelling() == 3:
                        raise
        except asyncio.CancelledError:
            return its_own, alarm.was_it(), task.cancelling()

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == (True, False, 2)


async def test_another_task_is_told_nothing() -> None:
    async def run() -> tuple[bool, bool]:
        alarm = Alarm(asyncio.get_running_loop().time() + 60)
        heard: list[bool] = []

        async def inner() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                heard.append(alarm.was_it())
                raise

        alarm.move(asyncio.get_running_loop().time())
        try:
            await asyncio.create_task(inner())
        except asyncio.CancelledError:
            return heard[0], alarm.was_it()
        raise AssertionError

    assert await asyncio.create_task(run()) == (False, True)
