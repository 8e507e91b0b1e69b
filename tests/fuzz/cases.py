"""Cases for every code, type of transaction and place in a frame, the constructed edges among them.

Random bytes hardly ever reach a rule, and never the edges of signatures. So each case is built to reach one code: a
scenario makes the state and one transaction, which then stands at some place of a frame among right ones, or comes
from L1 by force; other cases break a frame as a whole, or flip a bit of one that was right.

The same seed gives the same cases on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from msgspec.structs import replace

from chain.codec import MAX_FORCED_TX_BYTES, MAX_FRAME_ITEMS, BatchHeader, Frame, encode_inbox_body
from chain.l1.protocol import InboxMessage
from chain.stf import Code
from chain.types import MAX_U32, MAX_U64, MAX_U128, META_KEY, REGION_CAPACITY, Account, account_key
from tests.chain import support
from tests.fuzz import allocating, channels, slashing, tending  # noqa: F401 - they register their scenarios
from tests.fuzz.mixed import MIXED
from tests.fuzz.scenarios import SCENARIOS, Scenario
from tests.fuzz.world import Case, World, owner

_Make = Callable[[Random], Case]
MIXED_SHARE = 100
"""How many of each kind of mixed frame there are among all kinds: such frames are drawn, so a few say little."""


def cases(count: int, seed: int) -> Iterator[Case]:
    """``count`` cases; every kind comes before any comes twice."""
    waiting: list[tuple[str, _Make]] = []
    rng = Random(seed)
    for number in range(count):
        if not waiting:
            waiting = kinds()
            rng.shuffle(waiting)
        name, make = waiting.pop()
        case = make(Random(f"{seed}/{number}/{name}"))
        yield replace(case, name=name)


def case_kinds() -> int:
    """How many kinds of cases there are; as many cases have every code at every place."""
    return len(kinds())


def kinds() -> list[tuple[str, Callable[[Random], Case]]]:
    """Every kind of case: its name, and what makes one."""
    found: list[tuple[str, _Make]] = []
    for one in sorted(SCENARIOS, key=lambda one: one.name):
        for place in range(MAX_FRAME_ITEMS):
            found.append((f"{one.name}@{place}", _bind(_sequenced, one, place)))
        for place in (0, 3, MAX_FRAME_ITEMS - 1):
            found.append((f"forced/{one.name}@{place}", _bind(_forced, one, place)))
            found.append((f"truncated/{one.name}@{place}", _bind(_truncated, one, place)))
        found.append((f"flipped/{one.name}", _bind(_flipped, one)))
        found.append((f"lied/{one.name}", _bind(_lied, one)))
    for name, deposit in DEPOSITS.items():
        for place in (0, 5, MAX_FRAME_ITEMS - 1):
            found.append((f"deposit/{name}@{place}", _bind(_deposited, deposit, place)))
    found += [(f"mixed/{name}/{number}", make) for name, make in MIXED.items() for number in range(MIXED_SHARE)]
    found += [(f"frame/{make.__name__.lstrip('_')}/{number}", make) for make in FRAMES for number in range(8)]
    return found


def _bind(make: Callable[..., Case], *given: object) -> _Make:
    return lambda rng: make(rng, *given)


def _finish(
    world: World,
    body: bytes,
    code: Code | None,
    *,
    messages: tuple[InboxMessage, ...] = (),
    cursor: int = 0,
    inbox_to: int | None = None,
    is_last: bool | None = None,
) -> Case:
    case = Case(
        name="",
        leaves=world.finished(cursor),
        rules=world.rules,
        header=BatchHeader(l2_time_s=world.now_s, inbox_to=cursor + len(messages) if inbox_to is None else inbox_to),
        frame=Frame(post_root=bytes(32), body=body),
        messages=messages,
        is_last=world.rng.random() < 0.5 if is_last is None else is_last,
        intended=code,
    )
    return replace(case, frame=replace(case.frame, post_root=case.run()[1]))


def _cursor(rng: Random) -> int:
    return rng.choice([0, 1, 77, 2**40, MAX_U64 - MAX_FRAME_ITEMS])


def _body(world: World, rng: Random, target: bytes, place: int) -> bytes:
    before = [world.filler() for _ in range(place)]
    after = [world.filler() for _ in range(rng.randint(0, MAX_FRAME_ITEMS - 1 - place))]
    return b"".join([*before, target, *after])


def _sequenced(rng: Random, one: Scenario, place: int) -> Case:
    world = World(rng)
    target = one.build(world, rng)
    return _finish(world, _body(world, rng, target, place), one.code, cursor=_cursor(rng))


def _forced(rng: Random, one: Scenario, place: int) -> Case:
    """From L1 anything goes: the message does what it does, and the frame is right."""
    world, cursor = World(rng), _cursor(rng)
    target = one.build(world, rng)
    if len(target) > MAX_FORCED_TX_BYTES:
        target = target[:MAX_FORCED_TX_BYTES]
    messages = [world.filler_message(cursor + number) for number in range(place)]
    messages.append(support.forced(cursor + place, target))
    return _finish(world, encode_inbox_body(cursor, len(messages)), Code.OK, messages=tuple(messages), cursor=cursor)


def _truncated(rng: Random, one: Scenario, place: int) -> Case:
    world = World(rng)
    target = one.build(world, rng)
    body = b"".join(world.filler() for _ in range(place)) + target[: rng.randrange(1, len(target))]
    return _finish(world, body, Code.MALFORMED)


def _flipped(rng: Random, one: Scenario) -> Case:
    """One bit of a frame is another: whatever that comes to, everyone must agree."""
    world = World(rng)
    target = one.build(world, rng)
    body = bytearray(_body(world, rng, target, rng.randrange(MAX_FRAME_ITEMS)))
    body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    return _finish(world, bytes(body), None)


def _lied(rng: Random, one: Scenario) -> Case:
    """The frame is as it is, and claims another root."""
    case = _sequenced(rng, one, rng.randrange(MAX_FRAME_ITEMS))
    intended = Code.WRONG_ROOT if case.intended is Code.OK else case.intended
    return replace(case, frame=replace(case.frame, post_root=rng.randbytes(32)), intended=intended)


def _deposited(rng: Random, deposit: Callable[[World, Random, int], InboxMessage], place: int) -> Case:
    world, cursor = World(rng), _cursor(rng)
    messages = [world.filler_message(cursor + number) for number in range(place)]
    messages.append(deposit(world, rng, cursor + place))
    return _finish(world, encode_inbox_body(cursor, len(messages)), Code.OK, messages=tuple(messages), cursor=cursor)


def _to_its_hint(world: World, rng: Random, index: int) -> InboxMessage:
    account = world.account(balance_nano=rng.choice([0, MAX_U128 - MAX_U64]))
    return support.deposit(index, world.of(account).owner, rng.choice([1, MAX_U64]), hint=account)


def _to_a_full_hint(world: World, rng: Random, index: int) -> InboxMessage:
    account = world.account(balance_nano=MAX_U128 - 4)
    return support.deposit(index, world.of(account).owner, 5, hint=account)


def _to_anothers_hint(world: World, rng: Random, index: int) -> InboxMessage:
    return support.deposit(index, owner(7), 5, hint=world.account())


def _to_no_hint(world: World, rng: Random, index: int) -> InboxMessage:
    hint = rng.choice([0, REGION_CAPACITY, META_KEY, MAX_U32, world.draw()])
    return support.deposit(index, owner(7), rng.choice([1, MAX_U64]), hint=hint)


def _beyond_the_supply(world: World, rng: Random, index: int) -> InboxMessage:
    world.meta["supply_nano"] = MAX_U128
    return rng.choice([_to_its_hint, _to_no_hint])(world, rng, index)


def _into_a_full_region(world: World, rng: Random, index: int) -> InboxMessage:
    world.meta["next_account"] = rng.choice([REGION_CAPACITY, MAX_U32])
    return _to_no_hint(world, rng, index)


def _back_into_a_full_region(world: World, rng: Random, index: int) -> InboxMessage:
    """Neither an account nor a withdrawal can be had."""
    world.meta["next_withdrawal"] = rng.choice([REGION_CAPACITY, MAX_U32])
    return rng.choice([_into_a_full_region, _to_a_full_hint])(world, rng, index)


def _back_onto_a_leaf(world: World, rng: Random, index: int) -> InboxMessage:
    number = world.meta["next_withdrawal"] = world.draw()
    world.withdrawal(number)
    return rng.choice([_into_a_full_region, _to_a_full_hint])(world, rng, index)


def _onto_a_leaf(world: World, rng: Random, index: int) -> InboxMessage:
    number = world.meta["next_account"] = world.draw()
    world.leaves[account_key(number)] = Account(owner=owner(7))
    return support.deposit(index, owner(7), 5)


def _to_nobody(world: World, rng: Random, index: int) -> InboxMessage:
    """L1 takes no deposit for the zero address; a hint that names no account is still no match for it."""
    return support.deposit(index, bytes(20), 5, hint=rng.choice([0, REGION_CAPACITY, MAX_U32]))


DEPOSITS: dict[str, Callable[[World, Random, int], InboxMessage]] = {
    make.__name__.lstrip("_"): make
    for make in (
        _to_its_hint,
        _to_a_full_hint,
        _to_anothers_hint,
        _to_no_hint,
        _beyond_the_supply,
        _into_a_full_region,
        _back_into_a_full_region,
        _back_onto_a_leaf,
        _onto_a_leaf,
        _to_nobody,
    )
}


def _empty(rng: Random) -> Case:
    return _finish(World(rng), b"", Code.MALFORMED, cursor=_cursor(rng))


def _empty_before_the_inbox(rng: Random) -> Case:
    cursor = _cursor(rng)
    return _finish(World(rng), b"", Code.INBOX_ORDER, cursor=cursor, inbox_to=cursor + 1)


def _eight(rng: Random) -> Case:
    world = World(rng)
    return _finish(world, b"".join(world.filler() for _ in range(MAX_FRAME_ITEMS)), Code.OK)


def _nine(rng: Random) -> Case:
    """The ninth's bytes don't matter, since its being there is the fault."""
    world = World(rng)
    body = b"".join(world.filler() for _ in range(MAX_FRAME_ITEMS))
    return _finish(world, body + rng.choice([world.filler(), b"\x02", b"\x00", b"\xff"]), Code.TOO_MANY_IN_FRAME)


def _nine_of_which_one_is_wrong(rng: Random) -> Case:
    world = World(rng)
    body = b"".join(world.filler() for _ in range(MAX_FRAME_ITEMS - 1))
    return _finish(world, body + bytes([9]) + bytes(4) + world.filler(), Code.CHANNEL_UNAVAILABLE)


def _unknown_type(rng: Random) -> Case:
    world, place = World(rng), rng.randrange(MAX_FRAME_ITEMS)
    unknown = [16, 17, 127, 128, 255] + ([0] if place else [])
    body = b"".join(world.filler() for _ in range(place)) + bytes([rng.choice(unknown)])
    return _finish(world, body + rng.randbytes(rng.choice([0, 80])), Code.UNKNOWN_TYPE)


def _noise(rng: Random) -> Case:
    world = World(rng)
    body = rng.randbytes(rng.choice([1, 10, 100, 700]))
    return _finish(world, body, None, cursor=_cursor(rng))


def _transactions_before_the_inbox(rng: Random) -> Case:
    world, cursor = World(rng), rng.choice([3, 77])
    inbox_to = cursor + rng.choice([1, -1, 9])
    return _finish(world, world.filler(), Code.INBOX_ORDER, cursor=cursor, inbox_to=inbox_to)


def _inbox_of_another_length(rng: Random) -> Case:
    body = encode_inbox_body(0, 1)
    wrong = rng.choice([body[:-1], body + b"\0", b"\0", body + body])
    return _finish(World(rng), wrong, Code.MALFORMED, inbox_to=1)


def _inbox_of_too_many(rng: Random) -> Case:
    start, count = rng.choice([0, 5, MAX_U64]), rng.choice([9, 255])
    return _finish(
        World(rng), encode_inbox_body(start, count), Code.TOO_MANY_IN_FRAME, inbox_to=rng.choice([0, MAX_U64])
    )


def _inbox_out_of_order(rng: Random) -> Case:
    cursor = rng.choice([1, 2**40])
    start, count, inbox_to = rng.choice(
        [
            (cursor + 1, 1, cursor + 5),
            (cursor - 1, 1, cursor + 5),
            (cursor, 0, cursor),
            (cursor, 3, cursor + 2),
            (cursor, 1, cursor),
            (cursor, 1, cursor - 1),
            (MAX_U64, 8, MAX_U64),
        ]
    )
    return _finish(World(rng), encode_inbox_body(start, count), Code.INBOX_ORDER, cursor=cursor, inbox_to=inbox_to)


def _inbox_at_the_end_of_all_messages(rng: Random) -> Case:
    body = encode_inbox_body(MAX_U64, rng.choice([1, 8]))
    return _finish(World(rng), body, Code.INBOX_ORDER, cursor=MAX_U64, inbox_to=MAX_U64)


def _inbox_stops_short(rng: Random) -> Case:
    """Only the last frame must have reached the header's cursor."""
    world, cursor, is_last = World(rng), _cursor(rng), rng.random() < 0.6
    messages = tuple(world.filler_message(cursor + number) for number in range(4))
    code = Code.WRONG_CURSOR if is_last else Code.OK
    return _finish(world, encode_inbox_body(cursor, 3), code, messages=messages, cursor=cursor, is_last=is_last)


