"""Selling a withdrawal's claim: payment and claim change hands in one transaction, once, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from chain.l1.connection import checksum
from chain.orders import ORDER_TYPE, WithdrawalOrder, claim_key
from chain.signing import SECP256K1_N, keccak256, sign_digest
from chain.state import GENESIS_ROOT, RollupState
from chain.txs import CreateAccount, Withdraw
from chain.types import Withdrawal, withdrawal_key
from tests.chain.contracts.conftest import FREEZE_S, NANO, WINDOW_S, inbox_of, person
from tests.chain.contracts.harness import KEYS, START_S, Handle, Ledger, Reverted
from tests.chain.contracts.l2 import L2

ETHER = 10**18
SELLER, BUYER, OTHER = (checksum(person(number)) for number in (1, 2, 3))
AMOUNT, MAX_FEE, WITHIN_S = 1_000, 100, 40


class Shop:
    """Account 1 is the seller's, who withdrew 1,000 nano in a batch that isn't final; two people can pay for it."""

    def __init__(self, ledger: Ledger, rollup: Handle, token: Handle) -> None:
        self.ledger, self.rollup, self.token = ledger, rollup, token
        self.l2 = L2(ledger, rollup, inbox_of(ledger, rollup, token))
        self.l2.deposit(person(1), 5_000)
        self.nonce = 0
        self.withdraw(AMOUNT)
        for key in KEYS[2:4]:
            token.send("mint", checksum(person(KEYS.index(key))), 10_000 * NANO)
            token.send("approve", rollup.contract.address, 2**256 - 1, key=key)
        self.leaf = Withdrawal(recipient=person(1), amount_nano=AMOUNT, account=1, nonce=0)
        self.order = WithdrawalOrder(
            withdrawal=self.leaf, max_fee_nano=MAX_FEE, start_s=ledger.now_s, deadline_s=ledger.now_s + WITHIN_S
        )
        self.number = 1

    def withdraw(self, amount_nano: int, **post: Any) -> Any:
        tx = Withdraw(1, amount_nano, 0, person(1))
        signature = sign_digest(KEYS[1], tx.digest(self.l2.domain, self.nonce))
        self.nonce += 1
        return self.l2.post(tx.encode(signature), **post)

    def sign(self, order: WithdrawalOrder, key: bytes = KEYS[1]) -> bytes:
        return sign_digest(key, order.digest(self.l2.domain))

    def arguments(self, order: WithdrawalOrder | None = None, signature: bytes | None = None) -> tuple[Any, ...]:
        order = order or self.order
        index = withdrawal_key(self.number)
        terms = (order.max_fee_nano, order.start_s, order.deadline_s)
        signature = self.sign(order) if signature is None else signature
        batch = self.rollup.call("count") - 1
        return batch, index, leaf_of(order.withdrawal), self.l2.state.proof(index), terms, signature

    def buy(self, order: WithdrawalOrder | None = None, signature: bytes | None = None, key: bytes = KEYS[2]) -> Any:
        return self.rollup.send("buyWithdrawal", *self.arguments(order, signature), key=key)

    def claim(self, key: bytes = KEYS[0]) -> Any:
        index = withdrawal_key(self.number)
        fields = self.rollup.call("count") - 1, index, leaf_of(self.leaf), self.l2.state.proof(index)
        return self.rollup.send("claimWithdrawal", *fields, key=key)

    def held(self, address: str) -> int:
        return int(self.token.call("balanceOf", address))

    @property
    def everybody(self) -> tuple[int, ...]:
        return tuple(self.held(address) for address in (SELLER, BUYER, OTHER, self.rollup.contract.address))


def leaf_of(withdrawal: Withdrawal) -> tuple[Any, ...]:
    return checksum(withdrawal.recipient), withdrawal.amount_nano, withdrawal.account, withdrawal.nonce


@pytest.fixture
def rollup(deploy_rollup: Callable[..., Handle]) -> Handle:
    rollup = deploy_rollup(genesisRoot=GENESIS_ROOT)
    rollup.send("depositBond", value_wei=ETHER)
    return rollup


@pytest.fixture
def shop(ledger: Ledger, rollup: Handle, asset: Handle) -> Shop:
    return Shop(ledger, rollup, asset)


def test_the_order_that_is_signed_is_the_contracts() -> None:
    assert ORDER_TYPE.decode() == (
        "WithdrawalOrder(uint32 account,uint64 nonce,uint64 amount,address recipient,"
        "uint64 maxFee,uint64 start,uint64 deadline)"
    )


class TestASale:
    def test_pays_the_seller_at_once_and_the_buyer_when_it_is_final(self, shop: Shop) -> None:
        shop.ledger.now_s += WITHIN_S // 4

        sent = shop.buy()

        assert sent.event("WithdrawalSold") == {
            "buyer": BUYER,
            "key": claim_key(shop.leaf),
            "recipient": SELLER,
            "amountNano": AMOUNT,
            "feeNano": MAX_FEE // 4,
        }
        assert shop.held(SELLER) == (AMOUNT - MAX_FEE // 4) * NANO
        with pytest.raises(Reverted, match="NotFinal"):
            shop.claim()
        shop.l2.finalize(WINDOW_S)
        paid = shop.claim()
        assert paid.event("WithdrawalClaimed")["recipient"] == BUYER
        assert shop.held(BUYER) == (10_000 + MAX_FEE // 4) * NANO
        assert shop.held(SELLER) == (AMOUNT - MAX_FEE // 4) * NANO

    @pytest.mark.parametrize("after_s", [-5, 0, 1, 13, 39, 40])
    def test_costs_a_fee_that_rises_evenly_from_nothing_to_its_maximum(self, shop: Shop, after_s: int) -> None:
        order = replace(shop.order, start_s=shop.ledger.now_s + 5, deadline_s=shop.ledger.now_s + 45)
        shop.ledger.now_s += 5 + after_s

        fee = shop.buy(order).event("WithdrawalSold")["feeNano"]

        assert fee == order.fee_nano(shop.ledger.now_s) == max(after_s, 0) * MAX_FEE // 40

    def test_may_cost_everything(self, shop: Shop) -> None:
        order = replace(shop.order, max_fee_nano=AMOUNT)
        shop.ledger.now_s += WITHIN_S
        before = shop.everybody
        shop.buy(order)
        assert shop.everybody == before

    def test_happens_once(self, shop: Shop) -> None:
        shop.buy()
        better = replace(shop.order, max_fee_nano=AMOUNT)
        for order, key in ((shop.order, KEYS[2]), (shop.order, KEYS[3]), (better, KEYS[3])):
            with pytest.raises(Reverted, match="AlreadySold") as refused:
                shop.buy(order, key=key)
            assert refused.value.arguments[0].lower() == BUYER.lower()

    def test_takes_the_claim_from_the_seller_for_good(self, shop: Shop) -> None:
        """The seller sends the claim itself: it pays the buyer all the same, and only once."""
        shop.buy()
        paid = shop.held(SELLER)
        shop.l2.finalize(WINDOW_S)
        shop.claim(key=KEYS[1])
        assert shop.held(SELLER) == paid
        with pytest.raises(Reverted, match="AlreadyClaimed"):
            shop.claim(key=KEYS[1])

    def test_is_not_possible_once_it_was_claimed(self, shop: Shop) -> None:
        shop.l2.finalize(WINDOW_S)
        shop.claim()
        late = replace(shop.order, deadline_s=shop.ledger.now_s + 10)
        before = shop.everybody
        with pytest.raises(Reverted, match="AlreadyClaimed"):
            shop.buy(late)
        assert shop.everybody == before

    def test_is_possible_of_a_final_withdrawal_that_nobody_claimed(self, shop: Shop) -> None:
        shop.l2.finalize(WINDOW_S)
        late = replace(shop.order, deadline_s=shop.ledger.now_s + 10)
        shop.buy(late)
        shop.claim()
        assert shop.held(shop.rollup.contract.address) == 4_000 * NANO


class TestRefused:
    @pytest.mark.parametrize(
        "changes",
        [{"max_fee_nano": AMOUNT + 1}, {"deadline_s": START_S, "start_s": START_S}, {"start_s": 2**63}],
        ids=["a fee above the amount", "no time to rise", "an end before the beginning"],
    )
    def test_terms_that_make_no_sense(self, shop: Shop, changes: dict[str, int]) -> None:
        with pytest.raises(Reverted, match="WrongTerms"):
            shop.buy(replace(shop.order, **changes))

    def test_an_offer_that_is_over(self, shop: Shop) -> None:
        shop.ledger.now_s += WITHIN_S + 1
        with pytest.raises(Reverted, match="OrderOver"):
            shop.buy()

    def test_what_somebody_else_or_nobody_signed(self, shop: Shop) -> None:
        signature = shop.sign(shop.order)
        s = int.from_bytes(signature[32:], "big")
        twin = SECP256K1_N - (s & (2**255 - 1)) | (1 - (s >> 255)) << 255
        for wrong in (
            shop.sign(shop.order, KEYS[2]),
            shop.sign(replace(shop.order, max_fee_nano=MAX_FEE + 1)),
            signature[:32] + twin.to_bytes(32, "big"),
            signature + b"\0",
            b"",
            bytes(64),
        ):
            with pytest.raises(Reverted, match="WrongOrder"):
                shop.buy(signature=wrong)

    @pytest.mark.parametrize("field", ["account", "nonce", "amount_nano"])
    def test_another_withdrawal_than_the_one_that_was_signed_for(self, shop: Shop, field: str) -> None:
        """The leaf is proven and the order names it, so neither can be another's."""
        other = replace(shop.leaf, **{field: getattr(shop.leaf, field) + 1})
        with pytest.raises(Reverted, match="WrongProof"):
            shop.buy(replace(shop.order, withdrawal=other))
        fields = list(shop.arguments())
        fields[5] = shop.sign(replace(shop.order, withdrawal=other))
        with pytest.raises(Reverted, match="WrongOrder"):
            shop.rollup.send("buyWithdrawal", *fields, key=KEYS[2])

    def test_an_order_of_another_deployment(self, shop: Shop) -> None:
        foreign = replace_salt(shop)
        with pytest.raises(Reverted, match="WrongOrder"):
            shop.buy(signature=sign_digest(KEYS[1], shop.order.digest(foreign)))

    def test_a_leaf_that_is_no_withdrawal_or_a_batch_that_does_not_stand(self, shop: Shop) -> None:
        fields = list(shop.arguments())
        for place, value, name in ((1, 1, "NotAWithdrawal"), (0, 7, "NoSuchBatch")):
            wrong = [value if number == place else field for number, field in enumerate(fields)]
            with pytest.raises(Reverted, match=name):
                shop.rollup.send("buyWithdrawal", *wrong, key=KEYS[2])

    def test_a_buyer_without_the_money_pays_nothing_and_gets_nothing(self, shop: Shop) -> None:
        shop.token.send("transfer", OTHER, 9_500 * NANO, key=KEYS[2])
        before = shop.everybody
        with pytest.raises(Reverted, match=r"AssetTransferFailed|InsufficientBalance"):
            shop.buy()
        assert shop.everybody == before
        assert int(shop.rollup.call("claimants", claim_key(shop.leaf)), 16) == 0
        shop.buy(key=KEYS[3])


