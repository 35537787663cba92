"""Makes a run's weights the ones that come with the package (weights=builtin): in half precision, with their card.

python scripts/ship_weights.py RUN                   # of experiment=shapes_joint_nano
glipv2 evaluate weights=builtin data=shapes       # what half precision costs
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from glipv2.checkpoints import save_weights
from glipv2.models.fetch import BUILTIN, SHIPPED
from glipv2.models.weights import read_file
from glipv2.publishing import METRICS_FILE, PublishedModel
from glipv2.runs import write_json
from glipv2.tasks.base import RECORD_KEY

OF_THE_MODEL = ("run/steps", "run/parameters")  # the others are of the machine, and of a resumed run's last part
MOST = 10 * 2**20  # bytes: what a package may carry


def main(words: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    given = parser.parse_args(words)
    published = PublishedModel.of(given.run, "apache-2.0")
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in published.checkpoint.tensors.items()
    }
    size = sum(tensor.nbytes for tensor in halves.values())
    if size > MOST:
        sys.exit(f"error: {given.run}: {size} bytes in half precision, but a package carries at most {MOST}")
    card = SHIPPED.with_name("README.md")
    card.unlink(missing_ok=True)  # the hub's mixin leaves a card that is there
    published.save_pretrained(SHIPPED.parent, model_card_kwargs={"repo_id": BUILTIN})
    text = card.read_text("utf-8").replace(f'from_pretrained("{BUILTIN}")', "load()").rstrip()
    card.write_text(
        f"{text}\n- The numbers are those of the weights before they were stored in half precision.\n", "utf-8"
    )
    metrics = SHIPPED.with_name(METRICS_FILE)
    numbers = json.loads(metrics.read_text("utf-8"))
    write_json(metrics, {name: value for name, value in numbers.items() if name in OF_THE_MODEL or name[:4] != "run/"})
    save_weights(SHIPPED, halves, json.loads(read_file(SHIPPED)[1][RECORD_KEY]))
    print(f"{SHIPPED}: {size / 2**20:.1f} MiB, {len(halves)} tensors")


if __name__ == "__main__":
    main()
