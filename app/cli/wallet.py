"""``idlewatt wallet``: keys and money; secrets come from a prompt, a pipe or the environment, never an argument."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Literal

import click

from app.cli.common import (
    as_coroutine,
    chain_option,
    emit,
    home_option,
    json_option,
    note,
    passphrase,
)
from app.cli.dollars import Dollars
from app.cli.node_access import any_node, configured, unlocked_wallet, wallet_of
from app.cli.setting_options import setting_option
from app.cli.wallet_claim import claim
from app.cli.wallet_fast import DEFAULT_WITHIN_S, check_fast, withdraw_fast
from app.cli.wallet_moves import MOVES, Amount, max_fee_option, told_fee
from app.config import Config
from app.streams import environment_text, read_text
from app.variables import FILE_PASSPHRASE_VARIABLE
from chain.errors import IdlewattError, UsageError
from chain.views import WithdrawalView
from node.values import Inclusion, MoneyLine, MoneyView, Trust, WalletState, format_usd

MAX_SECRET_BYTES = 65_536
POLL_S = 0.5
WAIT_BEYOND_WINDOW_S = 120.0


@click.group("wallet", help="Keys and money: create, import, show, export, deposit, withdraw, stake, exit.")
@home_option
def command(home_path: str | None) -> None:
    """The group; its commands follow, and read its ``--home``."""


for _move in (*MOVES, claim):
    command.add_command(_move)


@command.command("new", help="Create a wallet, encrypted with a passphrase, and show its recovery words once.")
@home_option
@json_option
@as_coroutine
async def new(home_path: str | None, as_json: bool) -> None:
    """Create the home's wallet."""
    home, config = configured(home_path)
    async with any_node(home, config) as node:
        _refuse_second(node.snapshot().wallets[0].state)
        chosen = passphrase(confirm=True, prompt="New passphrase")
        words = await node.create_wallet(node.snapshot().wallets[0].wallet_id, chosen)
        address = node.snapshot().wallets[0].address
    _show_once(f"The key lies encrypted in {home.keystore}. Lost key, lost money:", words)
    emit({"address": address, "keystore": str(home.keystore)}, as_json=as_json, text=address)


def _show_once(told: str, words: str) -> None:
    """Show the recovery words, before anything else could fail.

    Raises:
        IdlewattError: If nobody can have seen them.
    """
    try:
        click.echo(f"{told}\nwrite down these recovery words, they are shown once:\n  {words}", err=True)
    except OSError as error:
        raise IdlewattError(
            f"The wallet was made, but its recovery words could not be shown ({error.strerror}).",
            fix="Keep a file from `idlewatt wallet export` in another place instead.",
        ) from None


def _refuse_second(state: WalletState) -> None:
    if state is not WalletState.NONE:
        raise IdlewattError(
            "This home has a wallet already.",
            code="wallet_exists",
            fix="See `idlewatt wallet show`, or use another --home.",
        )


@command.command("import", help="Import a wallet; the secret is asked for, or read from a pipe.")
@click.argument("kind", type=click.Choice(["private-key", "mnemonic", "v3"]))
@click.option("--file", "path", type=click.Path(dir_okay=False, path_type=Path), help="The V3 file, for `v3`.")
@home_option
@json_option
@as_coroutine
async def import_(kind: str, path: Path | None, home_path: str | None, as_json: bool) -> None:
    """Import the home's wallet."""
    home, config = configured(home_path)
    secret = _secret(kind, path)
    async with any_node(home, config) as node:
        _refuse_second(node.snapshot().wallets[0].state)
        file_passphrase = ""
        if kind == "v3":
            file_passphrase = environment_text(FILE_PASSPHRASE_VARIABLE) or passphrase(prompt="The file's passphrase")
        named: Literal["private_key", "mnemonic", "v3"] = (
            "private_key" if kind == "private-key" else "mnemonic" if kind == "mnemonic" else "v3"
        )
        chosen = passphrase(confirm=True, prompt="New passphrase")
        await node.import_wallet(node.snapshot().wallets[0].wallet_id, named, secret, chosen, file_passphrase)
        address = node.snapshot().wallets[0].address
    emit({"address": address, "keystore": str(home.keystore)}, as_json=as_json, text=address)


def _secret(kind: str, path: Path | None) -> str:
    if kind == "v3" and path is not None:
        try:
            with path.open("rb") as file:
                return read_text(f"The file {path}", MAX_SECRET_BYTES, file)
        except OSError as error:
            raise UsageError(f"The file {path} can't be read ({type(error).__name__}).") from None
    if sys.stdin.isatty():
        return str(
            click.prompt(
                {"private-key": "Private key", "mnemonic": "Recovery words"}.get(kind, "V3 JSON"),
                hide_input=True,
                err=True,
            )
        )
    return read_text("The secret", MAX_SECRET_BYTES).strip()


