"""Exits from a frozen rollup, from L1's data alone: what belongs to an address, and how each part is paid out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from chain.eip712 import SigningDomain
from chain.l1.protocol import AccountProof, ChannelProof, InboxMessage, RollupL1, SignedVoucher
from chain.money import format_usd
from chain.replay import ReplayError, rules_of
from chain.signing import checksum_address
from chain.state import RollupState
from chain.types import FIRST_INDEX, Account, Channel, Withdrawal, account_key, channel_key, withdrawal_key
from wallet.rollup_follower import RollupFollower, claimed, finalized
from wallet.steps import WithdrawalStep, doing, done, waiting
from wallet.vouchers import provable
from wallet.wallet_error import WalletError

POLL_S = 1.0
PAGE_MESSAGES = 256


@dataclass(frozen=True, slots=True)
class Holdings:
    """Everything that belongs to one address, in a state and in the inbox messages after it."""

    accounts: tuple[tuple[int, Account], ...]
    channels: tuple[tuple[int, Channel], ...]
    """Channels with a rest that it pays into or is paid from."""
    withdrawals: tuple[tuple[int, Withdrawal], ...]
    """Withdrawals to it, paid ones too: the state doesn't know."""
    deposits: tuple[InboxMessage, ...]
    """Deposits for it that no batch executed."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever there."""
        return not (self.accounts or self.channels or self.withdrawals or self.deposits)


def holdings_of(state: RollupState, waiting_messages: list[InboxMessage], owner: bytes) -> Holdings:
    """What belongs to an address in a state, and in the inbox messages after it."""
    meta = state.meta
    accounts = [
        (number, leaf)
        for number in range(FIRST_INDEX, meta.next_account)
        if (leaf := state.account(number)) is not None and leaf.owner == owner
    ]
    mine = {number for number, _ in accounts}
    channels = [
        (number, channel)
        for number in range(FIRST_INDEX, meta.next_channel)
        if (channel := state.channel(number)) is not None
        and mine & {channel.payer, channel.payee}
        and channel.redeemed_nano < channel.deposit_nano
    ]
    withdrawals = [
        (number, withdrawal)
        for number in range(FIRST_INDEX, meta.next_withdrawal)
        if (withdrawal := state.withdrawal(number)) is not None and withdrawal.recipient == owner
    ]
    deposits = [message for message in waiting_messages if message.kind == "deposit" and message.owner == owner]
    return Holdings(
        accounts=tuple((number, leaf) for number, leaf in accounts if _worth(leaf)),
        channels=tuple(channels),
        withdrawals=tuple(withdrawals),
        deposits=tuple(deposits),
    )


async def leave(
    l1: RollupL1,
    owner: bytes,
    vouchers: Mapping[int, SignedVoucher],
    *,
    freeze: bool = False,
    wait: bool = True,
    poll_s: float = POLL_S,
    snapshot: str | None = None,
) -> AsyncIterator[WithdrawalStep]:
    """Take everything of an address out of a frozen rollup, and say each step; asked again, it goes on where it was.

    Args:
        l1: The rollup's contracts; the account that it sends from pays the gas.
        owner: The address, 20 bytes.
        vouchers: The best vouchers held, by channel.
        freeze: Whether to freeze the rollup where that is due.
        wait: Whether to wait for windows to end; without it, says when to come back.
        poll_s: How often L1 is asked while waiting.
        snapshot: A file or a URL with a final state to begin with, held against L1.

    Raises:
        WalletError: ``not_frozen``, or ``nothing_to_exit``.
        ReplayError: If a wrong batch is final.
        ChainRejectedError: As L1 refuses.
        ChainUnavailableError: If L1 does not answer.
    """
    async for step in _frozen(l1, freeze=freeze):
        yield step
    follower = RollupFollower(l1, snapshot)
    async for step in _settled(l1, follower, wait=wait, poll_s=poll_s):
        yield step
        if step.key == "final" and step.state == "waiting" and not wait:
            return
    domain = rules_of(await l1.deployment()).domain
    leaving = _Leaving(l1, follower.state, owner, domain, vouchers, follower.batch_count)
    found = await leaving.find()
    if found.is_empty:
        raise WalletError("Nothing on this rollup belongs to this wallet.", code="nothing_to_exit")
    async for step in leaving.begin(found):
        yield step
    for number, leaf in found.channels:
        async for step in leaving.settle(number, leaf, wait=wait, poll_s=poll_s):
            yield step


