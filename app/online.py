"""Going online from the terminal app: ask which model at what prices, then rent it out."""

from __future__ import annotations

from typing import Any

from textual.app import App

from node.values import Prices, parse_usd
from screens.dialogs import Field, Form, FormSpec, Values
from screens.node_feed import NodeFeed
from screens.onboarding import DEFAULT_PRICE_IN, DEFAULT_PRICE_OUT
from screens.text import one_line


async def go_online(app: App[Any], feed: NodeFeed, model: str = "") -> None:
    """Rent out what the person chooses (``model`` first), unless they change their mind."""
    models = await feed.api.models()
    models = (model, *(each for each in models if each != model)) if model else models
    provider = feed.snapshot.provider
    values = await app.push_screen_wait(Form(_form(models, provider.prices if provider is not None else None)))
    if values is not None:
        await feed.api.go_online(values.get("model", ""), _read_prices(values))
        feed.refresh(frozenset({"phase"}))


def _form(models: tuple[str, ...], prices: Prices | None) -> FormSpec:
    options = tuple((one_line(model, 60), model) for model in models)
    fields = (Field("model", "Model", options=options),) if options else ()
    return FormSpec(
        title="Rent out this machine?",
        fields=(
            *fields,
            Field("input", "Dollars a million input tokens", _dollars(prices, False)),
            Field("output", "Dollars a million output tokens", _dollars(prices, True)),
        ),
        verb="Go online",
        note="The model is loaded and the offer published. Strangers' prompts run here until F3 stops it.",
        check=_check_prices,
    )


def _dollars(prices: Prices | None, output: bool) -> str:
    if prices is None:
        return DEFAULT_PRICE_OUT if output else DEFAULT_PRICE_IN
    nano = prices.output_nano_per_mtok if output else prices.input_nano_per_mtok
    return f"{nano / 1_000_000_000:.9f}".rstrip("0").rstrip(".")


def _check_prices(values: Values) -> str:
    _read_prices(values)
    return ""


def _read_prices(values: Values) -> Prices:
    return Prices(input_nano_per_mtok=parse_usd(values["input"]), output_nano_per_mtok=parse_usd(values["output"]))
