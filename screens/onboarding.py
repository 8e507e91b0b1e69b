"""Onboarding: one question a step, from nothing to a wallet that is backed up and a first job or chat."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Iterable
from enum import StrEnum
from typing import Any, ClassVar, Literal, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from node.values import IdlewattError, Phase, Prices, WalletState, parse_usd
from screens.base import NodeScreen
from screens.dashboard import devices_content
from screens.dialogs import IN_TYPING_ORDER, Form
from screens.node_feed import NodeFeed
from screens.text import one_line, price
from screens.wallet.forms import import_form, passphrase_problem, words_content

Work = Callable[[], Coroutine[Any, Any, None]]
DEFAULT_PRICE_IN = "0.10"
DEFAULT_PRICE_OUT = "0.20"
ROLES: tuple[tuple[str, str, str], ...] = (
    ("rent", "Rent out", "my machine answers strangers, and I am paid by the token"),
    ("buy", "Buy", "I chat with models on strangers' machines, and pay for it"),
    ("both", "Both", "it earns while it is idle, and I spend that elsewhere"),
)


class Step(StrEnum):
    """The steps of onboarding."""

    ROLE = "role"
    WALLET = "wallet"
    PROTECT = "protect"
    WORDS = "words"
    PROVE = "prove"
    RENT = "rent"
    READY = "ready"


_TITLES = {
    Step.ROLE: "What brings you here?",
    Step.WALLET: "Where should your money be?",
    Step.PROTECT: "Choose a passphrase",
    Step.WORDS: "Write these words on paper",
    Step.PROVE: "Prove that you have them",
    Step.RENT: "Rent out this machine?",
    Step.READY: "Ready",
}
_BACK = {Step.WALLET: Step.ROLE, Step.PROTECT: Step.WALLET, Step.PROVE: Step.WORDS}


def next_after_wallet(role: str) -> Step:
    """What follows a wallet: who rents out is asked about it, who only buys is ready."""
    return Step.RENT if role in {"rent", "both"} else Step.READY


def step_number(step: Step, role: str) -> str:
    """The step's number, in words."""
    order = {
        Step.ROLE: 1,
        Step.WALLET: 2,
        Step.PROTECT: 2,
        Step.WORDS: 3,
        Step.PROVE: 3,
        Step.RENT: 4,
        Step.READY: 5,
    }
    total = 5 if role in {"rent", "both", ""} else 4
    return f"{min(order[step], total)} of {total}"


