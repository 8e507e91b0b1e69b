"""A batch that a villain builds: honest frames by the rules, forged ones against them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from chain.codec import MAX_FRAME_ITEMS, BatchHeader, Frame, encode_batch, encode_inbox_body, is_inbox_body
from chain.l1.protocol import InboxMessage
from chain.rules.binding import bound_address
from chain.signing import address_of, keccak256, sign_digest
from chain.state import RollupState
from chain.stf import Code, Rules, apply, execute_body, open_batch
from chain.txs import TX_SIZES, CreateAccount, OpenChannel, Redeem, Stake, Transfer
from chain.types import Account, Channel, account_key, channel_key

Effect = Callable[[RollupState], None]
"""What a forged frame does to the villain's state, whatever the rules say."""


class Draft:
    """A batch that is being built.

    Args:
        state: The state before it, which it changes.
        header: Of the batch.
        rules: Of the deployment.
        messages: The inbox as far as the batch executes it.
        key: The villain's private key, on L1 and on L2 alike.
    """

    def __init__(
        self, state: RollupState, header: BatchHeader, rules: Rules, messages: Mapping[int, InboxMessage], key: bytes
    ) -> None:
        self.state = state
        self.header = header
        self.rules = rules
        self.messages = messages
        self.frames: list[Frame] = []
        self._key = key
        self._owner = address_of(key)

    def blob(self) -> bytes:
        """The batch as L1 gets it."""
        return encode_batch(self.header, self.frames)

    # ------------------------------------------------------------------------------------------------- honest frames

    def add(self, body: bytes) -> None:
        """A frame of an honest batch, less whatever the rules refuse on this state; left out if nothing is left."""
        if not is_inbox_body(body):
            body = self._executable(body)
        mark = self.state.mark()
        code = execute_body(self.state, self.header, body, self.rules, self.messages.__getitem__, is_last=False)
        if code is not Code.OK:
            self.state.rollback(mark)
            return
        self._append(body)

    def send(self, raw: bytes) -> None:
        """A frame with one valid transaction of the villain's own."""
        self.add(raw)

    def _executable(self, body: bytes) -> bytes:
        """The transactions of a body that the rules take, one after the other."""
        mark, taken, offset = self.state.mark(), b"", 0
        open_batch(self.state, self.header.l2_time_s)
        while offset < len(body):
            raw = body[offset : offset + TX_SIZES[body[offset]]]
            if apply(self.state, raw, self.rules).code is Code.OK:
                taken += raw
            offset += len(raw)
        self.state.rollback(mark)
        return taken

    # ------------------------------------------------------------------------------------------------- forged frames

    def lie(self, body: bytes, effect: Effect, *, root: bytes | None = None) -> None:
        """A frame whose body does what the villain likes, with the root that follows from it, or another one.

        Args:
            body: The frame's body.
            effect: What it does to the villain's state.
            root: The root that the frame claims, if another one than the state's.
        """
        open_batch(self.state, self.header.l2_time_s)
        effect(self.state)
        self._append(body, root)

    def obey(self, body: bytes) -> Effect:
        """The effect that a body has by the rules, to which a villain may add one."""

        def effect(state: RollupState) -> None:
            execute_body(state, self.header, body, self.rules, self.messages.__getitem__, is_last=False)

        return effect

    def _append(self, body: bytes, root: bytes | None = None) -> None:
        self.frames.append(Frame(post_root=root or self.state.root(), body=body))

    # ------------------------------------------------------------------------------------------- accounts and channels

    def me(self) -> int:
        """The villain's own account; allocated where it has none."""
        return self._account_of(self._owner)

    def accomplice(self) -> int:
        """Another account of the villain's."""
        return self._account_of(keccak256(b"accomplice" + self._owner)[:20])

    def victim(self) -> int:
        """The richest account that isn't the villain's; the accomplice where there is nobody else."""
        others = [
            (leaf.balance_nano, -number)
            for number, leaf in self._accounts()
            if leaf.owner not in {self._owner, keccak256(b"accomplice" + self._owner)[:20]}
        ]
        return -max(others)[1] if others else self.accomplice()

    def my_accounts(self) -> list[int]:
        """Every account of the villain's, oldest first."""
        return [number for number, leaf in self._accounts() if leaf.owner == self._owner]

    def channel(self) -> int | None:
        """An open channel whose time isn't over."""
        now_s = self.header.l2_time_s
        for key, leaf in sorted(self.state.items()):
            if isinstance(leaf, Channel) and not leaf.is_over(now_s) and leaf.redeemed_nano < leaf.deposit_nano:
                return key ^ channel_key(0)
        return None

    def account(self, number: int) -> Account:
        """An account that exists."""
        found = self.state.account(number)
        assert found is not None
        return found

    def _accounts(self) -> list[tuple[int, Account]]:
        return [(key, leaf) for key, leaf in sorted(self.state.items()) if isinstance(leaf, Account)]

    def _account_of(self, owner: bytes) -> int:
        for number, leaf in self._accounts():
            if leaf.owner == owner:
                return number
        number = self.state.meta.next_account
        self.send(CreateAccount(owner).encode())
        return number

    # ------------------------------------------------------------------------------------------------------ signatures

    def signed(self, tx: Transfer | OpenChannel | Stake, sender: int) -> bytes:
        """A transaction signed by the villain with the nonce of some account, its own or not."""
        bound = bound_address(self.state, tx)
        return tx.encode(sign_digest(self._key, tx.digest(self.rules.domain, self.account(sender).nonce, bound)))

    def signed_once(self, tx: Redeem) -> bytes:
        """A voucher, signed by the villain."""
        return tx.encode(sign_digest(self._key, tx.digest(self.rules.domain)))

    def sign(self, digest: bytes) -> bytes:
        """The villain's signature."""
        return sign_digest(self._key, digest)


def inbox_bodies(start: int, end: int) -> list[bytes]:
    """The bodies of the inbox frames that execute these messages."""
    return [encode_inbox_body(first, min(MAX_FRAME_ITEMS, end - first)) for first in range(start, end, MAX_FRAME_ITEMS)]


def pay(state: RollupState, sender: int, receiver: int, amount_nano: int) -> None:
    """Move money, as far as there is any; the sender's nonce stays, so that it notices nothing at once."""
    account = state.account(sender)
    if account is not None:
        left = max(0, account.balance_nano - amount_nano)
        state.write(account_key(sender), replace(account, balance_nano=left))
    mint(state, receiver, amount_nano)


def mint(state: RollupState, receiver: int, amount_nano: int) -> None:
    """Credit money that comes from nowhere."""
    account = state.account(receiver)
    if account is not None:
        state.write(account_key(receiver), replace(account, balance_nano=account.balance_nano + amount_nano))
