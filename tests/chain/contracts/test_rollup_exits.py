"""The ways out after a freeze: everything that the last state holds reaches its owner, once, to the last unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from chain.eip712 import voucher_digest
from chain.l1.connection import checksum
from chain.signing import SECP256K1_N, address_of, keccak256, sign_digest
from chain.state import GENESIS_ROOT
from chain.txs import OpenChannel, Redeem, Stake, StartClose, Transfer, Unstake, Withdraw
from chain.types import Account, account_key, channel_key, withdrawal_key
from tests.chain.contracts.conftest import FREEZE_S, NANO, WINDOW_S, inbox_of, person
from tests.chain.contracts.harness import KEYS, START_S, Handle, Ledger, Reverted
from tests.chain.contracts.l2 import L2

ETHER = 10**18
VOUCHER_KEY = keccak256(b"voucher key of the exits")
ALICE, BOB, CAROL = (checksum(person(number)) for number in range(3))
NO_ONE = b"\x99" * 20


@dataclass
class World:
    """Accounts 1 (Alice) and 2 (Bob), a channel between them, a withdrawal, a stake, and a deposit nobody executed."""

    l2: L2
    channel: int
    token: Handle

    def account_arguments(self, number: int) -> tuple[Any, ...]:
        account = self.l2.state.account(number)
        assert account is not None
        return number, _account(account), self.l2.state.proof(account_key(number))

    def channel_proof(self, channel_id: int | None = None) -> tuple[Any, ...]:
        channel_id = self.channel if channel_id is None else channel_id
        channel = self.l2.state.channel(channel_id)
        assert channel is not None
        _, payer, payer_siblings = self.account_arguments(channel.payer)
        _, payee, payee_siblings = self.account_arguments(channel.payee)
        leaf = (
            channel.payer, channel.payee, checksum(channel.signer), channel.deposit_nano, channel.redeemed_nano,
            channel.expiry_s, channel.closing_at_s,
        )  # fmt: skip
        siblings = self.l2.state.proof(channel_key(channel_id))
        return leaf, siblings, payer, payer_siblings, payee, payee_siblings

    def voucher(self, cumulative_nano: int, channel_id: int | None = None, key: bytes = VOUCHER_KEY) -> bytes:
        number = self.channel if channel_id is None else channel_id
        return sign_digest(key, voucher_digest(self.l2.domain, number, cumulative_nano))

    def begin(self, cumulative_nano: int = 0, signature: bytes = b"") -> Any:
        fields = self.channel, self.channel_proof(), cumulative_nano, signature
        return self.l2.rollup.send("exitChannel", *fields, key=KEYS[3])

    def held(self, address: str) -> int:
        return int(self.token.call("balanceOf", address))


def _account(account: Account) -> tuple[Any, ...]:
    return (
        checksum(account.owner), account.balance_nano, account.nonce, account.stake_nano, account.unlocking_nano,
        account.unlock_at_s, account.channels, account.slash_from,
    )  # fmt: skip


def make_world(l2: L2, token: Handle, *, expiry_s: int = START_S + 10_000, start_close: bool = False) -> World:
    """A final state with something of everything, and one deposit behind it."""
    l2.deposit(person(0), 1_000)
    l2.deposit(person(1), 500)
    nonce = 0

    def signed(tx: Any) -> bytes:
        nonlocal nonce
        bound = b""
        if isinstance(tx, Transfer | OpenChannel):
            bound = address_of(KEYS[1])
        elif isinstance(tx, StartClose):
            bound = address_of(VOUCHER_KEY)
        raw: bytes = tx.encode(sign_digest(KEYS[0], tx.digest(l2.domain, nonce, bound)))
        nonce += 1
        return raw

    bodies = [
        signed(Transfer(1, 2, 11, 0)),
        signed(OpenChannel(1, 2, address_of(VOUCHER_KEY), 300, expiry_s, 0)),
        signed(Withdraw(1, 44, 0, person(2))),
        signed(Stake(1, 100, 0)),
        signed(Unstake(1, 30, 0)),
    ]
    digest = voucher_digest(l2.domain, 1, 70)
    bodies.append(Redeem(1, 70).encode(sign_digest(VOUCHER_KEY, digest)))
    if start_close:
        bodies.append(signed(StartClose(1)))
    l2.post(*bodies)
    l2.finalize(WINDOW_S)
    return World(l2, 1, token)


def freeze(world: World, refund_nano: int = 77) -> None:
    world.l2.deposit(person(1), refund_nano)
    world.l2.ledger.now_s += FREEZE_S + 1
    world.l2.rollup.send("freeze")


@pytest.fixture
def rollup(deploy_rollup: Callable[..., Handle]) -> Handle:
    rollup = deploy_rollup(genesisRoot=GENESIS_ROOT)
    rollup.send("depositBond", value_wei=ETHER)
    return rollup


@pytest.fixture
def world(ledger: Ledger, rollup: Handle, asset: Handle) -> World:
    """Before the freeze."""
    world = make_world(L2(ledger, rollup, inbox_of(ledger, rollup, asset)), asset)
    asset.send("transfer", "0x" + "77" * 20, asset.call("balanceOf", ALICE) - 100 * NANO)
    return world


@pytest.fixture
def frozen(world: World, asset: Handle) -> World:
    """After it, with Alice's L1 balance at nothing."""
    freeze(world)
    asset.send("transfer", "0x" + "77" * 20, asset.call("balanceOf", ALICE))
    return world