async def _frozen(l1: RollupL1, *, freeze: bool) -> AsyncIterator[WithdrawalStep]:
    if await l1.frozen_at_s() is None:
        deployment, pending = await l1.deployment(), await l1.oldest_pending()
        due_at_s = pending.at_s + deployment.freeze_delay_s if pending else None
        if due_at_s is None or await l1.time_s() <= due_at_s:
            raise WalletError(
                "The rollup runs: nothing has waited in its inbox for long enough to end it.",
                code="not_frozen",
                fix="Withdraw as usual, or past a sequencer that ignores you: idlewatt wallet force-withdraw.",
            )
        assert pending is not None
        if not freeze:
            raise WalletError(
                f"The rollup is not frozen, but may be: nobody executed message {pending.index} of its inbox.",
                code="not_frozen",
                fix="Add --freeze to end it for everybody, and leave.",
            )
        yield doing("freeze", f"Freezing: nobody executed message {pending.index} of the inbox in time.")
        l1_tx = await l1.freeze()
        yield done("freeze", "Frozen. Nothing can be added any more; what stands can leave.", l1_tx=l1_tx)
    else:
        yield done("freeze", "The rollup is frozen.")


async def _settled(
    l1: RollupL1, follower: RollupFollower, *, wait: bool, poll_s: float
) -> AsyncIterator[WithdrawalStep]:
    """Until every batch that stands was executed here and is final on L1."""
    deployment = await l1.deployment()
    told_at_s = -1
    yield doing("read", "Executing every batch on L1 again, to know the last state without asking anybody.")
    while True:
        wrong: ReplayError | None = None
        try:
            await follower.catch_up()
        except ReplayError as error:
            wrong = error
        count, final = await l1.batch_count(), await l1.final_count()
        if wrong is not None and (wrong.batch_id < final or not wait):
            raise wrong
        if wrong is None and count == final == follower.batch_count:
            root = follower.state.root().hex()[:16]
            yield done("read", f"{count} batches re-executed; the last state's root is 0x{root}…, as L1 has it.")
            yield done("final", "Every batch that stands is final.")
            return
        newest = (await l1.batches(count - 1, 1))[0].submitted_at_s if count > final else 0
        ready_at_s = newest + deployment.challenge_window_s
        if wrong is None and count > final and await l1.time_s() >= ready_at_s:
            await finalized(l1)
            continue
        if ready_at_s != told_at_s:
            told_at_s = ready_at_s
            text = "Batches can still be challenged; exits open when the last one is final."
            if wrong is not None:
                text = f"{wrong.message} A watchtower must disprove it first: idlewatt watch --prove."
            yield waiting("final", text, ready_at_s)
        if not wait:
            return
        await asyncio.sleep(poll_s)


