"""Joules from readings: what a device took, what of it the jobs caused, and how that is shared among them. Pure.

For a device between two looks, ``dt`` seconds apart::

    total    = counter(after) - counter(before)                    measured: the driver counts joules
             | (power(before) + power(after)) / 2 * dt             measured: the driver reports watts
             | (idle + (max - idle) * utilization) * dt            estimated: nothing measures
    marginal = max(0, total - baseline * dt) * own                 what would not have been taken without the jobs

``baseline`` is what the device takes while no job runs: it falls at once and rises slowly, so that loading a model, or
another program's peak, is not taken for idling. ``own`` is the engine's part of the processor time that was used by
anybody; a GPU is the engine's alone. An estimate takes the engine's own processor time instead of the utilization.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from node.hardware.reading import MAX_POWER_W, DeviceReading

LONGEST_INTERVAL_S: Final = 30.0
"""A longer pause between two looks is a machine that slept: nothing is said about it."""
BASELINE_RISE: Final = 0.02
"""How much of the distance a baseline rises with one look."""
WATTS_A_CORE: Final = 7.5
CPU_BASE_W: Final = 10.0
CPU_MOST_W: Final = 350.0
GUESSED_GPU_W: Final = 150.0
CPU_IDLE_SHARE: Final = 0.15
GPU_IDLE_SHARE: Final = 0.1
LEAST_JOBS: Final = 5
INPUT_SHARE: Final = 0.25
"""What an input token takes of an output token's energy where that was never measured: prompts run in big batches."""


class PowerEstimate(msgspec.Struct, frozen=True):
    """What a device is taken to draw where nothing measures it."""

    idle_w: float
    max_w: float


