"""Peak rates are found by the names torch gives devices; what is not in the table has none."""

import pytest

from nmm.training.devices import DEVICES, mfu, peak_flops


@pytest.mark.parametrize(("name", "bf16"), [
    ("NVIDIA H200", 989.5e12), ("NVIDIA H200 NVL", 835.5e12), ("NVIDIA H100 80GB HBM3", 989.5e12), ("NVIDIA H100 PCIe", 756.5e12),
    ("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA A10", 125e12), ("NVIDIA L4", 121e12), ("NVIDIA L40S", 362e12),
    ("NVIDIA B200", 2250e12), ("NVIDIA GB200", 2500e12), ("NVIDIA GH200 480GB", 989.5e12), ("AMD Instinct MI300X", 1307.4e12),
    ("NVIDIA GeForce RTX 3090 Ti", None), ("Tesla T4", None), ("x86_64 CPU, 1 thread", None),
])
def test_devices_are_told_apart(name, bf16):
    assert peak_flops(name, "bf16") == bf16


def test_every_entry_is_dense_and_has_a_source():
    for entry in DEVICES:
        assert entry.source
        assert 1 < entry.bf16 / entry.fp32 < 40, entry


def test_utilisation():
    assert mfu(989.5e12, 4.0, device="NVIDIA H200", precision="bf16", processes=2) == pytest.approx(1 / 8)
    assert mfu(67e12, 2.0, device="NVIDIA H200", precision="fp32") == pytest.approx(0.5)
    assert mfu(1e12, 1.0, device="x86_64 CPU, 1 thread", precision="bf16") is None


def test_an_unknown_precision_is_named():
    with pytest.raises(ValueError, match="precision must be bf16 or fp32: got 'fp8'"):
        peak_flops("NVIDIA H200", "fp8")
