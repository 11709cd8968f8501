"""Schedules against numbers worked out from the paper's formulas."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byol_cli.optim import schedules
from byol_cli.optim.schedules import Schedule, scaled_learning_rate, scaled_tau

# (epochs, base lr, base tau, peak = base lr x 16, total steps = epochs x 312): 312 steps of 4096 images are an epoch.
PRESETS = [
    (40, 0.45, 0.97, 7.2, 12_480),
    (100, 0.45, 0.99, 7.2, 31_200),
    (300, 0.3, 0.99, 4.8, 93_600),
    (1000, 0.2, 0.996, 3.2, 312_000),
]
WARMUP = 3_120
# (1 + cos(pi / 4)) / 2 and (1 + cos(3 pi / 4)) / 2
AT_A_QUARTER, AT_THREE_QUARTERS = 0.8535533905932737, 0.14644660940672624


def learning_rate(
    step: int, peak: float, total_steps: int, warmup: int = WARMUP, schedule: Schedule = "cosine"
) -> float:
    return schedules.learning_rate(step, peak=peak, warmup_steps=warmup, total_steps=total_steps, schedule=schedule)


@pytest.mark.parametrize(("epochs", "lr", "base_tau", "peak", "total"), PRESETS)
def test_the_learning_rate_of_the_imagenet_presets(
    epochs: int, lr: float, base_tau: float, peak: float, total: int
) -> None:
    assert scaled_learning_rate(lr, batch_size=4096, scale="linear") == pytest.approx(peak, rel=1e-14)
    warmup = schedules.warmup_steps(
        total_steps=epochs * 312, steps_per_epoch=312, warmup_epochs=10, warmup_fraction=None
    )
    assert warmup == WARMUP
    assert learning_rate(0, peak, total) == 0
    assert learning_rate(1, peak, total) == pytest.approx(peak / 3120)
    assert learning_rate(1_560, peak, total) == pytest.approx(peak / 2)
    assert learning_rate(3_119, peak, total) == pytest.approx(peak - peak / 3120)
    assert learning_rate(3_120, peak, total) == peak
    decay = total - 3_120
    assert learning_rate(3_120 + decay // 4, peak, total) == pytest.approx(peak * AT_A_QUARTER)
    assert learning_rate(3_120 + decay // 2, peak, total) == pytest.approx(peak / 2)
    assert learning_rate(3_120 + 3 * decay // 4, peak, total) == pytest.approx(peak * AT_THREE_QUARTERS)
    # One step before the end (1 + cos x) / 2 is the square of the sine of half the angle that is left.
    assert learning_rate(total - 1, peak, total) == pytest.approx(peak * math.sin(math.pi / (2 * decay)) ** 2, rel=1e-5)
    assert learning_rate(total, peak, total) == 0


@pytest.mark.parametrize(("epochs", "lr", "base_tau", "peak", "total"), PRESETS)
def test_tau_of_the_imagenet_presets(epochs: int, lr: float, base_tau: float, peak: float, total: int) -> None:
    def tau(step: int) -> float:
        return schedules.tau(step, base_tau=base_tau, total_steps=epochs * 312, schedule="cosine")

    distance = {0.97: 0.03, 0.99: 0.01, 0.996: 0.004}[base_tau]
    assert tau(0) == pytest.approx(base_tau, abs=1e-15)
    # Warm-up's end: 10 of 40, 100, 300 and 1000 epochs, that is cos of 45, 18, 6 and 1.8 degrees.
    cosine = {40: 0.7071067811865476, 100: 0.9510565162951535, 300: 0.9945218953682733, 1000: 0.9995065603657316}[
        epochs
    ]
    assert tau(3_120) == pytest.approx(1 - distance * (cosine + 1) / 2, abs=1e-14)
    assert tau(total // 4) == pytest.approx(1 - distance * AT_A_QUARTER, abs=1e-14)
    assert tau(total // 2) == pytest.approx(1 - distance / 2, abs=1e-14)
    assert tau(total - 1) == pytest.approx(1 - distance * math.sin(math.pi / (2 * total)) ** 2, abs=1e-14)
    assert tau(total) == 1


def test_warmup_is_a_number_of_epochs_or_a_fraction_of_the_run_rounded_to_steps() -> None:
    def warmup(epochs: float | None, fraction: float | None) -> int:
        return schedules.warmup_steps(
            total_steps=1_000, steps_per_epoch=33, warmup_epochs=epochs, warmup_fraction=fraction
        )

    assert warmup(2, None) == 66
    assert warmup(0.5, None) in (16, 17)
    assert warmup(0.1, None) == 3
    assert warmup(0, None) == 0
    assert warmup(None, 0.1) == 100
    assert warmup(None, 0.0996) == 100
    assert warmup(None, 0.0) == 0


def test_without_warmup_the_learning_rate_starts_at_its_peak() -> None:
    assert learning_rate(0, 0.3, 10, warmup=0) == 0.3


def test_constant_schedules_stay_after_the_warmup() -> None:
    rates = [learning_rate(step, 0.4, 8, warmup=4, schedule="constant") for step in range(8)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4])
    assert {schedules.tau(step, base_tau=0.99, total_steps=8, schedule="constant") for step in range(8)} == {0.99}


@given(total=st.integers(2, 10_000), data=st.data())
def test_the_rate_rises_then_falls_and_tau_never_falls(total: int, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, total - 1))
    step = data.draw(st.integers(0, total - 1))
    now, then = (learning_rate(s, 1.0, total, warmup=warmup) for s in (step, step + 1))
    assert min(now, then) >= 0
    assert max(now, then) <= 1
    assert (now <= then) if step < warmup else (now >= then)
    taus = [schedules.tau(s, base_tau=0.9, total_steps=total, schedule="cosine") for s in (step, step + 1)]
    assert 0.9 - 1e-12 <= taus[0] <= taus[1] <= 1


def test_the_learning_rate_scales_with_the_batch_only_if_asked() -> None:
    assert scaled_learning_rate(0.2, batch_size=256, scale="linear") == 0.2
    assert scaled_learning_rate(0.2, batch_size=512, scale="linear") == 0.4
    assert scaled_learning_rate(0.2, batch_size=512, scale="none") == 0.2


def test_tau_scales_so_that_a_sixteenth_of_the_batch_takes_sixteen_steps_for_the_same_distance() -> None:
    small = scaled_tau(0.99, batch_size=256, reference_batch_size=4096)
    assert small**16 == pytest.approx(0.99)
    assert scaled_tau(0.99, batch_size=8192, reference_batch_size=4096) == pytest.approx(0.9801)
    assert scaled_tau(0.99, batch_size=4096, reference_batch_size=4096) == 0.99
    assert scaled_tau(0.99, batch_size=256, reference_batch_size=None) == 0.99
