"""A node of recorded values behind the NodeApi seam: deterministic, with a clock that stands still."""

import asyncio
from contextlib import asynccontextmanager

import msgspec

from node.values import (
    Alarm,
    BatchView,
    ChainEvent,
    ChainSnapshot,
    ChannelSummary,
    ChatDelta,
    ChatDone,
    ChatMessage,
    ChatQuote,
    ChatSession,
    ChatStage,
    DeviceView,
    DisputeStage,
    DisputeView,
    Health,
    HealthItem,
    IdlewattError,
    Inclusion,
    JobStage,
    JobView,
    LogLine,
    MoneyLine,
    MoneyView,
    NodeChanged,
    NodeSnapshot,
    OfferView,
    Phase,
    Prices,
    ProviderView,
    ReceiptView,
    RelayView,
    SafetyView,
    SequencerView,
    SkippedView,
    Step,
    StepState,
    WaitingMessage,
    WalletState,
    WalletView,
)

NOW_MS = 1_767_225_600_000
NOW_S = NOW_MS // 1000
SELLER = "0x5e11e7000000000000000000000000000000A11c"
BUYER = "0xB0b0000000000000000000000000000000000b0B"
SHA = "0x" + "a1b2c3d4" * 8
ROOT = "0x" + "9f8e7d6c" * 8
PRICES = Prices(input_nano_per_mtok=100_000_000, output_nano_per_mtok=200_000_000)
WORDS = "legal winner thank year wave sausage worth useful legal winner thank yellow"
ANSWER = "17 + 25 = **42**.\n\n- tens: 10 + 20 = 30\n- ones: 7 + 5 = 12\n\n```python\nprint(17 + 25)\n```\n"


def receipt(sequence=3):
    return ReceiptView(
        channel_id=7,
        sequence=sequence,
        provider=SELLER,
        model_sha256=SHA,
        engine_build="llama.cpp b6000 cpu",
        prompt_hash=ROOT,
        output_hash=SHA,
        fingerprint_hash=ROOT,
        input_tokens=24,
        output_tokens=42,
        cumulative_nano=31_200,
        seed=1234,
        started_ms=NOW_MS - 65_000,
        finished_ms=NOW_MS - 62_500,
        signature="0x" + "5b" * 64,
    )


def job(number, stage=JobStage.DONE, role="provider", **changes):
    values = {
        "job_id": f"job-{number:04d}",
        "role": role,
        "model": "idlewatt-demo-q8",
        "peer": BUYER if role == "provider" else SELLER,
        "stage": stage,
        "channel_id": 7,
        "input_tokens": 24,
        "output_tokens": 42,
        "tokens_per_s": 118.4,
        "amount_nano": 10_800,
        "exposure_nano": 0,
        "credit_window_nano": 12_800,
        "started_ms": NOW_MS - 60_000 * number,
        "finished_ms": NOW_MS - 60_000 * number + 2_500,
        "receipt": receipt(number),
    }
    return JobView(**(values | changes))


def running_job(number=9, **changes):
    running = {"finished_ms": None, "receipt": None, "exposure_nano": 6_400, "started_ms": NOW_MS - 4_000}
    return job(number, JobStage.STREAMING, **(running | changes))


def money(total_parts=((0, 1_250_000_000),)):
    lines = (
        MoneyLine(place="wallet", label="on L2, free to use", amount_nano=1_250_000_000, inclusion=Inclusion.FINAL),
        MoneyLine(
            place="channel",
            label="in channel #7, comes back on closing",
            amount_nano=99_968_800,
            inclusion=Inclusion.BATCHED,
            reference="0x07" * 16,
        ),
        MoneyLine(place="claimable", label="earned, voucher held, not redeemed", amount_nano=31_200),
        MoneyLine(
            place="withdrawing",
            label="on its way to L1",
            amount_nano=500_000_000,
            inclusion=Inclusion.BATCHED,
            ready_at_s=NOW_S + 200,
            reference=ROOT,
        ),
        MoneyLine(place="l1", label="on L1", amount_nano=10_000_000_000),
    )
    return MoneyView(lines=lines, total_nano=sum(line.amount_nano for line in lines))


