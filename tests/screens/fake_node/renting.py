"""Renting out."""

from node.values import Phase
from tests.screens.fake_node.played import Played


class RentingCalls(Played):
    """What ``NodeApi`` says about renting out."""

    async def go_online(self, model="", prices=None):
        self._called("go_online", model, prices)
        self.change("phase", phase=Phase.IDLE)

    async def go_offline(self):
        self._called("go_offline")
        self.change("phase", phase=Phase.OFF)

    async def rent_out_regardless(self, minutes):
        self._called("rent_out_regardless", minutes)
        self.change("phase", phase=Phase.IDLE, why="", fix="")

    async def models(self):
        return ("idlewatt-demo-q8",)