@command.command("show", help="Show the address, and where the money is, held against L1.")
@home_option
@chain_option
@setting_option("own_l1", "--l1")
@json_option
@as_coroutine
async def show(home_path: str | None, chain: str | None, own_l1: str | None, as_json: bool) -> None:
    """Print where the money is."""
    home, config = configured(home_path, chain=chain, own_l1=own_l1)
    async with any_node(home, config) as node:
        wallet = wallet_of(node)
        money = await node.money(wallet.wallet_id) if config.chain else None
        chain_now_s = int(time.time()) - node.snapshot().chain_ahead_ms // 1000
    facts = {"address": wallet.address, "state": wallet.state, "backed_up": wallet.backed_up, "money": money}
    emit(
        facts,
        as_json=as_json,
        text="\n".join([f"{wallet.address} ({wallet.state})", *_money_lines(money, chain_now_s)]),
    )


def _money_lines(money: MoneyView | None, now_s: int) -> list[str]:
    if money is None:
        return ["No chain is set, so no balance is known. Pass --chain once."]
    lines = [
        f"  {format_usd(line.amount_nano):>16}  {line.place:<11}  {line.label}{_how_final(line, now_s)}"
        for line in money.lines
    ]
    return [*lines, f"  {format_usd(money.total_nano):>16}  in all"]


def _how_final(line: MoneyLine, now_s: int) -> str:
    """The state of the transaction behind a line, and the time until it is final; or whether L1 has the balance."""
    if line.trust is Trust.PROVEN:
        return f" (proven, batch {line.batch_id})"
    if line.trust is not None:
        covered = f"; {format_usd(line.proven_nano)} proven, batch {line.batch_id}" if line.proven_nano else ""
        return f" (soft: the sequencer's word{covered})"
    if line.inclusion is None:
        return ""
    left_s = line.ready_at_s - now_s if line.place == "withdrawing" and line.ready_at_s else 0
    countdown = f", final in {left_s} s" if line.inclusion is Inclusion.BATCHED and left_s > 0 else ""
    return f" ({line.inclusion}{countdown})"


@command.command("unlock", help="Unlock the wallet of the node that runs on this home.")
@home_option
@as_coroutine
async def unlock(home_path: str | None) -> None:
    """Unlock the running node's wallet."""
    home, config = configured(home_path)
    async with any_node(home, config) as node:
        await unlocked_wallet(node, config)
    note("Unlocked.")


@command.command("export", help="Export the encrypted V3 file, or after confirmation the bare private key.")
@click.option("--private-key", "bare", is_flag=True, help="The key itself: whoever reads it owns the money.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this new file (0600), not to stdout."
)
@click.option("--yes", is_flag=True, help="Don't ask before showing a bare private key.")
@home_option
@as_coroutine
async def export(bare: bool, out: Path | None, yes: bool, home_path: str | None) -> None:
    """Export the home's key."""
    home, config = configured(home_path)
    if bare and not yes:
        if not sys.stdin.isatty():
            raise UsageError("A bare private key is shown only after confirmation.", fix="Add --yes if you mean it.")
        click.confirm("Anyone who sees this key can take all the money. Show it?", abort=True, err=True)
    async with any_node(home, config) as node:
        wallet = wallet_of(node)
        secret = passphrase(use_keyring=config.keyring, account=wallet.address)
        text = await node.export_wallet(wallet.wallet_id, "private_key" if bare else "v3", secret)
        if out is None:
            click.echo(text)
            return
        _write_new(out, text)
        await node.confirm_backup(wallet.wallet_id)
    note(f"Written to {out}. Keep it in another place: beside the wallet it is lost with it.")