def wallet(wallet_id="seller", address=SELLER, **changes):
    values = {
        "wallet_id": wallet_id,
        "label": wallet_id,
        "state": WalletState.UNLOCKED,
        "address": address,
        "balance_nano": 1_250_000_000,
        "money": None,
        "backed_up": True,
    }
    return WalletView(**(values | changes))


def offer(number, **changes):
    values = {
        "offer_id": f"offer-{number}",
        "provider": f"0x{number:02x}" + "ab" * 19,
        "node_id": f"{number:064x}",
        "model": f"idlewatt-demo-{number}",
        "model_sha256": SHA,
        "architecture": "llama",
        "quantization": "Q8_0",
        "parameters": 4_200_000,
        "context_length": 512,
        "prices": Prices(input_nano_per_mtok=100_000_000 * number, output_nano_per_mtok=200_000_000 * number),
        "slots": 4,
        "free_slots": 3,
        "tokens_per_s": 400.0 / number,
        "ttft_ms": 38.0 * number,
        "min_deposit_nano": 10_000_000,
        "stake_nano": 0,
        "engine_build": "llama.cpp b6000 cpu",
        "expires_ms": NOW_MS + 240_000,
    }
    return OfferView(**(values | changes))


def offers():
    return (
        offer(1, mine=True),
        offer(
            2,
            model="Qwen3-8B-Instruct",
            quantization="Q4_K_M",
            architecture="qwen3",
            parameters=8_190_000_000,
            context_length=32_768,
        ),
        offer(
            3,
            model="Llama-3.3-70B",
            quantization="Q4_0",
            parameters=70_600_000_000,
            context_length=8_192,
            free_slots=0,
            tokens_per_s=11.2,
            ttft_ms=2_400,
        ),
        offer(4, model="Mistral-Small-24B", quantization="Q6_K", parameters=23_600_000_000, context_length=16_384),
    )


def batch(number, inclusion):
    return BatchView(
        batch_id=number,
        l1_tx="0x" + f"{number:02x}" * 32,
        l1_block=100 + number,
        submitted_at_s=NOW_S - 600 * (8 - number),
        final_at_s=NOW_S + 95 if inclusion is Inclusion.BATCHED else NOW_S - 100,
        inclusion=inclusion,
        tx_count=3 * number,
        frame_count=1,
        size_bytes=1_337 + number,
        pre_state_root=SHA,
        post_state_root=ROOT,
    )


def chain_view(**changes):
    values = {
        "url": "http://127.0.0.1:8547",
        "reachable": True,
        "error": "",
        "l2_chain_id": 901,
        "l1_chain_id": 1337,
        "rollup_address": "0x" + "c0" * 20,
        "deployment": "0x" + "de" * 32,
        "head_tx_count": 42,
        "head_state_root": ROOT,
        "challenge_window_s": 300,
        "chain_time_s": NOW_S,
        "has_faucet": True,
        "batches": tuple(
            batch(number, Inclusion.BATCHED if number > 4 else Inclusion.FINAL) for number in range(5, 0, -1)
        ),
        "events": (
            ChainEvent(kind="batch", at_s=NOW_S - 205, text="batch 5 posted with 15 transactions", reference="0x05"),
            ChainEvent(kind="deposit", at_s=NOW_S - 260, text="$1.25 credited to 0x5e11…A11c", reference="0x04"),
            ChainEvent(kind="final", at_s=NOW_S - 300, text="batch 4 is final", reference="0x03"),
            ChainEvent(kind="claim", at_s=NOW_S - 320, text="$0.50 paid on L1", reference="0x02"),
        ),
    }
    return ChainSnapshot(**(values | changes))


def safety_view(**changes):
    values = {
        "at_s": NOW_S,
        "l1_block": 4_321,
        "batch_count": 6,
        "final_count": 4,
        "frozen_at_s": None,
        "is_overdue": False,
        "sequencers": (SequencerView(address=SELLER, bond_wei=10**18, is_leader=True),),
        "waiting": (),
        "waiting_count": 0,
        "announced": 0,
        "disputes": (),
    }
    return SafetyView(**(values | changes))


def waiting_message(index=7, age_s=5):
    at_s = NOW_S - age_s
    return WaitingMessage(
        index=index,
        kind="forced",
        at_s=at_s,
        deadline_s=at_s + 20,
        takeover_at_s=at_s + 40,
        freeze_at_s=at_s + 120,
    )


