"""The node of recorded values, put together as ``NodeApi`` is."""

from tests.screens.fake_node.buying import BuyingCalls
from tests.screens.fake_node.looking import LookingCalls
from tests.screens.fake_node.models import ModelCalls
from tests.screens.fake_node.renting import RentingCalls
from tests.screens.fake_node.snapshots import snapshot
from tests.screens.fake_node.wallet import WalletCalls


class FakeNode(RentingCalls, ModelCalls, BuyingCalls, WalletCalls, LookingCalls):
    """Plays recorded values; a test changes what it plays by its attributes."""

    def __init__(self, first=None):
        super().__init__(first or snapshot())
