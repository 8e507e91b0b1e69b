"""A node that plays what was recorded, and remembers what was asked of it."""

import asyncio
from contextlib import asynccontextmanager

import msgspec

from node.values import NodeChanged


class Played:
    """What all calls share; ``calls`` is everything that was asked."""

    def __init__(self, state):
        self.state = state
        self.calls = []
        self.events = asyncio.Queue()
        self.hold = None
        """An event that the chat waits for before its last item, so that a test can look at a running answer."""
        self.left_early = asyncio.Event()
        self.errors = {}
        """Names of calls to the error that they raise."""

    def _called(self, name, *arguments):
        self.calls.append((name, *arguments))
        if name in self.errors:
            raise self.errors[name]

    @asynccontextmanager
    async def _playing(self, script):
        """The items of a script; the last one waits for ``hold``."""

        async def play():
            for position, item in enumerate(script):
                if self.hold is not None and position == len(script) - 1:
                    await self.hold.wait()
                yield item

        items = play()
        try:
            yield items
        except BaseException:
            self.left_early.set()
            raise
        finally:
            await items.aclose()

    def change(self, what, **changes):
        self.state = msgspec.structs.replace(self.state, **changes)
        self.events.put_nowait(NodeChanged(what=what))

    def called(self, name):
        """The arguments of every call of that name."""
        return [call[1:] for call in self.calls if call[0] == name]

    def snapshot(self):
        return self.state

    @asynccontextmanager
    async def subscribe(self):
        async def read():
            while True:
                yield await self.events.get()

        reader = read()
        try:
            yield reader
        finally:
            await reader.aclose()