def dispute(stage=DisputeStage.REVERTED, **changes):
    values = {
        "stage": stage,
        "batch_id": 5,
        "frame": 2,
        "code": 8,
        "rule": "wrong root",
        "submitter": BUYER,
        "prover": SELLER,
        "reward_wei": 5 * 10**17,
        "reveal_block": 4_330,
    }
    return DisputeView(**(values | changes))


def fraud():
    """A chain on which a batch was just proven wrong while a message waits, and what every screen says then."""
    safety = safety_view(
        disputes=(dispute(),), waiting=(waiting_message(),), waiting_count=3, announced=1, final_count=4
    )
    return chain_view(safety=safety), Alarm(
        severity="danger", text="FRAUD: batch 5 was proven wrong and taken back (wrong root)"
    )


def frozen():
    """A chain that ended."""
    safety = safety_view(frozen_at_s=NOW_S - 60, waiting=(waiting_message(age_s=500),), waiting_count=1, sequencers=())
    text = "THE ROLLUP IS FROZEN. Leave with everything: idlewatt wallet exit"
    return chain_view(safety=safety), Alarm(severity="danger", text=text, way_out="exit")


def way_out_steps():
    return [
        Step(key="read", state=StepState.DOING, text="Executing every batch on L1 again."),
        Step(key="read", state=StepState.DONE, text="6 batches re-executed."),
        Step(key="account 1", state=StepState.DONE, text="Account #1: $1.25 balance.", l1_tx=ROOT, amount_nano=1),
        Step(key="channel 7", state=StepState.WAITING, text="Channel #7 is on its way.", ready_at_s=NOW_S + 42),
    ]


def log_lines():
    texts = (
        ("info", "relay", "connected to ws://127.0.0.1:9000"),
        ("debug", "engine", "warmed up in 31 ms"),
        ("info", "market", "offer published: idlewatt-demo-q8"),
        ("warning", "session", "a buyer paused at the credit window"),
        ("info", "jobs", "job-0003 done: 42 tokens, paid"),
        ("error", "chain", "the sequencer did not answer; trying again in 2 s"),
    )
    return tuple(
        LogLine(at_ms=NOW_MS - 10_000 * (len(texts) - at), level=level, source=source, text=text)
        for at, (level, source, text) in enumerate(texts)
    )


def snapshot(**changes):
    values = {
        "version": "0.1.0",
        "demo": True,
        "phase": Phase.SERVING,
        "why": "answering 1 job",
        "fix": "",
        "checklist": (
            HealthItem(name="wallet", health=Health.OK, detail="unlocked, backed up"),
            HealthItem(name="model", health=Health.OK, detail="idlewatt-demo-q8 loaded, 4 slots"),
            HealthItem(name="relay", health=Health.OK, detail="online, 3 ms"),
            HealthItem(
                name="chain",
                health=Health.WARN,
                detail="answers slowly",
                fix="Check the machine that runs the sequencer.",
            ),
            HealthItem(name="disk", health=Health.OK, detail="12 GiB free"),
        ),
        "provider": ProviderView(
            model="idlewatt-demo-q8",
            model_sha256=SHA,
            quantization="Q8_0",
            context_length=512,
            prices=PRICES,
            slots=4,
            free_slots=3,
            tokens_per_s=131.0,
            ttft_ms=38.0,
            engine_state="ready",
            earned_today_nano=123_456_700,
            earned_total_nano=987_654_300,
            jobs_today=12,
            claimable_nano=31_200,
        ),
        "devices": (
            DeviceView(
                kind="cpu",
                name="AMD Ryzen 7 5800X 8-Core",
                utilization_percent=43.0,
                memory_used_bytes=3_300_000_000,
                memory_total_bytes=16_700_000_000,
                temperature_c=None,
                power_w=None,
            ),
            DeviceView(
                kind="gpu",
                name="NVIDIA GeForce RTX 3090",
                utilization_percent=88.0,
                memory_used_bytes=9_100_000_000,
                memory_total_bytes=25_700_000_000,
                temperature_c=66.0,
                power_w=281.0,
            ),
        ),
        "active_jobs": (running_job(),),
        "recent_jobs": (
            job(1),
            job(2, role="buyer"),
            job(3, JobStage.CANCELLED, output_tokens=7),
            job(
                4,
                JobStage.FAILED,
                error_code="engine_crashed",
                error="The engine worker died; it is starting again.",
                receipt=None,
                amount_nano=0,
            ),
        ),
        "tokens_per_s_history": tuple(float((at * 7) % 120) for at in range(60)),
        "skipped": (
            SkippedView(
                reason="prompt longer than the context", count=3, fix="Rent out a model with a longer context."
            ),
        ),
        "relay": RelayView(url="ws://127.0.0.1:9000", state="online", rtt_ms=3.0, reconnects=0),
        "chain_url": "http://127.0.0.1:8547",
        "chain_reachable": True,
        "wallets": (wallet(), wallet("buyer", BUYER, balance_nano=9_900_000_000, backed_up=False)),
    }
    return NodeSnapshot(**(values | changes))


