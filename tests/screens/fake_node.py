"""A node of recorded values behind the NodeApi seam: deterministic, with a clock that stands still."""

import asyncio
from contextlib import asynccontextmanager

import msgspec

from node.values import (
    Alarm,
    BatchView,
    BenchRow,
    BenchView,
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
    FitView,
    Health,
    HealthItem,
    HubModelView,
    IdlewattError,
    Inclusion,
    JobStage,
    JobView,
    LogLine,
    ModelDetail,
    ModelView,
    MoneyLine,
    MoneyView,
    NodeChanged,
    NodeSnapshot,
    OfferView,
    Phase,
    Prices,
    ProviderView,
    PullChosen,
    PullDone,
    PullProgress,
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
                reason="context_too_long",
                count=3,
                week_count=11,
                group="context",
                title="Conversations were too long.",
                fix="Load the model with more context.",
            ),
            SkippedView(
                reason="offline_relay",
                count=0,
                week_count=754,
                unit="seconds",
                group="relay",
                title="The relay was gone: nobody saw the offer.",
                fix="Check its address.",
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


GIB = 2**30


def model_view(name="Qwen3-8B-Instruct-Q4_K_M", **changes):
    fields = {
        "name": name,
        "source": "home",
        "path": f"/home/ada/.local/share/idlewatt/models/{name}.gguf",
        "size_bytes": int(4.7 * GIB),
        "quantization": "Q4_K_M",
        "architecture": "qwen3",
        "parameters": 8_200_000_000,
        "context_length": 40_960,
        "fit": "fits with 24k context and 4 slots",
        "fits": True,
        "removable": True,
    }
    return ModelView(**(fields | changes))


def model_views():
    return (
        model_view(
            "demo", source="built-in", path="/opt/idlewatt/demo.gguf", size_bytes=1_608_256, quantization="F16",
            architecture="llama", parameters=787_584, context_length=1024, fit="fits with 1k context and 4 slots",
            removable=False, in_use=True, offered=True, tokens_per_s=274.9,
        ),
        model_view(tokens_per_s=31.4),
        model_view(
            "llama3.3:70b", source="ollama", size_bytes=int(39.6 * GIB), architecture="llama",
            parameters=70_600_000_000, context_length=131_072, fits=False,
            fit="doesn't fit: needs 41.2 GiB and 22.9 GiB are free", removable=False,
        ),
        model_view("gemma-3-12b-it-Q5_K_M", source="lmstudio", quantization="Q5_K_M", size_bytes=int(7.9 * GIB),
                   parameters=12_000_000_000, architecture="gemma3", fit="fits with 8k context; 4 slots share 20k",
                   removable=False),
        model_view("half-a-file-Q8_0", source="huggingface", quantization="Q8_0", size_bytes=900_000_000, fit="",
                   fits=False, architecture="", parameters=0, context_length=0,
                   problem="The model file half-a-file-Q8_0.gguf is truncated. Download it again."),
    )  # fmt: skip


def fit_view(model):
    return FitView(
        model=model,
        fits=True,
        sentence="fits with 24k context and 4 slots",
        device="memory",
        available_bytes=int(22.9 * GIB),
        needed_bytes=int(18.2 * GIB),
        weights_bytes=int(4.7 * GIB),
        cache_bytes=int(13.2 * GIB),
        work_bytes=300 * 2**20,
        context_length=24_576,
        cache_tokens=98_304,
        slots=4,
    )


def bench_view(model):
    rows = ((1, 212.5, 31.4, 602.0), (2, 240.1, 52.0, 1_061.0), (4, 251.7, 77.3, 2_032.0), (8, 255.0, 96.8, 4_011.0))
    return BenchView(
        model=model,
        model_sha256=SHA[2:],
        at_ms=NOW_MS - 3_600_000,
        engine_build="llama.cpp",
        backend="cpu",
        threads=8,
        context_length=1024,
        rows=tuple(
            BenchRow(streams=count, prompt_tokens_per_s=reading, decode_tokens_per_s=writing, ttft_ms=first)
            for count, reading, writing, first in rows
        ),
    )


def model_detail(view):
    return ModelDetail(
        view=view,
        title="Qwen3 8B Instruct",
        licence="apache-2.0",
        tokenizer="gpt2",
        vocabulary_size=151_936,
        layers=36,
        has_template=True,
        sha256=SHA[2:],
        origin="someone/Qwen3-8B-Instruct-GGUF",
        fit=fit_view(view.name),
        history=(bench_view(view.name),),
    )


def hub_models():
    return tuple(
        HubModelView(
            repo=repo,
            downloads=downloads,
            likes=12,
            parameters=4_000_000_000,
            architecture="qwen3",
            context_length=40_960,
            is_gated=gated,
            quantizations=("Q2_K", "Q4_K_M", "Q8_0"),
            size_bytes=int(2.3 * GIB),
            quantization="Q4_K_M",
        )
        for repo, downloads, gated in (
            ("someone/Qwen3-4B-GGUF", 1_200_000, False),
            ("other/Qwen3-4B-GGUF", 9_100, True),
        )
    )


def pull_script(model):
    def step(share, eta_s):
        return PullProgress(
            done_bytes=int(share * 2.3 * GIB), total_bytes=int(2.3 * GIB), bytes_per_s=24e6, eta_s=eta_s
        )

    return [
        PullChosen(
            repo="someone/Qwen3-4B-GGUF", name="Qwen3-4B-Q4_K_M", quantization="Q4_K_M", size_bytes=int(2.3 * GIB),
            files=1, others=("Q2_K", "Q8_0"), licence="apache-2.0",
        ),
        step(0.1, 95.0),
        step(0.43, 58.0),
        PullDone(model=model, path="/models/x.gguf", size_bytes=int(2.3 * GIB), sha256=SHA[2:]),
    ]  # fmt: skip


class FakeNode:
    """Plays recorded values; ``calls`` is everything that was asked of it."""

    def __init__(self, first=None):
        self.state = first or snapshot()
        self.calls = []
        self.steps = way_out_steps()
        self.offers = offers()
        self.chain_state = chain_view()
        self.model_views = model_views()
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

    async def rent_out_regardless(self, minutes):
        self._called("rent_out_regardless", minutes)
        self.change("phase", phase=Phase.IDLE, why="", fix="")

    async def models(self):
        return ("idlewatt-demo-q8",)

    async def library(self):
        self._called("library")
        return self.model_views

    async def model_detail(self, model):
        self._called("model_detail", model)
        return model_detail(next(view for view in self.model_views if view.name == model))

    async def model_fit(self, model, context_length=None, slots=None):
        self._called("model_fit", model, context_length, slots)
        return fit_view(model)

    async def search_models(self, text):
        self._called("search_models", text)
        return hub_models()

    @asynccontextmanager
    async def pull_model(self, model):
        self._called("pull_model", model)
        async with self._playing(pull_script(model)) as events:
            yield events

    @asynccontextmanager
    async def bench_model(self, model):
        self._called("bench_model", model)
        measured = bench_view(model)
        async with self._playing([*measured.rows, measured]) as events:
            yield events

    @asynccontextmanager
    async def _playing(self, script):
        """The items of a script; the last one waits for ``hold``."""

        async def play():
            for position, item in enumerate(script):
                if self.hold is not None and position == len(script) - 1:
                    await self.hold.wait()
                yield item

        items = play()
        try:
            yield items
        except BaseException:
            self.left_early.set()
            raise
        finally:
            await items.aclose()

    async def remove_model(self, model):
        self._called("remove_model", model)
        (gone,) = (view for view in self.model_views if view.name == model)
        self.model_views = tuple(view for view in self.model_views if view is not gone)
        return gone.size_bytes

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
