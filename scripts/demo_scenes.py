"""Writes the pictures that the demo predicts on: six unseen-by-training scenes and one photograph.

python scripts/demo_scenes.py runs/demo/scenes
"""

from __future__ import annotations

import argparse
import shutil
from importlib import resources
from pathlib import Path

from torchvision.transforms.v2.functional import to_pil_image

from glipv2.data.shapes import ShapesDataset

SCENES = 6
FIRST = 400  # of the validation scenes; the report's gallery shows the first ones


def main(folder: Path) -> None:
    """Creates the folder and fills it."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = ShapesDataset("val", FIRST + SCENES, image_size=192, with_language=False)
    for index in range(FIRST, FIRST + SCENES):
        to_pil_image(scenes[index].image).save(folder / f"scene_{index}.png")
    with resources.as_file(resources.files("glipv2.data").joinpath("photos/stop_sign.jpg")) as photo:
        shutil.copy(photo, folder / "photo_stop_sign.jpg")
    print(f"{SCENES} scenes and a photograph in {folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder)
