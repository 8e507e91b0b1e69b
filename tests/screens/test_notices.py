import itertools

from textual.notifications import Notify

from screens.notices import BriefNotification
from tests.screens.fake_node import FakeNode
from tests.screens.support import make_app, until

ENDS_S = 1_000.0


async def test_one_whose_last_microsecond_passes_as_it_is_shown_does_not_stop_the_app(monkeypatch):
    app = make_app(FakeNode())
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        app.notify("a moment")
        await until(pilot, lambda: list(app._notifications))
        (kind,) = {type(one) for one in app._notifications}
        # Some of a microsecond passes at every look, and the time is over between two of them, wherever that is.
        for looks in range(1, 9):
            app.clear_notifications()
            clock = itertools.count(ENDS_S - looks * 0.5e-6 + 0.1e-6, 0.5e-6)
            monkeypatch.setattr("textual.notifications.time", lambda clock=clock: next(clock))
            app.post_message(Notify(kind("brief", timeout=5, raised_at=ENDS_S - 5)))
            await pilot.pause()
        assert app.is_running


def test_it_expires_when_it_should(monkeypatch):
    one = BriefNotification("text", timeout=5, raised_at=100.0)
    for now_s, has_expired in ((104.9, False), (105.0, True), (200.0, True)):
        monkeypatch.setattr("textual.notifications.time", lambda now_s=now_s: now_s)
        assert one.has_expired is has_expired
        assert one.time_left > 0
