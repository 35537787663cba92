"""In which numbers a machine multiplies fastest without leaving float32's range."""

from __future__ import annotations

BEST = "auto"


def resolved_precision(precision: str, accelerator: str) -> str:
    """Lightning's name of a precision; "auto" is bfloat16 where the hardware multiplies in it, else float32.

    accelerator: "auto", "cpu", "gpu", "cuda" or "mps". A CPU without such instructions imitates them: on
    an AVX2 machine the products of `model=nano` took 23 times as long as in float32.
    """
    if precision != BEST:
        return precision
    import torch

    on_gpu = torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda")
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.backends.mps.is_available())
    if on_gpu:
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = on_cpu and torch.ops.mkldnn._is_mkldnn_bf16_supported() and torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if native else "32-true"
