import pytest

from chain.state import State
from tests.chain.support import funded_state, open_channel


@pytest.fixture
def state() -> State:
    return funded_state()


@pytest.fixture
def channel(state: State) -> int:
    return open_channel(state)