class TestEverything:
    def test_every_holder_leaves_with_every_unit_and_nothing_stays(self, frozen: World, rollup: Handle) -> None:
        """Balances, stake, stake on its way out, channel rest, withdrawal and the deposit that nobody executed."""
        l2 = frozen.l2
        assert frozen.held(rollup.contract.address) == (1_000 + 500 + 77) * NANO

        for number in (1, 2):
            rollup.send("exitAccount", *frozen.account_arguments(number), key=KEYS[3])
        frozen.begin(200, frozen.voucher(200))
        l2.ledger.now_s += WINDOW_S
        rollup.send("settleChannelExit", 1, key=KEYS[3])
        message = l2.messages[2]
        rollup.send("refundDeposit", 2, BOB, message.index_hint, 77, key=KEYS[3])
        proof = l2.state.proof(withdrawal_key(1))
        rollup.send("claimWithdrawal", 0, withdrawal_key(1), (CAROL, 44, 1, 2), proof, key=KEYS[3])

        alice = 1_000 - 11 - 300 - 44 + 100
        assert frozen.held(rollup.contract.address) == 0
        assert frozen.held(ALICE) == alice * NANO
        assert frozen.held(BOB) == (500 + 11 + 70 + 130 + 77) * NANO
        assert frozen.held(CAROL) == 44 * NANO


class TestWhenExitsOpen:
    def test_nothing_leaves_while_the_rollup_runs(self, world: World, rollup: Handle) -> None:
        world.l2.deposit(person(1), 5)

        for call in (
            ("exitAccount", *world.account_arguments(1)),
            ("exitChannel", 1, world.channel_proof(), 0, b""),
            ("refundDeposit", 2, BOB, 2**32 - 1, 5),
        ):
            with pytest.raises(Reverted, match="ExitsClosed"):
                rollup.send(*call)

    def test_nothing_leaves_until_the_last_batch_is_final_or_taken_back(self, world: World, rollup: Handle) -> None:
        """A lie that was posted before the freeze is still provable, and what it executed can then be refunded."""
        l2 = world.l2
        before = world.account_arguments(1)
        wrong = l2.post(b"\xff")
        l2.force(b"ignored")
        l2.ledger.now_s += FREEZE_S + 1
        rollup.send("freeze")
        with pytest.raises(Reverted, match="ExitsClosed"):
            rollup.send("exitAccount", *before)

        l2.prove(wrong.proof(0))

        rollup.send("exitAccount", *before)

    def test_a_rollup_that_never_had_a_batch_refunds_its_deposits(
        self, ledger: Ledger, rollup: Handle, asset: Handle
    ) -> None:
        l2 = L2(ledger, rollup, inbox_of(ledger, rollup, asset))
        l2.deposit(person(1), 9)
        ledger.now_s += FREEZE_S + 1
        rollup.send("freeze")

        sent = rollup.send("refundDeposit", 0, BOB, 2**32 - 1, 9)

        assert sent.event("DepositRefunded") == {"index": 0, "owner": BOB, "amountNano": 9}
        assert asset.call("balanceOf", rollup.contract.address) == 0