def _write_new(path: Path, text: str) -> None:
    """Write a secret into a new file that only its owner reads.

    Raises:
        IdlewattError: If it can't be created.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise IdlewattError(f"The file {path} can't be created ({error.strerror}).", fix="Choose a new name.") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


@command.command("faucet", help="Ask the devnet for test money.")
@home_option
@chain_option
@json_option
@as_coroutine
async def faucet(home_path: str | None, chain: str | None, as_json: bool) -> None:
    """Get test money."""
    home, config = configured(home_path, chain=chain)
    async with any_node(home, config) as node:
        wallet = await unlocked_wallet(node, config)
        arrived = await node.faucet(wallet.wallet_id)
    text = f"{format_usd(arrived)} of test money arrived at {wallet.address}."
    emit({"address": wallet.address, "amount_nano": arrived}, as_json=as_json, text=text)


@command.command("deposit", help="Move money from L1 to the rollup.")
@click.option("--amount", required=True, type=Dollars(), help="Dollars.")
@home_option
@chain_option
@json_option
@as_coroutine
async def deposit(amount: int, home_path: str | None, chain: str | None, as_json: bool) -> None:
    """Deposit from the wallet's own L1 address."""
    home, config = configured(home_path, chain=chain)
    async with any_node(home, config) as node:
        wallet = await unlocked_wallet(node, config)
        l1_tx = await node.deposit(wallet.wallet_id, amount)
    emit({"l1_tx": l1_tx, "amount_nano": amount}, as_json=as_json, text=f"{format_usd(amount)} deposited in {l1_tx}.")


@command.command("withdraw", help="Move money from the rollup to L1; `--amount all` redeems what is claimable first.")
@click.option("--amount", required=True, type=Amount(), help="Dollars, or `all`.")
@click.option("--to", default="", help="An L1 address; the wallet's own unless given.")
@click.option("--wait", is_flag=True, help="Wait until the money has arrived on L1.")
@click.option("--fast", is_flag=True, help="Sell the claim to whoever pays it now; --max-fee bounds all that it costs.")
@click.option("--within", "within_s", type=click.IntRange(1, 86_400), help="With --fast: seconds; 60 unless given.")
@max_fee_option
@home_option
@chain_option
@json_option
@as_coroutine
async def withdraw(  # noqa: PLR0913, PLR0917 - click passes every option by name
    amount: int,
    to: str,
    wait: bool,
    fast: bool,
    within_s: int | None,
    max_fee_nano: int | None,
    home_path: str | None,
    chain: str | None,
    as_json: bool,
) -> None:
    """Withdraw, and wait for the claim where asked."""
    check_fast(fast=fast, max_fee_nano=max_fee_nano, within_s=within_s, to=to, wait=wait)
    home, config = configured(home_path, chain=chain)
    async with any_node(home, config) as node:
        wallet = await unlocked_wallet(node, config)
        told_fee((await node.fees()).withdraw_nano)
        if fast and max_fee_nano is not None:
            terms = max_fee_nano, within_s or DEFAULT_WITHIN_S
            await withdraw_fast(node, wallet.wallet_id, amount, *terms, as_json=as_json)
            return
        l2_tx = await node.withdraw(wallet.wallet_id, None if amount < 0 else amount, to, max_fee_nano=max_fee_nano)
        note(f"Withdrawal {l2_tx} is on the rollup; it is paid on L1 once its batch is final.")
        withdrawal = await _withdrawal(config, l2_tx, wallet.address, to, wait=wait)
    claimed = f"paid to {withdrawal.recipient} in L1 transaction {withdrawal.claim_l1_tx}"
    state = claimed if withdrawal.claim_l1_tx else f"on its way to {withdrawal.recipient} ({withdrawal.inclusion})"
    if not withdrawal.claim_l1_tx and not withdrawal.is_paid_by_operator:
        note("The operator doesn't pay it out at L1's gas price of now. Once it is final: idlewatt wallet claim.")
    emit(withdrawal, as_json=as_json, text=f"{format_usd(withdrawal.amount_nano)} {state}.")


async def _withdrawal(config: Config, l2_tx: str, address: str, to: str, *, wait: bool) -> WithdrawalView:
    from chain.client import RollupClient

    recipient = bytes.fromhex((to or address).removeprefix("0x"))
    if config.chain is None:
        raise IdlewattError("No chain is set.", code="no_chain", fix="Pass --chain http://host:port once.")
    async with RollupClient(config.chain) as client:
        window_s = (await client.info()).params.challenge_window_s
        stage: Inclusion | None = None
        async with asyncio.timeout(window_s + WAIT_BEYOND_WINDOW_S):
            while True:
                found = next((w for w in await client.withdrawals_of(recipient) if w.l2_tx == l2_tx), None)
                is_own_to_claim = found and found.inclusion is Inclusion.FINAL and not found.is_paid_by_operator
                if found and (found.claim_l1_tx or not wait or is_own_to_claim):
                    return found
                if found and found.inclusion is not stage:
                    stage = found.inclusion
                    note(f"· {stage}" + (f", final in about {window_s} s" if stage is Inclusion.BATCHED else ""))
                await asyncio.sleep(POLL_S)
