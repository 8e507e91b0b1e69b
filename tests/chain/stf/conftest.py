import pytest

from chain.state import RollupState
from tests.chain.support import funded_state, open_channel


@pytest.fixture
def state() -> RollupState:
    return funded_state()


@pytest.fixture
def channel(state: RollupState) -> int:
    return open_channel(state)