class TestAccounts:
    def test_an_account_leaves_once(self, frozen: World, rollup: Handle) -> None:
        sent = rollup.send("exitAccount", *frozen.account_arguments(2))
        assert sent.event("AccountExited") == {"account": 2, "owner": BOB, "amountNano": 581}
        assert rollup.call("claimed", 2) is True

        with pytest.raises(Reverted) as refused:
            rollup.send("exitAccount", *frozen.account_arguments(2))

        assert (refused.value.name, refused.value.arguments) == ("AlreadyClaimed", (2,))

    @pytest.mark.parametrize("place", range(6))
    def test_no_field_of_a_leaf_can_be_made_up(self, frozen: World, rollup: Handle, place: int) -> None:
        number, leaf, siblings = frozen.account_arguments(2)
        changed = list(leaf)
        changed[place] = CAROL if place == 0 else changed[place] + 1

        with pytest.raises(Reverted, match="WrongProof"):
            rollup.send("exitAccount", number, tuple(changed), siblings)

    def test_nor_the_number_or_the_proof(self, frozen: World, rollup: Handle) -> None:
        number, leaf, siblings = frozen.account_arguments(2)

        with pytest.raises(Reverted, match="WrongProof"):
            rollup.send("exitAccount", 3, leaf, siblings)
        with pytest.raises(Reverted, match="WrongProof"):
            rollup.send("exitAccount", number, leaf, [*siblings[:-1], b"\x01" * 32])
        with pytest.raises(Reverted, match="NoSuchNumber"):
            rollup.send("exitAccount", 0x40000000, leaf, siblings)


