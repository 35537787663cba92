"""Writes the graphs of a detector, after they were found to give what its weights give."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils._sympy.value_ranges import ValueRanges

from glipv2.checkpoints import read_checkpoint, record_of
from glipv2.data.prompts import PromptComposer, PromptConfig, collate_rows
from glipv2.errors import UserError
from glipv2.exporting.graphs import DetectorGraph, FixedGraph, TextGraph, plain_operations
from glipv2.exporting.parity import TOLERANCE, ParityRow, parity, plain, table, vocabularies_for
from glipv2.exporting.session import (
    DETECTOR,
    FIXED,
    INSTALL,
    ONNX,
    PARITY_FILE,
    PROGRAM,
    RECORD_FILE,
    TEXT,
    ExportedGraphs,
    FixedGraphs,
    Graphs,
    exported_task,
    opened_graph,
)
from glipv2.given import vocabulary_of
from glipv2.losses.glipv2 import LossConfig
from glipv2.report.summary import show_rows
from glipv2.runs import output_folder, write_json
from glipv2.structures import Vocabulary
from glipv2.tasks.base import Task
from glipv2.tasks.detection import DetectionConfig, DetectionTask

OPSET = 20
OUTPUTS = ["alignment_logits", "box_deltas", "centerness"]
FREE = Dim.DYNAMIC
RUNTIMES = {ONNX: "onnxruntime", PROGRAM: "torch.export"}


@dataclass(frozen=True)
class ExportConfig:
    """What is written besides the two graphs, and how far they may be from the weights.

    names: a graph of these alone besides; program: the two graphs as torch.export programs (.pt2) too.
    """

    tolerance: float = TOLERANCE
    names: tuple[str, ...] = ()
    program: bool = False


def export(weights: str, folder: Path, config: ExportConfig | None = None) -> list[ParityRow]:
    """The graphs, their record and parity.json, all or nothing.

    UserError where the graphs differ from the weights by more than the tolerance.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"-o {folder}: is there and not empty; give a new folder")
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"onnxscript is not installed; {INSTALL}") from error
    task = detector_of(read_checkpoint(weights).build())
    with output_folder(folder):
        partial = folder / ".partial"
        partial.mkdir()
        try:
            rows = _written(task, partial, config or ExportConfig())
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        for path in sorted(partial.iterdir()):
            path.rename(folder / path.name)
        partial.rmdir()
    return rows


def detector_of(task: Task) -> DetectionTask:
    """The detector in any weights that ground."""
    if isinstance(task, DetectionTask):
        return task
    own = next(iter(task.subtasks().values()))
    made = DetectionConfig().assemble(task.parts(), LossConfig.grounding_only())
    made.vocabulary = own.vocabulary
    return made.eval()


def _written(task: DetectionTask, folder: Path, config: ExportConfig) -> list[ParityRow]:
    assert task.vocabulary is not None, "a loaded task carries its vocabulary"
    write_json(folder / RECORD_FILE, record_of(task.model_config, task.config, task.vocabulary))
    _write_graphs(task, folder, config)
    rows = []
    for suffix in (ONNX, PROGRAM) if config.program else (ONNX,):
        both = ExportedGraphs.in_folder(folder, suffix)
        rows += _compared(task, both, folder, vocabularies_for(task.vocabulary), RUNTIMES[suffix])
    if config.names:
        alone = FixedGraphs(opened_graph(folder / f"{FIXED}{ONNX}"))
        rows += _compared(task, alone, folder, [vocabulary_of(config.names)], f"{RUNTIMES[ONNX]}, fixed names")
    show_rows(table(rows))
    refuse_drift(rows, config.tolerance)
    write_json(folder / PARITY_FILE, {"tolerance": config.tolerance, "rows": plain(rows, "float32")})
    return rows