def first_run():
    """A node before anything was set up."""
    return snapshot(
        demo=False,
        phase=Phase.OFF,
        why="",
        provider=None,
        active_jobs=(),
        recent_jobs=(),
        tokens_per_s_history=(),
        skipped=(),
        checklist=(),
        wallets=(wallet("main", "", state=WalletState.NONE, balance_nano=None, backed_up=False),),
    )


def chat_script(text=ANSWER):
    yield ChatStage(stage="choosing", detail="4 offers")
    yield ChatStage(stage="opening_channel", detail="deposit $0.10")
    yield ChatQuote(
        job_id="job-chat",
        model="idlewatt-demo-q8",
        model_sha256=SHA,
        provider=SELLER,
        channel_id=7,
        input_tokens=24,
        max_output_tokens=512,
        ceiling_nano=104_800,
        prices=PRICES,
    )
    for count, start in enumerate(range(0, len(text), 9), start=1):
        yield ChatDelta(text=text[start : start + 9], output_tokens=count, spent_nano=2_400 + 200 * count)
    yield ChatDone(
        job_id="job-chat",
        reason="stop",
        input_tokens=24,
        output_tokens=42,
        cost_nano=10_800,
        deposit_left_nano=99_968_800,
        ttft_ms=38.0,
        tokens_per_s=118.4,
        total_ms=420.0,
        receipt=receipt(),
    )