def replace_salt(shop: Shop) -> Any:
    from dataclasses import replace as changed

    return changed(shop.l2.domain, salt=keccak256(b"another deployment"))


class TestTakenBack:
    def test_a_sale_in_a_batch_that_was_taken_back_reverts(self, shop: Shop) -> None:
        """The proof is against a batch that stands: what vanished before the purchase is mined costs nothing."""
        lie = shop.l2.post(CreateAccount(person(3)).encode(), lies={0: keccak256(b"a lie")})
        fields = list(shop.arguments())
        fields[0] = 1
        shop.l2.prove(lie.proof(0), key=KEYS[0])
        with pytest.raises(Reverted, match="NoSuchBatch"):
            shop.rollup.send("buyWithdrawal", *fields, key=KEYS[2])

    def test_what_was_sold_stays_sold_under_another_number(self, shop: Shop) -> None:
        """Its batch is cut off by an earlier one's lie, and it comes again behind somebody else's withdrawal."""
        l2 = shop.l2
        l2.deposit(person(3), 500)
        l2.post()
        kept = l2.state.items()
        lie = l2.post(CreateAccount(person(0)).encode(), lies={0: keccak256(b"a lie")})
        shop.number, shop.leaf = 2, replace(shop.leaf, amount_nano=300, nonce=1)
        shop.withdraw(300)
        shop.buy(replace(shop.order, withdrawal=shop.leaf))

        l2.prove(lie.proof(0), key=KEYS[0])
        shop.rollup.send("depositBond", value_wei=ETHER)
        l2.state = RollupState.from_leaves(kept)
        others = Withdraw(2, 400, 0, person(3))
        l2.post(others.encode(sign_digest(KEYS[3], others.digest(l2.domain, 0))))
        shop.nonce = 1
        shop.withdraw(300)
        l2.finalize(WINDOW_S)

        before = shop.everybody
        shop.leaf, shop.number = Withdrawal(recipient=person(3), amount_nano=400, account=2, nonce=0), 2
        shop.claim()
        shop.leaf, shop.number = Withdrawal(recipient=person(1), amount_nano=300, account=1, nonce=1), 3
        shop.claim()
        after = shop.everybody
        assert [new - old for new, old in zip(after, before, strict=True)] == [
            0, 300 * NANO, 400 * NANO, -700 * NANO,
        ]  # fmt: skip