class OnboardingScreen(NodeScreen):
    """Shown once, before the first wallet exists."""

    TITLE_TEXT = "Welcome"
    HELP_TEXT = "One question at a time. Enter goes on, esc goes back. Nothing is rented out or paid before you say so."
    BINDINGS: ClassVar[list[BindingType]] = [
        *IN_TYPING_ORDER,
        Binding("escape", "back", "Back", id="onboarding.back"),
        Binding("r", "nothing", show=False, id="onboarding.unused"),
    ]

    class Finished(Message):
        """Onboarding is over; ``mode`` is where to go."""

        def __init__(self, mode: str) -> None:
            super().__init__()
            self.mode = mode

    def __init__(self, feed: NodeFeed, pick: Callable[[int], int] = secrets.randbelow) -> None:
        super().__init__(feed)
        self.step = Step.ROLE
        self.role = ""
        self._pick = pick
        self._words: tuple[str, ...] = ()
        self._position = 0
        self._models: tuple[str, ...] = ()
        self._busy = False

    @property
    def wallet_id(self) -> str:
        """The wallet that is set up."""
        wallets = self.feed.snapshot.wallets
        return wallets[0].wallet_id if wallets else "main"

    def compose_body(self) -> ComposeResult:
        """One box; the step fills it."""
        with VerticalScroll(id="step-box", can_focus=False):
            yield Vertical(id="step")
            yield Static("", id="step-error", markup=False)

    def on_mount(self) -> None:
        """Begin."""
        self.start(self.go(Step.ROLE), group="step")

    def action_nothing(self) -> None:
        """There is nothing to refresh here."""

    async def go(self, step: Step) -> None:
        """Show a step."""
        self.step = step
        box = self.query_one("#step-box")
        box.border_title = f"Idlewatt · {_TITLES[step]}"
        box.border_subtitle = step_number(step, self.role)
        self._wrong("")
        area = self.query_one("#step")
        await area.remove_children()
        await area.mount_all(self._widgets(step))
        focusable = next((child for child in area.query("Input, OptionList, Button.-primary") if child.can_focus), None)
        if focusable is not None:
            focusable.focus()

    def _widgets(self, step: Step) -> Iterable[Widget]:
        builders: dict[Step, Callable[[], Iterable[Widget]]] = {
            Step.ROLE: self._role_widgets,
            Step.WALLET: self._wallet_widgets,
            Step.PROTECT: self._passphrase_widgets,
            Step.WORDS: self._words_widgets,
            Step.PROVE: self._prove_widgets,
            Step.RENT: self._rent_widgets,
            Step.READY: self._ready_widgets,
        }
        return builders[step]()

    def _role_widgets(self) -> Iterable[Widget]:
        yield _text("Idlewatt rents idle machines to people who want to talk to a model, and pays by the token.")
        yield OptionList(
            *(Option(_option(title, what), id=key) for key, title, what in ROLES), id="roles", markup=False
        )

    def _wallet_widgets(self) -> Iterable[Widget]:
        yield _text("A wallet is a key on this machine, encrypted with a passphrase. It earns, pays, and withdraws.")
        yield OptionList(
            Option(_option("New wallet", "made here, now; you write down its recovery words"), id="create"),
            Option(_option("Import", "recovery words, a private key, or a V3 keystore file"), id="import"),
            Option(_option("Later", "look around first; renting out and chatting need one"), id="later"),
            id="wallet-choice",
            markup=False,
        )

    def _passphrase_widgets(self) -> Iterable[Widget]:
        yield _text("It encrypts the key on this disk and is asked for when the app starts. Nobody can reset it.")
        yield _label("Passphrase")
        yield Input(password=True, id="passphrase")
        yield _label("The same again")
        yield Input(password=True, id="again")
        yield _buttons(("Make the wallet", "make"))

    def _words_widgets(self) -> Iterable[Widget]:
        yield _text("In this order. They are shown once; whoever has them has the wallet, anywhere.")
        yield Static(words_content(" ".join(self._words)), id="words", markup=False)
        yield _buttons(("I wrote them down", "written"))

    def _prove_widgets(self) -> Iterable[Widget]:
        yield _text("From your notes: earnings are only safe with a backup that works.")
        yield _label(f"Word number {self._position + 1}")
        yield Input(id="word")
        yield _buttons(("Check", "check"))

    def _rent_widgets(self) -> Iterable[Widget]:
        snapshot = self.feed.snapshot
        model = one_line(self._models[0], 60) if self._models else "the demo model"
        yield _text(
            "This is what would work, and what it would ask for. You can change it later, and F3 stops it at any time."
        )
        yield Static(devices_content(snapshot.devices, 66), markup=False, id="hardware")
        yield Static(Content.assemble(("model  ", "dim"), (model, "bold")), markup=False, id="rent-model")
        yield _label("Dollars a million tokens, in and out")
        yield Horizontal(
            Input(DEFAULT_PRICE_IN, id="price-in"), Input(DEFAULT_PRICE_OUT, id="price-out"), classes="row"
        )
        if snapshot.price is not None:
            found = snapshot.price
            power = f" Power: {price(found.floor)}." if found.is_floor_known else ""
            yield _text(f"Suggested: {price(found.suggested)} ({one_line(found.basis)}).{power}")
        yield _buttons(("Start renting out", "rent"), ("Not now", "skip-rent"))

    def _ready_widgets(self) -> Iterable[Widget]:
        snapshot = self.feed.snapshot
        if snapshot.phase is Phase.DEGRADED:
            yield _text("The wallet is made. One thing is missing before strangers can be met:")
            yield _text(f"▲ {one_line(snapshot.why, 120)} {one_line(snapshot.fix, 200)}")
        else:
            yield _text("Everything is set up.")
        if self.role == "buy":
            yield _text(
                "6 is the wallet: on a devnet, f there asks the faucet for test money. 4 shows who rents out what."
            )
            yield _buttons(("Chat", "to-chat"), ("Look around", "to-dashboard"))
        else:
            yield _text("The dashboard shows jobs and earnings; 6 shows where the money is.")
            yield _buttons(("Dashboard", "to-dashboard"), ("Chat", "to-chat"))

    # Answers

    def _wrong(self, line: str) -> None:
        self.query_one("#step-error", Static).update(
            Content.assemble(("✗ ", "$error"), one_line(line, 400)) if line else ""
        )

    def _do(self, work: Work) -> None:
        """Run one step's work, one at a time; an error shows in the box."""
        if not self._busy:
            self._busy = True
            self.start(self._doing(work), group="step")

    async def _doing(self, work: Work) -> None:
        try:
            await work()
        except IdlewattError as error:
            self._wrong(error.line())
        finally:
            self._busy = False

    def action_back(self) -> None:
        """One step back, where that makes sense."""
        earlier = _BACK.get(self.step)
        if earlier is not None:
            self._do(lambda: self.go(earlier))

    @on(OptionList.OptionSelected, "#roles")
    def _role_chosen(self, event: OptionList.OptionSelected) -> None:
        self.role = str(event.option_id)
        exists = any(wallet.state is not WalletState.NONE for wallet in self.feed.snapshot.wallets)
        self._do(self._after_wallet if exists else lambda: self.go(Step.WALLET))

    @on(OptionList.OptionSelected, "#wallet-choice")
    def _wallet_chosen(self, event: OptionList.OptionSelected) -> None:
        if event.option_id == "create":
            self._do(lambda: self.go(Step.PROTECT))
        elif event.option_id == "import":
            self._do(self._import)
        else:
            self.post_message(self.Finished("dashboard"))

    async def _import(self) -> None:
        values = await self.app.push_screen_wait(Form(import_form()))
        if values is None:
            return
        kind = cast(Literal["private_key", "mnemonic", "v3"], values["kind"])
        await self.feed.api.import_wallet(
            self.wallet_id, kind, values["secret"], values["passphrase"], values["file_passphrase"]
        )
        await self._after_wallet()

    async def _after_wallet(self) -> None:
        step = next_after_wallet(self.role)
        if step is Step.RENT:
            self._models = await self.feed.api.models()
        await self.go(step)

    async def _make(self) -> None:
        passphrase = self.query_one("#passphrase", Input).value
        problem = passphrase_problem(passphrase, self.query_one("#again", Input).value)
        self._wrong(problem)
        if not problem:
            self.query_one("#step-box").border_subtitle = "making the wallet…"
            self._words = tuple((await self.feed.api.create_wallet(self.wallet_id, passphrase)).split())
            await self.go(Step.WORDS)

    async def _to_proof(self) -> None:
        self._position = self._pick(len(self._words))
        await self.go(Step.PROVE)

    async def _check(self) -> None:
        if self.query_one("#word", Input).value.strip().lower() != self._words[self._position]:
            self._wrong("That is another word. Look at your notes; esc shows the words again.")
            return
        self._words = ()
        try:
            await self.feed.api.confirm_backup(self.wallet_id)
        finally:
            await self._after_wallet()

    async def _rent(self) -> None:
        prices = Prices(
            input_nano_per_mtok=parse_usd(self.query_one("#price-in", Input).value),
            output_nano_per_mtok=parse_usd(self.query_one("#price-out", Input).value),
        )
        self.query_one("#step-box").border_subtitle = "loading the model…"
        await self.feed.api.go_online(self._models[0] if self._models else "", prices)
        await self.go(Step.READY)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        work: dict[str | None, Work] = {
            "make": self._make,
            "written": self._to_proof,
            "check": self._check,
            "rent": self._rent,
            "skip-rent": lambda: self.go(Step.READY),
        }
        if event.button.id in work:
            self._do(work[event.button.id])
        elif event.button.id == "to-chat":
            self.post_message(self.Finished("chat"))
        elif event.button.id == "to-dashboard":
            self.post_message(self.Finished("dashboard"))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        following = {"passphrase": "#again", "price-in": "#price-out"}.get(str(event.input.id))
        if following is not None:
            self.query_one(following).focus()
        elif event.input.id == "again":
            self._do(self._make)
        elif event.input.id == "word":
            self._do(self._check)
        elif event.input.id == "price-out":
            self.query_one("#rent").focus()


def _text(text: str) -> Static:
    return Static(text, markup=False, classes="says")


def _label(text: str) -> Static:
    return Static(text, markup=False, classes="label")


def _option(title: str, what: str) -> Content:
    return Content.assemble((title.ljust(12), "bold"), what)


def _buttons(*buttons: tuple[str, str]) -> Horizontal:
    made = [
        Button(label, id=name, variant="primary" if at == 0 else "default") for at, (label, name) in enumerate(buttons)
    ]
    return Horizontal(*made, classes="buttons")
