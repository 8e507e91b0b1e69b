"""Payment channels: opened, redeemed by vouchers, and ended."""

from __future__ import annotations

from msgspec.structs import replace

from chain.rules.moves import check_free, check_signer, count_channels, credit, spend
from chain.rules.outcome import DONE, OK, Code, Outcome, Rules
from chain.state import RollupState
from chain.txs import CloseTogether, Expire, OpenChannel, Redeem, StartClose, TopUp
from chain.types import MAX_U64, MAX_U128, META_KEY, Channel, channel_key


def open_channel(state: RollupState, tx: OpenChannel, signature: bytes, rules: Rules) -> Outcome:
    """Put money into a new channel to a payee."""
    sender = state.account(tx.sender)
    if sender is None:
        return Outcome(Code.MISSING_SENDER)
    payee = state.account(tx.payee)
    if payee is None:
        return Outcome(Code.MISSING_RECEIVER)
    code = check_signer(sender.owner, tx.digest(rules.domain, sender.nonce, payee.owner), signature)
    if code is OK:
        code = spend(state, tx.sender, sender, tx.amount_nano, tx.fee_nano)
    if code is not OK:
        return Outcome(code)
    meta = state.meta
    if tx.expiry_s <= meta.l2_time_s:
        return Outcome(Code.CHANNEL_UNAVAILABLE)
    number = meta.next_channel
    code = check_free(state, number, channel_key(number))
    if code is not OK:
        return Outcome(code)
    channel = Channel(
        payer=tx.sender, payee=tx.payee, signer=tx.signer, deposit_nano=tx.amount_nano, expiry_s=tx.expiry_s
    )
    state.write(channel_key(number), channel)
    state.write(META_KEY, replace(meta, next_channel=number + 1))
    code = count_channels(state, tx.sender, 1)
    if code is OK:
        code = count_channels(state, tx.payee, 1)
    return Outcome(OK, number) if code is OK else Outcome(code)


def top_up(state: RollupState, tx: TopUp, signature: bytes, rules: Rules) -> Outcome:
    """Put more money into a channel of the payer's own."""
    channel = state.channel(tx.channel)
    if channel is None or channel.closing_at_s or channel.is_over(state.meta.l2_time_s):
        return Outcome(Code.CHANNEL_UNAVAILABLE)
    payer = state.account(channel.payer)
    if payer is None:
        return Outcome(Code.MISSING_SENDER)
    code = check_signer(payer.owner, tx.digest(rules.domain, payer.nonce, channel.signer), signature)
    if code is OK:
        code = spend(state, channel.payer, payer, tx.amount_nano, tx.fee_nano)
    if code is not OK:
        return Outcome(code)
    deposit = channel.deposit_nano + tx.amount_nano
    if deposit > MAX_U128:
        return Outcome(Code.OVERFLOW)
    state.write(channel_key(tx.channel), replace(channel, deposit_nano=deposit))
    return DONE


def redeem(state: RollupState, tx: Redeem, signature: bytes, rules: Rules) -> Outcome:
    """Pay the payee what a voucher of the channel's signer says, less what was redeemed before."""
    channel = state.channel(tx.channel)
    if channel is None or channel.is_over(state.meta.l2_time_s):
        return Outcome(Code.CHANNEL_UNAVAILABLE)
    if not channel.redeemed_nano < tx.cumulative_nano <= channel.deposit_nano:
        return Outcome(Code.BAD_VOUCHER)
    code = check_signer(channel.signer, tx.digest(rules.domain), signature)
    if code is not OK:
        return Outcome(Code.BAD_VOUCHER if code is Code.BAD_SIGNATURE else code)
    state.write(channel_key(tx.channel), replace(channel, redeemed_nano=tx.cumulative_nano))
    return Outcome(credit(state, channel.payee, tx.cumulative_nano - channel.redeemed_nano))


def close_together(state: RollupState, tx: CloseTogether, signature: bytes, rules: Rules) -> Outcome:
    """End a channel as its payee agrees, and give the rest back to the payer."""
    channel = state.channel(tx.channel)
    if channel is None:
        return Outcome(Code.CHANNEL_UNAVAILABLE)
    if tx.cumulative_nano != channel.redeemed_nano:
        return Outcome(Code.BAD_VOUCHER)
    payee = state.account(channel.payee)
    if payee is None:
        return Outcome(Code.MISSING_SENDER)
    code = check_signer(payee.owner, tx.digest(rules.domain, channel.signer), signature)
    if code is not OK:
        return Outcome(code)
    return _end_channel(state, tx.channel, channel)


def start_close(state: RollupState, tx: StartClose, signature: bytes, rules: Rules) -> Outcome:
    """Begin to end a channel without its payee, who may redeem until the delay is over."""
    channel = state.channel(tx.channel)
    if channel is None or channel.closing_at_s or channel.is_over(state.meta.l2_time_s):
        return Outcome(Code.CHANNEL_UNAVAILABLE)
    payer = state.account(channel.payer)
    if payer is None:
        return Outcome(Code.MISSING_SENDER)
    code = check_signer(payer.owner, tx.digest(rules.domain, payer.nonce, channel.signer), signature)
    if code is OK:
        code = spend(state, channel.payer, payer, 0, 0)
    if code is not OK:
        return Outcome(code)
    closing_at = state.meta.l2_time_s + rules.close_delay_s
    if closing_at > MAX_U64:
        return Outcome(Code.OVERFLOW)
    state.write(channel_key(tx.channel), replace(channel, closing_at_s=closing_at))
    return DONE


def expire(state: RollupState, tx: Expire, _signature: bytes, _rules: Rules) -> Outcome:
    """End a channel that is over; anyone may ask for it."""
    channel = state.channel(tx.channel)
    if channel is None:
        return Outcome(Code.CHANNEL_UNAVAILABLE)
    if not channel.is_over(state.meta.l2_time_s):
        return Outcome(Code.TOO_EARLY)
    if state.account(channel.payee) is None:
        return Outcome(Code.MISSING_RECEIVER)
    return _end_channel(state, tx.channel, channel)


def _end_channel(state: RollupState, channel_id: int, channel: Channel) -> Outcome:
    state.write(channel_key(channel_id), None)
    code = credit(state, channel.payer, channel.deposit_nano - channel.redeemed_nano)
    if code is OK:
        code = count_channels(state, channel.payer, -1)
    if code is OK:
        code = count_channels(state, channel.payee, -1)
    return Outcome(code)