class FakeNode:
    """Plays recorded values; ``calls`` is everything that was asked of it."""

    def __init__(self, first=None):
        self.state = first or snapshot()
        self.calls = []
        self.steps = way_out_steps()
        self.offers = offers()
        self.chain_state = chain_view()
        self.sessions = [
            ChatSession(
                session_id="old",
                title="What is a voucher?",
                model="idlewatt-demo-q8",
                created_ms=NOW_MS - 86_400_000,
                messages=(
                    ChatMessage("user", "What is a voucher?"),
                    ChatMessage("assistant", "A signed promise to pay."),
                ),
            ),
        ]
        self.channel_views = (
            ChannelSummary(
                channel_id=7,
                role="provider",
                peer=BUYER,
                state="open",
                deposit_nano=100_000_000,
                spent_nano=31_200,
                redeemed_nano=0,
                expiry_s=NOW_S + 86_400,
                closing_at_s=0,
            ),
            ChannelSummary(
                channel_id=5,
                role="buyer",
                peer=SELLER,
                state="closing",
                deposit_nano=50_000_000,
                spent_nano=9_000,
                redeemed_nano=9_000,
                expiry_s=NOW_S + 3_600,
                closing_at_s=NOW_S + 90,
            ),
        )
        self.money_view = money()
        self.lines = log_lines()
        self.script = chat_script
        self.hold = None
        """An event that the chat waits for before its last item, so that a test can look at a running answer."""
        self.left_early = asyncio.Event()
        self.errors = {}
        """Names of calls to the error that they raise."""
        self.passphrase = "correct horse"
        self.events = asyncio.Queue()

    def _called(self, name, *arguments):
        self.calls.append((name, *arguments))
        if name in self.errors:
            raise self.errors[name]

    def change(self, what, **changes):
        self.state = msgspec.structs.replace(self.state, **changes)
        self.events.put_nowait(NodeChanged(what=what))

    def snapshot(self):
        return self.state

    @asynccontextmanager
    async def subscribe(self):
        async def read():
            while True:
                yield await self.events.get()

        reader = read()
        try:
            yield reader
        finally:
            await reader.aclose()

    async def go_online(self, model="", prices=None):
        self._called("go_online", model, prices)
        self.change("phase", phase=Phase.IDLE)

    async def go_offline(self):
        self._called("go_offline")
        self.change("phase", phase=Phase.OFF)

    async def models(self):
        return ("idlewatt-demo-q8",)

    async def market(self):
        self._called("market")
        return self.offers

    @asynccontextmanager
    async def chat(self, turn):
        self._called("chat", turn)

        async def play():
            items = list(self.script())
            for at, item in enumerate(items):
                if self.hold is not None and at == len(items) - 1:
                    await self.hold.wait()
                yield item

        events = play()
        try:
            yield events
        except asyncio.CancelledError:
            self.left_early.set()
            raise
        finally:
            await events.aclose()

    async def chat_sessions(self):
        return tuple(self.sessions)

    async def save_chat(self, session):
        self._called("save_chat", session)
        self.sessions = [session, *(kept for kept in self.sessions if kept.session_id != session.session_id)]

    async def delete_chat(self, session_id):
        self._called("delete_chat", session_id)
        self.sessions = [kept for kept in self.sessions if kept.session_id != session_id]

    def _unlock(self, wallet_id):
        wallets = tuple(
            msgspec.structs.replace(
                known, state=WalletState.UNLOCKED, address=known.address or BUYER, balance_nano=known.balance_nano or 0
            )
            if known.wallet_id == wallet_id
            else known
            for known in self.state.wallets
        )
        self.change("wallet", wallets=wallets)

    async def create_wallet(self, wallet_id, passphrase):
        self._called("create_wallet", wallet_id, passphrase)
        self._unlock(wallet_id)
        return WORDS

    async def import_wallet(self, wallet_id, kind, secret, passphrase, file_passphrase=""):
        self._called("import_wallet", wallet_id, kind, secret, passphrase, file_passphrase)
        self._unlock(wallet_id)

    async def unlock(self, wallet_id, passphrase):
        self._called("unlock", wallet_id, passphrase)
        if passphrase != self.passphrase:
            raise IdlewattError("The passphrase is wrong.", code="bad_passphrase", fix="Type it again.")
        self._unlock(wallet_id)

    async def export_wallet(self, wallet_id, kind, passphrase):
        self._called("export_wallet", wallet_id, kind, passphrase)
        return '{"version": 3}' if kind == "v3" else "0x" + "11" * 32

    async def confirm_backup(self, wallet_id):
        self._called("confirm_backup", wallet_id)

    async def money(self, wallet_id):
        self._called("money", wallet_id)
        return self.money_view

    async def faucet(self, wallet_id):
        self._called("faucet", wallet_id)
        return 10_000_000_000

    async def deposit(self, wallet_id, amount_nano):
        self._called("deposit", wallet_id, amount_nano)
        return "0x" + "dd" * 32

    async def withdraw(self, wallet_id, amount_nano, to=""):
        self._called("withdraw", wallet_id, amount_nano, to)
        return "0x" + "ee" * 32

    @asynccontextmanager
    async def force_withdraw(self, wallet_id, amount_nano, to="", *, wait=True, l1_url=""):
        self._called("force_withdraw", wallet_id, amount_nano, to)
        yield self._steps()

    @asynccontextmanager
    async def leave(self, wallet_id, *, freeze=False, wait=True, l1_url=""):
        self._called("leave", wallet_id, freeze)
        yield self._steps()

    async def _steps(self):
        for step in self.steps:
            if isinstance(step, Exception):
                raise step
            yield step

    async def stake(self, wallet_id, amount_nano):
        self._called("stake", wallet_id, amount_nano)
        return "0x" + "aa" * 32

    async def channels(self):
        return self.channel_views

    async def redeem(self, channel_id):
        self._called("redeem", channel_id)
        return "0x" + "cc" * 32

    async def close_channel(self, channel_id, *, alone=False):
        self._called("close_channel", channel_id, alone)
        return "0x" + "bb" * 32

    async def chain(self):
        self._called("chain")
        return self.chain_state

    async def logs(self, limit=500):
        return self.lines[-limit:]

    def called(self, name):
        """The arguments of every call of that name."""
        return [call[1:] for call in self.calls if call[0] == name]