class OwnCpuUse(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's part of the processor between two looks."""

    cpu_s: float = 0.0
    """Processor seconds of the engine and the node."""
    busy_s: float = 0.0
    """Processor seconds of all programs."""
    cores: int = 1


class DeviceEnergy(msgspec.Struct, frozen=True, kw_only=True):
    """What one device took between two looks."""

    device_id: str
    name: str
    seconds: float
    total_j: float
    marginal_j: float
    is_estimate: bool

    @property
    def power_w(self) -> float:
        """Its mean power."""
        return self.total_j / self.seconds


def guess(
    reading: DeviceReading, cores: int, *, cpu_w: float | None = None, gpu_w: float | None = None
) -> PowerEstimate:
    """A device's power where nothing measures it: what a person said, else its limit, else a rule of thumb.

    The rule for a processor is 10 W and 7.5 W a core, for a GPU 150 W; a tenth (GPU) or 15 % (CPU) of it when idle.

    Args:
        reading: The device.
        cores: The processor's cores.
        cpu_w: What a person said the processor takes at full load, in watts.
        gpu_w: What a person said a GPU takes at full load, in watts.
    """
    if reading.kind == "gpu":
        most = gpu_w or reading.max_power_w or GUESSED_GPU_W
        return PowerEstimate(most * GPU_IDLE_SHARE, most)
    most = cpu_w or reading.max_power_w or min(CPU_MOST_W, CPU_BASE_W + WATTS_A_CORE * max(1, cores))
    return PowerEstimate(most * CPU_IDLE_SHARE, most)


def measured_j(before: DeviceReading, after: DeviceReading, seconds: float) -> float | None:
    """Joules between two readings by counter or power; ``None`` where neither reports, or reports what can't be.

    Args:
        before: The earlier reading.
        after: The later reading of the same device.
        seconds: Between the two.
    """
    if before.energy_j is not None and after.energy_j is not None and after.energy_j >= before.energy_j:
        joules = after.energy_j - before.energy_j
        if joules <= MAX_POWER_W * seconds:
            return joules
    if before.power_w is not None and after.power_w is not None:
        return (before.power_w + after.power_w) / 2 * seconds
    return None


def spent(
    before: DeviceReading,
    after: DeviceReading,
    seconds: float,
    *,
    own: OwnCpuUse,
    baseline_w: float | None,
    power: PowerEstimate,
) -> DeviceEnergy | None:
    """What a device took between two looks; ``None`` if that can't be said.

    Args:
        before: The device at the earlier look.
        after: The same device at the later one.
        seconds: Between them.
        own: The engine's part of the processor.
        baseline_w: What the device takes without jobs; ``None`` while that is not known, then the estimate is used.
        power: What it is taken to draw where nothing measures it.
    """
    if not 0 < seconds <= LONGEST_INTERVAL_S:
        return None
    joules = measured_j(before, after, seconds)
    is_estimate = joules is None
    if joules is None:
        # A processor's own time is known exactly; of a GPU only what all its users take together.
        own_use = min(1.0, own.cpu_s / (seconds * max(1, own.cores)))
        use = own_use if after.kind == "cpu" else _part(after.utilization_percent)
        if use is None:
            return None
        total = (power.idle_w + (power.max_w - power.idle_w) * (_part(after.utilization_percent) or use)) * seconds
        marginal = (power.max_w - power.idle_w) * use * seconds
    else:
        total = joules
        marginal = max(0.0, joules - (power.idle_w if baseline_w is None else baseline_w) * seconds)
        if after.kind == "cpu":
            marginal *= min(1.0, own.cpu_s / own.busy_s) if own.busy_s > 0 else 0.0
    return DeviceEnergy(
        device_id=after.device_id,
        name=after.name,
        seconds=seconds,
        total_j=max(total, marginal),
        marginal_j=marginal,
        is_estimate=is_estimate,
    )


def _part(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def next_baseline_w(baseline_w: float | None, power_w: float) -> float:
    """The baseline after one more look without a job."""
    if baseline_w is None or power_w < baseline_w:
        return power_w
    return baseline_w + BASELINE_RISE * (power_w - baseline_w)


def share(total: int, weights: Sequence[float]) -> tuple[int, ...]:
    """Split an integer by weights so that the parts add up to it exactly (largest remainder; ties to the first).

    Weights that are all zero share evenly; without weights there is nothing to share.
    """
    if not weights:
        return ()
    scale = sum(weights)
    fair = [total * weight / scale if scale > 0 else total / len(weights) for weight in weights]
    parts = [int(amount) for amount in fair]
    by_remainder = sorted(range(len(parts)), key=lambda index: parts[index] - fair[index])
    missing = total - sum(parts)
    for step in range(abs(missing)):
        parts[by_remainder[step % len(parts)]] += 1 if missing > 0 else -1
    return tuple(parts)


def millijoules(joules: float) -> int:
    """As an integer, half rounded up."""
    return int(joules * 1000 + 0.5)


class TokenEnergy(msgspec.Struct, frozen=True, kw_only=True):
    """What a token takes."""

    input_j: float
    output_j: float
    is_estimate: bool
    basis: str
    """In words, for a person."""


def token_energy(jobs: Sequence[tuple[int, int, int]], *, is_estimate: bool) -> TokenEnergy | None:
    """Joules an input and an output token, by least squares over jobs, neither of them negative.

    Args:
        jobs: Input tokens, output tokens and millijoules of each.
        is_estimate: Whether any of the energy is estimated.

    Returns:
        ``None`` while the jobs report too little: fewer than five, or none with output.
    """
    if len(jobs) < LEAST_JOBS or not any(output for _, output, _ in jobs):
        return None
    ii = float(sum(i * i for i, _, _ in jobs))
    oo = float(sum(o * o for _, o, _ in jobs))
    io = float(sum(i * o for i, o, _ in jobs))
    ie = sum(i * e for i, _, e in jobs) / 1000
    oe = sum(o * e for _, o, e in jobs) / 1000
    determinant = ii * oo - io * io
    input_j, output_j = (-1.0, -1.0)
    if determinant > 1e-6 * ii * oo:
        input_j = (ie * oo - oe * io) / determinant
        output_j = (oe * ii - ie * io) / determinant
    if input_j < 0 or output_j < 0:
        # Not to be told apart: an input token is taken for a share of an output token.
        weights = [(o + i * INPUT_SHARE) for i, o, _ in jobs]
        output_j = sum(e for _, _, e in jobs) / 1000 / sum(weights)
        input_j = output_j * INPUT_SHARE
    words = f"{'estimated' if is_estimate else 'measured'} over {len(jobs)} jobs"
    return TokenEnergy(input_j=input_j, output_j=output_j, is_estimate=is_estimate, basis=words)


def expected_token_energy(powers: Mapping[str, PowerEstimate], tokens_per_s: float) -> TokenEnergy | None:
    """Before any job ran: the devices' guessed power above idle at the speed of one stream, which is the worst case."""
    if tokens_per_s <= 0 or not powers:
        return None
    output_j = sum(power.max_w - power.idle_w for power in powers.values()) / tokens_per_s
    return TokenEnergy(
        input_j=output_j * INPUT_SHARE,
        output_j=output_j,
        is_estimate=True,
        basis="estimated from full power and the speed of one request",
    )
