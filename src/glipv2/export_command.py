"""The words of `glipv2 export`. Imports nothing heavy until weights are read."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from glipv2.errors import UserError
from glipv2.parser import Parser

HELP = """\
Writes a detector as two ONNX graphs: text.onnx (token ids → tokens) and detector.onnx (image and tokens → raw outputs).
Names can still be changed, sizes and batches are free. Every graph is compared with the weights, on three vocabularies
and two sizes; beyond the tolerance nothing is written.
"""
EXAMPLES = """\
examples
  glipv2 export weights=runs/demo -o exported
  glipv2 export weights=runs/demo -o exported --names "a cup. a dog."   # and one graph of these names alone
  glipv2 export weights=runs/demo -o exported --torch                  # and both as torch.export programs (.pt2)

  from glipv2.exporting.session import OnnxDetector
  OnnxDetector.load("exported").detect("photo.jpg", ["red circle", "blue square"])
"""


def export_command(arguments: Sequence[str]) -> None:
    """`glipv2 export …`; UserError for words that are not as expected."""
    parser = Parser(
        prog="glipv2 export", description=HELP, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", metavar="weights=FILE", help="a run, a weights file or an hf:// address")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="a new folder")
    parser.add_argument("--names", metavar="TEXT", help="names, separated by full stops, for a graph of them alone")
    parser.add_argument("--torch", action="store_true", help="write both graphs as torch.export programs (.pt2) too")
    parser.add_argument(
        "--tolerance", metavar="X", type=float, default=1e-4, help="of boxes (shares of the sides) and scores (1e-4)"
    )
    words = parser.parse_args(arguments)
    key, separator, weights = words.weights.partition("=")
    if key != "weights" or not separator:
        raise UserError(f"expected weights=FILE, but got '{words.weights}'; glipv2 export --help shows the words")
    from glipv2.data.prompts import names_in_text
    from glipv2.exporting.writing import ExportConfig, export

    names = names_in_text(words.names) if words.names else ()
    rows = export(weights, Path(words.output), ExportConfig(words.tolerance, tuple(names), words.torch))
    print(f"written to {words.output}; the largest difference is {max(row.worst for row in rows):.1e}")