class TestAFreeze:
    def test_sells_nothing_any_more_and_pays_what_was_sold_to_its_buyer(self, shop: Shop) -> None:
        shop.buy()
        shop.withdraw(500)
        shop.l2.deposit(person(1), 1)
        shop.ledger.now_s += FREEZE_S + 1
        shop.rollup.send("freeze")

        second = replace(shop.leaf, amount_nano=500, nonce=1)
        shop.number = 2
        late = replace(shop.order, withdrawal=second, deadline_s=shop.ledger.now_s + 50)
        with pytest.raises(Reverted, match="AlreadyFrozen"):
            shop.buy(late, key=KEYS[3])

        shop.number = 1
        shop.rollup.send("finalize", shop.rollup.call("count"))
        before = shop.held(BUYER)
        shop.claim()
        assert shop.held(BUYER) == before + AMOUNT * NANO


class TestHostileAssets:
    def test_one_that_calls_back_can_neither_buy_again_nor_claim(
        self, ledger: Ledger, deploy_rollup: Callable[..., Handle], odd: Callable[..., Handle]
    ) -> None:
        token = odd("HookToken")
        rollup = deploy_rollup(token, genesisRoot=GENESIS_ROOT)
        rollup.send("depositBond", value_wei=ETHER)
        shop = HookShop(ledger, rollup, token)
        token.send("arm", rollup.contract.address, rollup.encode("buyWithdrawal", *shop.arguments()))
        shop.buy()
        assert token.call("attempts") == 1
        assert token.call("successes") == 0
        shop.l2.finalize(WINDOW_S)
        shop.claim()
        assert shop.held(rollup.contract.address) == 4_000 * NANO

    @pytest.mark.parametrize("mode", [1, 4, 5], ids=["returns false", "keeps a fee", "reverts"])
    def test_one_that_refuses_or_keeps_a_part_sells_nothing(
        self, ledger: Ledger, deploy_rollup: Callable[..., Handle], odd: Callable[..., Handle], mode: int
    ) -> None:
        token = odd("OddToken", 18)
        rollup = deploy_rollup(token, genesisRoot=GENESIS_ROOT)
        rollup.send("depositBond", value_wei=ETHER)
        shop = HookShop(ledger, rollup, token)
        before = shop.everybody
        token.send("set", mode)
        with pytest.raises(Reverted, match="AssetTransferFailed"):
            shop.buy()
        assert shop.everybody == before
        token.send("set", 0)
        shop.buy()

    def test_six_decimals_never_pay_the_seller_less_than_amount_and_fee_say(
        self, ledger: Ledger, deploy_rollup: Callable[..., Handle], odd: Callable[..., Handle]
    ) -> None:
        token = odd("OddToken", 6)
        rollup = deploy_rollup(token, genesisRoot=GENESIS_ROOT)
        rollup.send("depositBond", value_wei=ETHER)
        shop = HookShop(ledger, rollup, token, deposit_nano=5_000_000, amount_nano=1_999_999)
        order = replace(shop.order, max_fee_nano=100_999)
        ledger.now_s += WITHIN_S
        before = shop.held(SELLER), shop.held(BUYER)
        shop.buy(order)
        # 1,999 units of the claim less 100 units of the fee.
        assert (shop.held(SELLER) - before[0], before[1] - shop.held(BUYER)) == (1_899, 1_899)
        shop.l2.finalize(WINDOW_S)
        shop.claim()
        assert shop.held(BUYER) == before[1] + 100


class HookShop(Shop):
    """The same with a token that knows no approval."""

    def __init__(
        self, ledger: Ledger, rollup: Handle, token: Handle, *, deposit_nano: int = 5_000, amount_nano: int = AMOUNT
    ) -> None:
        self.ledger, self.rollup, self.token = ledger, rollup, token
        for number in range(4):
            token.send("mint", checksum(person(number)), 10**10 * NANO)
        inbox = ledger.at(inbox_abi(), bytes.fromhex(rollup.call("inbox")[2:]))
        self.l2 = L2(ledger, rollup, inbox)
        self.l2.deposit(person(1), deposit_nano)
        self.nonce = 0
        self.withdraw(amount_nano)
        self.leaf = Withdrawal(recipient=person(1), amount_nano=amount_nano, account=1, nonce=0)
        self.order = WithdrawalOrder(
            withdrawal=self.leaf, max_fee_nano=MAX_FEE, start_s=ledger.now_s, deadline_s=ledger.now_s + WITHIN_S
        )
        self.number = 1


def inbox_abi() -> Any:
    from chain.l1.artifacts import artifact

    return artifact("Inbox").abi