def _inbox_of_rubbish(rng: Random) -> Case:
    world, cursor = World(rng), _cursor(rng)
    bodies = [b"", b"\0", b"\x0d" + bytes(127), bytes(128), rng.randbytes(128), world.filler() + b"\0", b"\xff"]
    messages = tuple(support.forced(cursor + number, body) for number, body in enumerate(bodies))
    return _finish(world, encode_inbox_body(cursor, len(bodies)), Code.OK, messages=messages, cursor=cursor)


def _inbox_of_no_message(rng: Random) -> Case:
    """A frame must do something, even where nothing is left to do."""
    cursor = _cursor(rng)
    return _finish(World(rng), encode_inbox_body(cursor, 0), Code.INBOX_ORDER, cursor=cursor)


def _inbox_of_nothing(rng: Random) -> Case:
    """The last forced transaction has no byte at all."""
    world, cursor = World(rng), _cursor(rng)
    messages = (world.filler_message(cursor), support.forced(cursor + 1, b""))
    return _finish(world, encode_inbox_body(cursor, 2), Code.OK, messages=messages, cursor=cursor)


FRAMES: tuple[_Make, ...] = (
    _empty,
    _empty_before_the_inbox,
    _eight,
    _nine,
    _nine_of_which_one_is_wrong,
    _unknown_type,
    _noise,
    _transactions_before_the_inbox,
    _inbox_of_another_length,
    _inbox_of_too_many,
    _inbox_out_of_order,
    _inbox_at_the_end_of_all_messages,
    _inbox_stops_short,
    _inbox_of_rubbish,
    _inbox_of_nothing,
    _inbox_of_no_message,
)