class _Leaving:
    """One address on its way out of a last state."""

    def __init__(
        self,
        l1: RollupL1,
        state: RollupState,
        owner: bytes,
        domain: SigningDomain,
        vouchers: Mapping[int, SignedVoucher],
        batch_count: int,
    ) -> None:
        self._l1 = l1
        self._domain = domain
        self._state = state
        self._owner = owner
        self._vouchers = vouchers
        self._batch_count = batch_count

    async def find(self) -> Holdings:
        """What there is."""
        start = self._state.meta.inbox_cursor
        messages: list[InboxMessage] = []
        while page := await self._l1.inbox_messages(start + len(messages), PAGE_MESSAGES):
            messages += page
        return holdings_of(self._state, messages, self._owner)

    async def begin(self, found: Holdings) -> AsyncIterator[WithdrawalStep]:
        """Everything that can leave now, channels begun."""
        for number, account in found.accounts:
            yield await self._account(number, account)
        for number, channel in found.channels:
            yield await self._channel(number, channel)
        for message in found.deposits:
            yield await self._deposit(message)
        for number, withdrawal in found.withdrawals:
            yield await self._withdrawal(number, withdrawal)

    async def _account(self, number: int, account: Account) -> WithdrawalStep:
        key, amount_nano = f"account {number}", _worth(account)
        if await self._l1.is_claimed(account_key(number)):
            return done(key, f"Account #{number} has left already.")
        l1_tx = await self._l1.exit_account(self._account_proof(number))
        parts = [(account.balance_nano, "balance"), (account.stake_nano + account.unlocking_nano, "stake")]
        told = " and ".join(f"{format_usd(part_nano)} {name}" for part_nano, name in parts if part_nano)
        text = f"Account #{number}: {told}, proven in the last state and paid to {checksum_address(self._owner)}."
        return done(key, text, l1_tx=l1_tx, amount_nano=amount_nano)

    async def _channel(self, number: int, channel: Channel) -> WithdrawalStep:
        key, voucher = f"channel {number}", self._voucher(number, channel)
        under_way = await self._l1.channel_exit(number)
        proof = ChannelProof(
            channel_id=number,
            channel=channel,
            siblings=tuple(self._state.proof(channel_key(number))),
            payer=self._account_proof(channel.payer),
            payee=self._account_proof(channel.payee),
        )
        if under_way is None:
            l1_tx = await self._l1.exit_channel(proof, voucher)
            word = f"with the voucher of {format_usd(voucher.cumulative_nano)}" if voucher else "without a voucher"
            text = f"Channel #{number}: its exit began {word}."
        else:
            raised = voucher.cumulative_nano - channel.redeemed_nano if voucher else 0
            is_open = await self._l1.time_s() < under_way.settle_at_s
            if voucher is None or raised <= under_way.to_payee_nano or not is_open:
                return waiting(key, f"Channel #{number} is on its way out already.", under_way.settle_at_s)
            l1_tx = await self._l1.exit_channel(proof, voucher)
            text = f"Channel #{number}: its exit was raised to the voucher of {format_usd(voucher.cumulative_nano)}."
        begun = await self._l1.channel_exit(number)
        settle_at_s = begun.settle_at_s if begun else None
        return WithdrawalStep(
            key=key,
            state=waiting(key, "").state,
            text=f"{text} A higher voucher may still come for one window.",
            ready_at_s=settle_at_s,
            l1_tx="0x" + l1_tx.hex(),
        )

    async def _deposit(self, message: InboxMessage) -> WithdrawalStep:
        key = f"deposit {message.index}"
        if await self._l1.is_refunded(message.index):
            return done(key, f"The deposit in message {message.index} was paid back already.")
        l1_tx = await self._l1.refund_deposit(message)
        text = f"The deposit of {format_usd(message.amount_nano)} that no batch executed was paid back."
        return done(key, text, l1_tx=l1_tx, amount_nano=message.amount_nano)

    async def _withdrawal(self, number: int, leaf: Withdrawal) -> WithdrawalStep:
        key, index = f"withdrawal {number}", withdrawal_key(number)
        if await self._l1.is_claimed(index):
            return done(key, f"Withdrawal {number} was paid already.")
        siblings = self._state.proof(index)
        l1_tx = await claimed(self._l1, self._batch_count - 1, index, leaf, siblings)
        text = f"Withdrawal {number} of {format_usd(leaf.amount_nano)} was proven and paid."
        return done(key, text, l1_tx=l1_tx, amount_nano=leaf.amount_nano)

    async def settle(
        self, number: int, channel: Channel, *, wait: bool, poll_s: float
    ) -> AsyncIterator[WithdrawalStep]:
        """Pay a channel's rest to both parties, once its window is over."""
        key = f"channel {number}"
        told_at_s = -1
        while (under_way := await self._l1.channel_exit(number)) is not None:
            to_payer_nano, to_payee_nano = under_way.to_payer_nano, under_way.to_payee_nano
            if not to_payer_nano and not to_payee_nano:
                yield done(key, f"Channel #{number} has left.")
                return
            if await self._l1.time_s() >= under_way.settle_at_s:
                l1_tx = await self._l1.settle_channel_exit(number)
                mine_nano = self._share(channel.payer, to_payer_nano) + self._share(channel.payee, to_payee_nano)
                text = (
                    f"Channel #{number} settled: {format_usd(to_payee_nano)} to its payee, "
                    f"{format_usd(to_payer_nano)} back to its payer."
                )
                yield done(key, text, l1_tx=l1_tx, amount_nano=mine_nano)
                return
            if not wait:
                return
            if under_way.settle_at_s != told_at_s:
                told_at_s = under_way.settle_at_s
                yield waiting(key, f"Channel #{number} pays out when its window for vouchers is over.", told_at_s)
            await asyncio.sleep(poll_s)

    def _share(self, number: int, amount_nano: int) -> int:
        account = self._state.account(number)
        return amount_nano if account is not None and account.owner == self._owner else 0

    def _voucher(self, number: int, channel: Channel) -> SignedVoucher | None:
        """The best voucher held, where the contract takes one: the channel isn't over, and it promises more."""
        voucher = self._vouchers.get(number)
        if voucher is None or channel.is_over(self._state.meta.l2_time_s):
            return None
        if not channel.redeemed_nano < voucher.cumulative_nano <= channel.deposit_nano:
            return None
        return provable(self._domain, number, voucher, channel.signer)

    def _account_proof(self, number: int) -> AccountProof:
        account = self._state.account(number)
        assert account is not None, "a channel's parties are never removed"
        return AccountProof(number=number, account=account, siblings=tuple(self._state.proof(account_key(number))))


def _worth(account: Account) -> int:
    return account.balance_nano + account.stake_nano + account.unlocking_nano
