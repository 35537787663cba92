"""Writes the small word-piece vocabulary that ships with the package (src/glipv2/data/vocab.txt).

Characters first, so that any text can be spelled; then endings; then whole words: those of the
shapes scenes, of COCO's 80 names, and frequent English ones. Appending keeps old checkpoints
readable: never reorder.

    python scripts/build_vocabulary.py
"""

from __future__ import annotations

import string
from pathlib import Path

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ENDINGS = ["##s", "##es", "##ed", "##ing", "##er", "##ers", "##est", "##ly", "##y", "##al", "##ion", "##th", "##ty"]
SHAPES = """
red green blue yellow purple orange cyan pink brown gray white black circle square triangle star ring cross hexagon
diamond heart ellipse rectangle pentagon donut disc shape shapes object objects circles squares triangles stars rings
crosses hexagons diamonds hearts small large big tiny plain striped dotted checked checkered solid stripes dots texture
color colour size left right above below front behind top bottom corner middle center next between near far over under
inside outside same different more fewer many most some any none number count yes no how what which where who is are
there it than of the a an to in on at with and or not do does has have one two three four five six seven eight nine ten
zero picture image scene background shows showing see seen contains
"""
COCO = """
person bicycle car motorcycle airplane bus train truck boat traffic light fire hydrant stop sign parking meter bench
bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase frisbee skis snowboard
sports ball kite baseball bat glove skateboard surfboard tennis racket bottle wine glass cup fork knife spoon bowl
banana apple sandwich broccoli carrot hot pizza cake chair couch potted plant bed dining table toilet tv laptop mouse
remote keyboard cell phone microwave oven toaster sink refrigerator book clock vase scissors teddy hair drier toothbrush
"""
FREQUENT = """
this that these those he she they we you i his her their its our your my him them us me be been being was were will
would can could may might must shall should am as by for from into onto off out up down through across along around
about after before during while when then because if so but also just only very too all each every both few other
another such own new old young good bad high low long short wide open closed full empty clean dirty dark bright wet dry
man men woman women boy boys girl girls child children baby people group crowd couple family player players team hand
hands head face eye eyes hair arm arms leg legs foot feet body shirt pants dress jacket coat hat cap shoes glasses
helmet bag box basket tray plate dish food meal fruit vegetables meat bread cheese sauce salad soup rice chicken fish
egg coffee tea water milk juice beer drink house home building buildings room kitchen bathroom bedroom living office
store shop restaurant street road sidewalk path bridge city town park yard garden field grass tree trees flower flowers
leaf leaves bush forest mountain mountains hill rock rocks sand beach ocean sea lake river wave waves snow ice sky cloud
clouds sun rain night day morning evening wall floor ceiling door window windows roof fence gate pole post stairs tower
wheel wheels tire engine seat desk shelf cabinet counter drawer lamp mirror curtain pillow blanket towel rug paper
picture pictures photo photograph painting poster screen monitor computer camera television radio machine tool toy doll
game stand stands standing sit sits sitting walk walks walking run runs running ride rides riding hold holds holding
wear wears wearing look looks looking eat eats eating drink drinks drinking play plays playing lie lies lying lay laying
sleep sleeping jump jumps jumping fly flying throw throwing catch catching hit hitting swing swinging cut cutting cook
cooking watch watching wait waiting talk talking smile smiling make makes making take takes taking use uses using get
gets getting go goes going come comes coming put puts putting give gives giving show park parked drive driving cross
crossing pull pulling push pushing carry carrying hang hanging cover covered fill filled top side front back end edge
part piece pieces row line pair set lot bunch variety slice slices pile stack kind type color animal animals vehicle
vehicles furniture electronic device appliance equipment clothes clothing wooden metal plastic glass brick stone leather
silver gold golden beige tan light colorful decorated traffic sports professional adult little several various
"""


def main() -> None:
    """Writes the file and prints how many pieces it has."""
    marks = list(string.punctuation)
    letters = list(string.ascii_lowercase + string.digits)
    words = f"{SHAPES} {COCO} {FREQUENT}".split()
    pieces = list(dict.fromkeys([*SPECIAL, *marks, *letters, *(f"##{letter}" for letter in letters), *ENDINGS, *words]))
    path = Path(__file__).parent.parent / "src/glipv2/data/vocab.txt"
    path.write_text("\n".join(pieces) + "\n", encoding="utf-8")
    print(f"{len(pieces)} pieces in {path.name}")


if __name__ == "__main__":
    main()
