"""Peak matrix-product rates of accelerators, and model FLOPs utilisation. No torch here."""

import re
from typing import NamedTuple


class Device(NamedTuple):
    """One accelerator as its vendor's data sheet has it, dense: figures "with sparsity" are halved."""

    pattern: str        # of the name that torch gives it; the first in `DEVICES` to match counts
    bf16: float         # tensor or matrix cores, float32 accumulation [FLOP/s]
    fp32: float         # without TF32, as torch computes float32 unless told otherwise [FLOP/s]
    source: str


DEVICES = (
    Device(r"GB200", 2500e12, 80e12, "NVIDIA GB200 NVL72 data sheet, 2024, per Blackwell GPU"),
    Device(r"B200", 2250e12, 75e12, "NVIDIA HGX B200 data sheet, 2024, per GPU"),
    Device(r"H200 NVL", 835.5e12, 60e12, "NVIDIA H200 data sheet, 2024, H200 NVL"),
    Device(r"H200|GH200", 989.5e12, 67e12, "NVIDIA H200 data sheet, 2024, H200 SXM; GH200 Grace Hopper data sheet, 2023"),
    Device(r"H100 NVL", 835.5e12, 60e12, "NVIDIA H100 data sheet, 2024, H100 NVL"),
    Device(r"H100 PCIe", 756.5e12, 51e12, "NVIDIA H100 data sheet, 2022, H100 PCIe"),
    Device(r"H100|H800", 989.5e12, 67e12, "NVIDIA H100 data sheet, 2022, H100 SXM"),
    Device(r"A100|A800", 312e12, 19.5e12, "NVIDIA A100 data sheet, 2021"),
    Device(r"L40S", 362e12, 91.6e12, "NVIDIA L40S data sheet, 2023"),
    Device(r"\bL4\b", 121e12, 30.3e12, "NVIDIA L4 data sheet, 2023"),
    Device(r"\bA10\b", 125e12, 31.2e12, "NVIDIA A10 data sheet, 2021"),
    Device(r"RTX 4090", 165.2e12, 82.6e12, "NVIDIA Ada GPU architecture white paper, 2023, App. A"),
    Device(r"RTX 3090\b(?! Ti)", 71e12, 35.6e12, "NVIDIA Ampere GA102 white paper, 2021, App. A"),
    Device(r"MI325X", 1307.4e12, 163.4e12, "AMD Instinct MI325X data sheet, 2024"),
    Device(r"MI300X", 1307.4e12, 163.4e12, "AMD Instinct MI300X data sheet, 2023"),
    Device(r"MI250X", 383e12, 47.9e12, "AMD Instinct MI250X data sheet, 2021, both dies"),
)


def peak_flops(device: str, precision: str) -> float | None:
    """Peak rate of one device's matrix products [FLOP/s]; None where the table has none, as for every CPU.

    Args:
        device: name as `torch.cuda.get_device_name` gives it.
        precision: "bf16" or "fp32", of `nmm.config.run.ExecutionConfig`.
    Raises:
        ValueError: another precision.
    """
    if precision not in ("bf16", "fp32"):
        raise ValueError(f"precision must be bf16 or fp32: got {precision!r}")
    found = next((entry for entry in DEVICES if re.search(entry.pattern, device)), None)
    return getattr(found, precision) if found else None


def mfu(flops: float, seconds: float, *, device: str, precision: str, processes: int = 1) -> float | None:
    """Model FLOPs utilisation: the model's own FLOPs over what its devices could have done in that time, between 0 and 1.

    Recomputed activations do not count: they are no part of the model. Source: Chowdhery et al. 2022 (PaLM), App. B.

    Args:
        flops: of all matrix products in training, see `nmm.config.flops.exact_train_flops` [FLOPs].
        seconds: spent in training steps [s].
        device: name of the device that each process has.
        precision: "bf16" or "fp32".
        processes: how many devices trained.
    Returns:
        The share, or None where the device's peak is not known.
    """
    peak = peak_flops(device, precision)
    return flops / (seconds * peak * processes) if peak else None