class TestChannels:
    def test_without_a_voucher_the_rest_is_the_payers(self, frozen: World, rollup: Handle) -> None:
        until = frozen.l2.ledger.now_s + WINDOW_S

        sent = frozen.begin()

        assert sent.event("ChannelExitRaised") == {"channel": 1, "toPayer": 230, "toPayee": 0, "settleAt": until}
        frozen.l2.ledger.now_s += WINDOW_S
        settled = rollup.send("settleChannelExit", 1)
        assert settled.event("ChannelExitPaid") == {"channel": 1, "recipient": ALICE, "amountNano": 230}

    def test_a_higher_voucher_wins_until_the_window_ends(self, frozen: World, rollup: Handle) -> None:
        frozen.begin(100, frozen.voucher(100))
        frozen.l2.ledger.now_s += WINDOW_S - 1
        raised = rollup.send("raiseChannelExit", 1, 300, frozen.voucher(300), key=KEYS[2])
        assert raised.event("ChannelExitRaised")["toPayee"] == 230
        with pytest.raises(Reverted, match="VoucherWindow"):
            rollup.send("settleChannelExit", 1)

        frozen.l2.ledger.now_s += 1

        with pytest.raises(Reverted, match="VoucherWindow"):
            rollup.send("raiseChannelExit", 1, 300, frozen.voucher(300))
        rollup.send("settleChannelExit", 1)
        assert (frozen.held(ALICE), frozen.held(BOB)) == (0, 230 * NANO)

    def test_an_exit_begins_and_ends_once(self, frozen: World, rollup: Handle) -> None:
        frozen.begin()
        with pytest.raises(Reverted, match="AlreadyClaimed"):
            frozen.begin(200, frozen.voucher(200))
        frozen.l2.ledger.now_s += WINDOW_S
        rollup.send("settleChannelExit", 1)

        with pytest.raises(Reverted, match="NoChannelExit"):
            rollup.send("settleChannelExit", 1)
        for call in (("settleChannelExit", 2), ("raiseChannelExit", 2, 5, bytes(64))):
            with pytest.raises(Reverted, match="NoChannelExit"):
                rollup.send(*call)

    @pytest.mark.parametrize("cumulative", [0, 1, 70, 301, 2**64 - 1])
    def test_a_voucher_promises_more_than_was_redeemed_and_no_more_than_there_is(
        self, frozen: World, cumulative: int
    ) -> None:
        with pytest.raises(Reverted, match="VoucherOutOfRange"):
            frozen.begin(cumulative, frozen.voucher(cumulative))

    def test_a_voucher_below_what_is_known_changes_nothing(self, frozen: World, rollup: Handle) -> None:
        frozen.begin(200, frozen.voucher(200))

        for cumulative in (100, 200):
            with pytest.raises(Reverted, match="VoucherOutOfRange"):
                rollup.send("raiseChannelExit", 1, cumulative, frozen.voucher(cumulative))

    def test_only_the_voucher_key_signs_vouchers(self, frozen: World) -> None:
        good = frozen.voucher(200)
        s = int.from_bytes(good[32:], "big") & (2**255 - 1)
        parity = good[32] >> 7
        high_s = good[:32] + (((1 - parity) << 255) | (SECP256K1_N - s)).to_bytes(32, "big")
        for signature in (
            b"\x01",
            good[:63],
            good + b"\0",
            bytes(64),
            good[:32] + bytes([good[32] ^ 0x80]) + good[33:],
            high_s,
            frozen.voucher(201),
            frozen.voucher(200, channel_id=2),
            frozen.voucher(200, key=KEYS[0]),
        ):
            with pytest.raises(Reverted, match="WrongVoucher"):
                frozen.begin(200, signature)

    @pytest.mark.parametrize("place", range(7))
    def test_no_field_of_a_channel_can_be_made_up(self, frozen: World, rollup: Handle, place: int) -> None:
        leaf, *rest = frozen.channel_proof()
        changed = list(leaf)
        changed[place] = CAROL if place == 2 else changed[place] + 1

        with pytest.raises(Reverted, match="WrongProof"):
            rollup.send("exitChannel", 1, (tuple(changed), *rest), 0, b"")

    @pytest.mark.parametrize("party", [2, 4])
    def test_nor_whom_it_pays(self, frozen: World, rollup: Handle, party: int) -> None:
        fields = list(frozen.channel_proof())
        fields[party] = (CAROL, *fields[party][1:])

        with pytest.raises(Reverted, match="WrongProof"):
            rollup.send("exitChannel", 1, tuple(fields), 0, b"")

    def test_nor_its_number(self, frozen: World, rollup: Handle) -> None:
        with pytest.raises(Reverted, match="WrongProof"):
            rollup.send("exitChannel", 2, frozen.channel_proof(), 0, b"")
        with pytest.raises(Reverted, match="NoSuchNumber"):
            rollup.send("exitChannel", 0x40000001, frozen.channel_proof(), 0, b"")

    @pytest.mark.parametrize(
        ("expires_after_s", "start_close", "is_over"),
        [(1, False, False), (0, False, True), (10_000, True, False)],
    )
    def test_a_voucher_is_worth_what_it_was_at_the_last_state(
        self, ledger: Ledger, rollup: Handle, asset: Handle, expires_after_s: int, start_close: bool, is_over: bool
    ) -> None:
        """L2 time stood still at the last batch, so nobody loses a channel's time to a rollup that stopped."""
        l2 = L2(ledger, rollup, inbox_of(ledger, rollup, asset))
        world = make_world(l2, asset, expiry_s=START_S + WINDOW_S + expires_after_s, start_close=start_close)
        l2.post(b"\x01" + NO_ONE, l2_time_s=START_S + WINDOW_S)
        l2.finalize(WINDOW_S)
        if start_close:
            channel = l2.state.channel(1)
            assert channel is not None
            is_over = channel.is_over(l2.state.meta.l2_time_s)
        freeze(world)

        if is_over:
            with pytest.raises(Reverted, match="ChannelOver"):
                world.begin(200, world.voucher(200))
            world.begin()
        else:
            world.begin(200, world.voucher(200))

    def test_a_party_that_the_asset_refuses_does_not_hold_up_the_other(
        self, ledger: Ledger, deploy_rollup: Callable[..., Handle], odd: Callable[..., Handle]
    ) -> None:
        token, rollup, world = _hooked(ledger, deploy_rollup, odd)
        freeze(world)
        world.begin(200, world.voucher(200))
        ledger.now_s += WINDOW_S
        token.send("refuse", ALICE, True)
        token.send("refuse", BOB, True)
        with pytest.raises(Reverted, match="AssetTransferFailed"):
            rollup.send("settleChannelExit", 1)
        before = world.held(ALICE)
        token.send("refuse", BOB, False)

        rollup.send("settleChannelExit", 1)
        with pytest.raises(Reverted, match="AssetTransferFailed"):
            rollup.send("settleChannelExit", 1)
        token.send("refuse", ALICE, False)
        rollup.send("settleChannelExit", 1)

        assert (world.held(ALICE) - before, world.held(BOB)) == (100 * NANO, 130 * NANO)
        with pytest.raises(Reverted, match="NoChannelExit"):
            rollup.send("settleChannelExit", 1)


