import pytest
import torch
from tests.papers.helpers import measured_and_drawn, room_context

from lipbounds.operator_norm.competitors import sedghi
from papers.delattre_2023.padding import figure, study


def test_circular_norm_fails_and_the_bounds_made_from_it_hold():
    settings = study.Settings(
        counterexample_sizes=(3, 4, 9),
        channels=2,
        kernel_size=3,
        input_sizes=(3, 6, 16),
        draws=2,
        norm2toep_steps=3,
        reference_steps=60,
        violation_sizes=(3, 5, 10),
        violation_draws=60,
        seed=0,
    )
    table = study.study(settings, {})
    assert (table.loc[table["bounds_zero_padding"], "ratio"] >= 1 - 1e-9).all()
    facts, drawing = measured_and_drawn(figure, {"padding": table}, room_context("padding", settings))
    assert facts["counterexample on 3"]["circular"] == pytest.approx(4)
    assert facts["counterexample on 3"]["zero_padded"] == pytest.approx(3 + 8**0.5)
    assert facts["counterexample on 9"]["zero_padded"] == pytest.approx(8.422260053930504)
    assert 0 < facts["violations"]["3"]["share"] < 0.5
    assert facts["published"]["counterexample on 3"]["zero_padded"] == 5.828

    example, _, share = drawing.axes
    assert {text.get_text() for text in example.texts} == {"4.000", "5.828"}
    assert list(share.lines[0].get_xdata()) == [3, 5, 10]


def test_kernels_that_are_wrapped_around_a_torus_have_the_circular_norm():
    kernels = torch.randn(3, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for kernel in kernels:
        wrapped = study._wrapped(kernel, 3)
        largest = torch.fft.fft2(wrapped).abs().max().item()
        assert largest == pytest.approx(sedghi(kernel[None], 3).value)
