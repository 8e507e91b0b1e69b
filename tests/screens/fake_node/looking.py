"""The rollup and the log, looked at."""

from node.values import LogLine
from tests.screens.fake_node.chain import chain_view
from tests.screens.fake_node.constants import NOW_MS
from tests.screens.fake_node.played import Played


def log_lines():
    texts = (
        ("info", "relay", "connected to ws://127.0.0.1:9000"),
        ("debug", "engine", "warmed up in 31 ms"),
        ("info", "market", "offer published: idlewatt-demo-q8"),
        ("warning", "session", "a buyer paused at the credit window"),
        ("info", "jobs", "job-0003 done: 42 tokens, paid"),
        ("error", "chain", "the sequencer did not answer; trying again in 2 s"),
    )
    return tuple(
        LogLine(at_ms=NOW_MS - 10_000 * (len(texts) - at), level=level, source=source, text=text)
        for at, (level, source, text) in enumerate(texts)
    )


class LookingCalls(Played):
    """What ``NodeApi`` says about the chain and the log."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.chain_state = chain_view()
        self.lines = log_lines()

    async def chain(self):
        self._called("chain")
        return self.chain_state

    async def logs(self, limit=500):
        return self.lines[-limit:]
