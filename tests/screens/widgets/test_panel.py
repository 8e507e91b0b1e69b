"""A panel: what it says again costs no drawing, what it says anew is drawn."""

from textual.app import App, ComposeResult
from textual.content import Content

from screens.widgets.panel import Panel


class OnePanel(App[None]):
    drawn = 0

    def compose(self) -> ComposeResult:
        app = self

        class Counted(Panel):
            def refresh(self, *args: object, **kwargs: object) -> Panel:
                app.drawn += 1
                return super().refresh(*args, **kwargs)

        yield Counted(markup=False)


async def test_the_same_text_and_styles_again_are_not_drawn_again():
    async with OnePanel().run_test() as pilot:
        panel = pilot.app.query_one(Panel)
        panel.update(Content.styled("idle", "bold"))
        before = pilot.app.drawn
        panel.update(Content.styled("idle", "bold"))
        assert pilot.app.drawn == before


async def test_another_text_or_style_is_drawn():
    async with OnePanel().run_test() as pilot:
        panel = pilot.app.query_one(Panel)
        for content in (Content("idle"), Content.styled("idle", "bold"), Content("serving"), "text", "text"):
            before = pilot.app.drawn
            panel.update(content)
            assert pilot.app.drawn > before
            assert panel.content is content
