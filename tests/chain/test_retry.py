"""A step that fails is tried again, with longer and longer pauses, and what can't be waited out is raised at once."""

import asyncio

import pytest

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.retry import poll, retry
from tests.patience import PATIENCE_S

ON = (ChainUnavailableError,)


class Step:
    """Fails as often as it is told to."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.times: list[float] = []

    async def __call__(self) -> str:
        self.times.append(asyncio.get_running_loop().time())
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def test_it_is_tried_until_it_succeeds_and_each_failure_is_told(capsys):
    errors = [ChainUnavailableError(str(number)) for number in range(3)]
    step, told = Step(*errors), []
    assert await retry(step, on=ON, wait_s=0.001, max_wait_s=0.002, on_failure=told.append) == "done"
    assert told == errors
    assert len(step.times) == 4
    assert capsys.readouterr() == ("", "")


async def test_pauses_grow_up_to_the_longest():
    step = Step(*(ChainUnavailableError("away") for _ in range(4)))
    await retry(step, on=ON, wait_s=0.02, max_wait_s=0.05)
    pauses = [later - earlier for earlier, later in zip(step.times, step.times[1:], strict=False)]
    assert all(pause >= least for pause, least in zip(pauses, [0.02, 0.04, 0.05, 0.05], strict=True))


async def test_any_other_error_is_raised_at_once():
    step = Step(ChainRejectedError("no"))
    with pytest.raises(ChainRejectedError):
        await retry(step, on=ON, wait_s=60, max_wait_s=60)
    assert len(step.times) == 1


async def test_the_last_error_is_raised_after_so_many_attempts():
    step = Step(*(ChainUnavailableError(str(number)) for number in range(3)))
    with pytest.raises(ChainUnavailableError, match="1"):
        await retry(step, on=ON, wait_s=0.001, max_wait_s=0.001, attempts=2)
    assert len(step.times) == 2


async def test_a_pause_ends_when_it_is_cancelled():
    step = Step(ChainUnavailableError("away"))
    trying = asyncio.ensure_future(retry(step, on=ON, wait_s=3_600, max_wait_s=3_600))
    while not step.times:
        await asyncio.sleep(0)
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying


async def test_polling_waits_for_an_answer_and_through_outages():
    answers = iter([None, ChainUnavailableError("away"), "there"])

    async def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await poll(ask, timeout_s=PATIENCE_S, message="It did not come.") == "there"


async def test_polling_ends_at_its_deadline_with_what_was_waited_for():
    async def ask():
        return None

    with pytest.raises(ChainUnavailableError, match="It did not come") as caught:
        await poll(ask, timeout_s=0.1, message="It did not come.")
    assert caught.value.code == "not_included"