class TestRefunds:
    def test_a_deposit_is_refunded_once(self, frozen: World, rollup: Handle) -> None:
        rollup.send("refundDeposit", 2, BOB, 2**32 - 1, 77)
        assert rollup.call("refunded", 2) is True

        with pytest.raises(Reverted) as refused:
            rollup.send("refundDeposit", 2, BOB, 2**32 - 1, 77)

        assert (refused.value.name, refused.value.arguments) == ("NotRefundable", (2,))

    @pytest.mark.parametrize(
        "fields", [(1, BOB, 2**32 - 1, 500), (2, CAROL, 2**32 - 1, 77), (2, BOB, 0, 77), (2, BOB, 2**32 - 1, 78),
                   (3, BOB, 2**32 - 1, 77), (2**64 - 1, BOB, 2**32 - 1, 77)],
    )  # fmt: skip
    def test_only_a_true_deposit_that_no_state_has_is_refunded(
        self, frozen: World, rollup: Handle, fields: tuple[Any, ...]
    ) -> None:
        with pytest.raises(Reverted, match="NotRefundable"):
            rollup.send("refundDeposit", *fields)

    def test_a_forced_transaction_is_no_deposit(self, world: World, rollup: Handle) -> None:
        world.l2.force(person(1) + bytes(12))
        freeze(world)

        with pytest.raises(Reverted, match="NotRefundable"):
            rollup.send("refundDeposit", 2, BOB, 0, 0)


def _hooked(
    ledger: Ledger, deploy_rollup: Callable[..., Handle], odd: Callable[..., Handle]
) -> tuple[Handle, Handle, World]:
    """A world whose asset calls back."""
    token = odd("HookToken")
    rollup = deploy_rollup(token, genesisRoot=GENESIS_ROOT)
    rollup.send("depositBond", value_wei=ETHER)
    from chain.l1.artifacts import artifact

    inbox = ledger.at(artifact("Inbox").abi, bytes.fromhex(rollup.call("inbox")[2:]))
    token.send("mint", ALICE, 10_000 * NANO)
    return token, rollup, make_world(L2(ledger, rollup, inbox), token)


class TestReentrancy:
    def test_an_asset_that_calls_back_is_paid_out_once(
        self, ledger: Ledger, deploy_rollup: Callable[..., Handle], odd: Callable[..., Handle]
    ) -> None:
        """From within each payment it asks for the same payment again."""
        token, rollup, world = _hooked(ledger, deploy_rollup, odd)
        freeze(world)
        world.begin(200, world.voucher(200))
        ledger.now_s += WINDOW_S
        l2 = world.l2
        calls: list[tuple[Any, ...]] = [
            ("exitAccount", *world.account_arguments(1)),
            ("exitAccount", *world.account_arguments(2)),
            ("settleChannelExit", 1),
            ("refundDeposit", 2, BOB, 2**32 - 1, 77),
            ("claimWithdrawal", 0, withdrawal_key(1), (CAROL, 44, 1, 2), l2.state.proof(withdrawal_key(1))),
        ]
        for call in calls:
            token.send("arm", rollup.contract.address, rollup.encode(*call))
            rollup.send(*call)

        assert token.call("attempts") == 5
        assert token.call("successes") == 0
        assert world.held(rollup.contract.address) == 0

    def test_a_deposit_cannot_be_counted_twice_by_calling_back(
        self, ledger: Ledger, deploy_rollup: Callable[..., Handle], odd: Callable[..., Handle]
    ) -> None:
        token, _, world = _hooked(ledger, deploy_rollup, odd)
        token.send("mint", token.contract.address, 10 * NANO)
        inner = world.l2.inbox.encode("deposit", BOB, 0, 1)
        token.send("arm", world.l2.inbox.contract.address, inner)

        with pytest.raises(Reverted, match="AssetTransferFailed"):
            world.l2.inbox.send("deposit", BOB, 0, 1)