def _write_graphs(task: DetectionTask, folder: Path, config: ExportConfig) -> None:
    model = task.model_config
    batch, size = 2, model.pixels.short_side // model.pixels.size_divisor * model.pixels.size_divisor
    ids, mask = torch.ones(batch, 11, dtype=torch.int64), torch.ones(batch, 11, dtype=torch.bool)
    # large enough that no level has a side of 1: an exporter takes such a side for a constant
    side = max(2 * size, 4 * model.regions.first_stride * 2**model.image.levels)
    pixels = torch.zeros(batch, 3, side, side + 2 * model.pixels.size_divisor)
    text, detector = TextGraph(task.core).eval(), DetectorGraph(task.core, task.regions).eval()
    with torch.no_grad():
        tokens = text(ids, mask)
    # a side as a number of cells: the sides of all levels are then plain multiples, which tracing a Swin depends on
    rows, columns = (model.pixels.size_divisor * Dim(name) for name in ("rows", "columns"))
    pair, image = {0: FREE, 1: FREE}, {0: FREE, 2: rows, 3: columns}
    given = {"token_ids": (ids, pair), "token_mask": (mask, pair)}
    _write(text, given, ["tokens"], folder / TEXT, config.program)
    with plain_operations(task):
        given = {"pixels": (pixels, image), "tokens": (tokens, pair), "token_mask": (mask, pair)}
        _write(detector, given, OUTPUTS, folder / DETECTOR, config.program)
        if config.names:
            fixed = _fixed(task, text, detector, config.names)
            _write(fixed, {"pixels": (pixels, image)}, OUTPUTS, folder / FIXED, program=False)


def _compared(
    task: DetectionTask, graphs: Graphs, folder: Path, vocabularies: Sequence[Vocabulary], runtime: str
) -> list[ParityRow]:
    try:
        return parity(task, exported_task(graphs, folder / RECORD_FILE), vocabularies, runtime)
    except Exception as error:  # onnxruntime's errors have no common base below it
        why = " ".join(str(error).split())[-200:]
        raise UserError(f"{runtime} can't run the exported graphs (… {why}); nothing was written") from error


def refuse_drift(rows: list[ParityRow], tolerance: float) -> None:
    """UserError with the worst row where one is beyond tolerance; a difference that is no number is, too."""
    worst = max(rows, key=lambda row: row.worst if row.worst == row.worst else float("inf"))
    if not worst.worst <= tolerance:
        where = f"{worst.graph}, {worst.height} x {worst.width}, batch {worst.batch}, {worst.names} names"
        raise UserError(
            f"the exported graphs differ from the weights by {worst.worst:.1e} ({where}), more than {tolerance:g}; "
            f"nothing was written; --tolerance allows more"
        )


def _fixed(task: DetectionTask, text: TextGraph, detector: DetectorGraph, names: Sequence[str]) -> FixedGraph:
    tokenizer = task.model_config.tokenizer.build()
    prompts = PromptComposer(vocabulary_of(names), tokenizer, PromptConfig()).all_names()
    if len(prompts) > 1:
        raise UserError(f"--names: {len(names)} names need {len(prompts)} prompts, one graph has one; give fewer")
    own = collate_rows([prompts], tokenizer)[0].text
    with torch.no_grad():
        return FixedGraph(detector, text(own.token_ids, own.token_mask), own.token_mask).eval()


def _write(
    graph: nn.Module, inputs: Mapping[str, tuple[Tensor, dict[int, Any]]], outputs: list[str], path: Path, program: bool
) -> None:
    """A graph that is recorded once, as ONNX and, where asked, as the program that was recorded; path: no suffix.

    inputs: an example of each and the sides that stay open.
    """
    from onnxscript import optimizer

    examples, shapes = (tuple(one[place] for one in inputs.values()) for place in (0, 1))
    with _quiet():
        recorded = torch.export.export(graph, examples, dynamic_shapes=shapes, strict=False)
        # with an example at hand the exporter checks, for minutes, thousands of bounds of sides that nobody reads
        recorded._example_inputs = None
        made = torch.onnx.export(
            recorded, (), dynamo=True, input_names=list(inputs), output_names=outputs, opset_version=OPSET,
            verbose=False, optimize=False,
        )  # fmt: skip
        assert made is not None, "the exporter of torch.export gives a program"
        # what the exporter's own optimiser does besides takes time that grows with the square of the operations, and
        # runtimes do it when they open a graph
        optimizer.inline(made.model)
        optimizer.fold_constants(made.model)
        optimizer.remove_unused_nodes(made.model)
        made.save(str(path.with_suffix(ONNX)))
        if program:
            torch.export.save(opened_to_one(recorded), path.with_suffix(PROGRAM))


def opened_to_one(program: ExportedProgram) -> ExportedProgram:
    """A program whose open sides may be 1.

    The exporter traces with sides of at least 2 and writes down that they must be, and pictures so large that no level
    has a side of 1. The operations that it recorded know no such bound, which the comparison with the weights shows on
    batches of one and pictures whose last levels are one cell.
    """
    for side, bounds in program.range_constraints.items():
        program._range_constraints[side] = ValueRanges(1, bounds.upper)
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's hints, which nobody here can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
