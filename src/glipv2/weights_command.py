"""The words of `glipv2 weights`. Imports nothing heavy until a file is read."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from glipv2.parser import Parser

EXAMPLES = """\
examples
  glipv2 weights info glip_tiny_model_o365_goldg_cc_sbu.pth
  glipv2 weights import glip_tiny_model_o365_goldg_cc_sbu.pth -o glip_t.safetensors
  glipv2 weights import hf://GLIPModel/GLIP/glip_large_model.pth -o glip_l.safetensors --tokenizer bert-base-uncased/
  glipv2 predict weights=glip_t.safetensors images=photo.jpg text="a cup. a dog."
"""


def weights_command(arguments: Sequence[str]) -> None:
    """`glipv2 weights import|info …`; UserError for words and files that are not as expected."""
    parser = _parser()
    if not arguments:
        parser.print_help()
        return
    words = parser.parse_args(arguments)
    from glipv2.conversion import describe, import_weights

    if words.action == "info":
        print(describe(words.file))
        return
    import_weights(
        words.file,
        words.output,
        partial=words.partial,
        averaged=words.ema,
        force=words.force,
        tokenizer=words.tokenizer,
        say=print,
    )


def _parser() -> Parser:
    parser = Parser(
        prog="glipv2 weights",
        description="Reads weights files without running code in them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="import|info", required=True, parser_class=Parser)
    info = actions.add_parser("info", help="say what a file is")
    info.add_argument("file", metavar="FILE", help="a weights file, a run's folder or hf://ORG/REPO/path")
    read = actions.add_parser("import", help="write it as a .safetensors of this project")
    read.add_argument("file", metavar="FILE", help="released GLIP, mmdetection's GLIP, or a checkpoint of this project")
    read.add_argument("-o", "--output", metavar="OUT.safetensors", required=True, help="the file to write")
    read.add_argument("--partial", action="store_true", help="write it even where tensors are missing or misshapen")
    read.add_argument("--ema", action="store_true", help="take the averaged weights (model_ema)")
    read.add_argument("--force", action="store_true", help="write over OUT")
    read.add_argument("--tokenizer", metavar="SOURCE", help="a folder with tokenizer.json or vocab.txt, kept in OUT")
    return parser
