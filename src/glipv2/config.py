"""The schemas that Hydra composes against, and what one run's config is.

YAML in conf/ and experiments/ holds values; the dataclasses beside the components hold the types
and the defaults. Only this module and the commands see OmegaConf.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from glipv2.data.dataset import DataConfig
from glipv2.data.sources import AutoData, CocoData, PackedData, ShapesData
from glipv2.errors import UserError, nearest
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.models.conventions import AS_WEIGHTS
from glipv2.models.fetch import BUILTIN
from glipv2.optim import OptimConfig
from glipv2.plugins import added_to, plugged_in
from glipv2.protocols import CocoProtocol, Flickr30kProtocol, LvisProtocol, OdinwProtocol, ProtocolConfig
from glipv2.ranges import at_least, check_ranges, share, within
from glipv2.tasks.base import TaskConfig
from glipv2.tasks.captioning import CaptioningConfig
from glipv2.tasks.detection import DetectionConfig
from glipv2.tasks.instance_segmentation import InstanceSegmentationConfig
from glipv2.tasks.joint import JointConfig
from glipv2.tasks.phrase_grounding import PhraseGroundingConfig
from glipv2.tasks.vqa import VqaConfig
from glipv2.tiling import Tiles
from glipv2.tracking import TrackingConfig
from glipv2.trainer import TrainerConfig
from glipv2.tune import LinearTuneConfig, LoraTuneConfig, PromptTuneConfig, TuneConfig

SCHEMAS: dict[str, dict[str, type]] = {
    "task": {
        "captioning": CaptioningConfig,
        "detection": DetectionConfig,
        "instance_segmentation": InstanceSegmentationConfig,
        "joint": JointConfig,
        "phrase_grounding": PhraseGroundingConfig,
        "vqa": VqaConfig,
    },
    "data": {"shapes": ShapesData, "coco": CocoData, "auto": AutoData, "packed": PackedData},
    "loss": {"glipv2": LossConfig},
    "protocol": {
        config.name: config for config in (ProtocolConfig, CocoProtocol, LvisProtocol, OdinwProtocol, Flickr30kProtocol)
    },
    "tune": {config.name: config for config in (TuneConfig, LinearTuneConfig, PromptTuneConfig, LoraTuneConfig)},
}
PLUGIN_GROUPS = tuple(SCHEMAS)
ON_ERROR = ("raise", "skip")  # what to do about broken input

Config = TypeVar("Config")


@dataclass
class TrainConfig:
    """`glipv2 train`. output: the run's folder; weights: a run or file whose weights it starts from;
    resume: a run or sweep to go on with; replay: a batch at which a run stopped, to be looked into; split: what
    validation scores; also_evaluate: further splits that are scored at the end; gallery: pictures kept of each split.
    """

    name: str = "run"
    output: str = "runs/run"
    seed: int = within(0, 2**32 - 1, 0)
    split: str = "val"
    also_evaluate: list[str] = field(default_factory=list)
    gallery: int = at_least(0, 12)
    weights: str | None = None
    resume: str | None = None
    replay: str | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = MISSING
    data: DataConfig = MISSING
    loss: Any = MISSING
    tune: TuneConfig = field(default_factory=TuneConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def check(self) -> None:
        """UserError for groups that can't work together."""
        self.optim.check()
        self.tracking.check()
        self._check_model()
        self.trainer.check()
        self.data.check_split(self.split)
        for split in self.also_evaluate:
            self.data.check_split(split)
        self.task.check(started=bool(self.weights or self.resume))
        for stream in self.task.streams().values():
            check_pair(stream.task, self.data, dict.fromkeys(("train", self.split, *self.also_evaluate)))
        self.tune.check(self.data.prompts.shuffle)

    def _check_model(self) -> None:
        """A model that comes with weights needs them, and takes nothing else."""
        if self.model.name != AS_WEIGHTS:
            return
        if not (self.weights or self.resume):
            raise UserError("model=as_weights is the model of weights=FILE; give weights=, or choose another model=")
        if self.model != ModelConfig(name=AS_WEIGHTS):
            raise UserError("model=as_weights takes all of the model from the weights; leave out model.KEY=")


@dataclass
class EvaluateConfig:
    """`glipv2 evaluate`: the weights' own model and task on any data; output: default beside the weights.

    protocol: a published way of measuring instead, which brings its own task, files and prompts.
    before: the weights from which these were fine-tuned, measured too: what was kept of each number.
    """

    weights: str = MISSING
    before: str | None = None
    split: str = "val"
    output: str | None = None
    gallery: int = at_least(0, 12)
    data: DataConfig = MISSING
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def check(self) -> None:
        """UserError for settings that would change nothing, or can't work together."""
        if self.protocol.name == "none":
            self.data.check_split(self.split)
        elif self.split != "val" or not isinstance(self.data, ShapesData):
            raise UserError(
                f"protocol={self.protocol.name} brings its own data: leave out split= and data=, and give its files "
                f"as protocol.KEY=PATH (--cfg job shows the keys)"
            )


@dataclass
class PredictConfig:
    """`glipv2 predict`: what a task says of pictures, as JSON, pictures and a table.

    weights: a run, a file, an hf:// address; "builtin" is the small model of drawn shapes that comes with the package.
    text: what is asked: names for detection and segmentation (default those trained on), a caption to ground, a
    question.
    task_name (in the command simply task=NAME): default the one, or the first, that the weights were
    trained for. workers: processes that read pictures, default as suits the machine; devices: processes that
    predict, each on a device of its own (with device=cpu: each with its part of the cores). on_error: "raise"
    ends at the first broken picture, "skip" leaves such out and tells. precision, compile, channels_last: see
    `Arithmetic`. tile: side in pixels of the tiles in which large pictures are looked at besides, 0 = none; overlap: of
    tiles, as a share. every: of a video each n-th frame is looked at. screen: of hundreds of names only the so many
    likeliest are looked for in a picture, which is inexact (0 = all, see docs/predict.md).
    """

    weights: str = BUILTIN
    images: str = MISSING
    text: str = ""
    task_name: str | None = None
    output: str = "predictions"
    threshold: float = share(0.3)
    batch_size: int = at_least(1, 8)
    device: str = "auto"
    devices: int = at_least(1, 1)
    workers: int | None = None
    precision: str = "32"
    compile: str = ""
    channels_last: bool = False
    tile: int = at_least(0, 0)
    overlap: float = within(0, 0.9, 0.25)
    every: int = at_least(1, 1)
    screen: int = at_least(0, 0)
    draw: bool = True
    on_error: str = "raise"

    def check(self) -> None:
        """UserError for numbers out of their range and a way that there is not."""
        check_ranges(self)
        if self.workers is not None and self.workers < 0:
            raise UserError(f"workers: expected at least 0, but got {self.workers}")
        if self.on_error not in ON_ERROR:
            raise UserError(f"on_error: no way '{self.on_error}'; {nearest(self.on_error, ON_ERROR)}")
        if self.tile:
            self.tile_setting().check()

    def tile_setting(self) -> Tiles:
        """The tiles asked for; of size 0 where none are."""
        return Tiles(self.tile, self.overlap)


@dataclass
class LabelConfig:
    """`glipv2 data label KEY=VALUE …`.

    weights: a run or file that grounds; threshold: scores from which a box is kept; boxes: most of a phrase.

    on_error: "raise" ends at the first broken image or record, "skip" counts them. preview: a picture of the
    first labelled images.
    """

    weights: str = MISSING
    images: Path = MISSING
    captions: Path = MISSING
    output: Path = MISSING
    threshold: float = 0.5
    boxes: int = at_least(1, 10)
    batch_size: int = at_least(1, 8)
    device: str = "auto"
    on_error: str = "raise"
    preview: Path | None = None

    def check(self) -> None:
        """UserError for numbers out of range, a threshold of 0 and an output that is there."""
        check_ranges(self)
        if not 0 < self.threshold <= 1:
            raise UserError(f"threshold: expected a score above 0 and up to 1, but got {self.threshold}")
        if self.output.suffix != ".jsonl":
            raise UserError(f"expected an output of ODVG lines (.jsonl), but got {self.output}")
        if self.output.exists():
            raise UserError(f"{self.output} is there already; remove it or give another")


@dataclass
class DemoConfig:
    """`glipv2 demo KEY=VALUE …`.

    weights: a run, a weights file or an hf:// address. host: 127.0.0.1 is this machine alone; 0.0.0.0 lets others
    in. port: of the page. threshold: where the slider stands at first. open: show the page in this machine's browser.
    """

    weights: str = BUILTIN
    host: str = "127.0.0.1"
    port: int = within(1, 65535, 7860)
    device: str = "auto"
    threshold: float = share(0.3)
    open: bool = False


COMMANDS: dict[str, type] = {"train": TrainConfig, "evaluate": EvaluateConfig, "predict": PredictConfig}


@cache
def load_plugins() -> dict[str, dict[str, type]]:
    """Makes what installed packages add known to `SCHEMAS`, once a process; what that was, by group."""
    found = plugged_in(PLUGIN_GROUPS)
    for group, added in found.items():
        SCHEMAS[group] = added_to(SCHEMAS[group], added, group)
    return found


def register_schemas() -> None:
    """Hands every schema to Hydra, those of installed plug-ins too, and the experiments by name."""
    store = ConfigStore.instance()
    for name, schema in COMMANDS.items():
        store.store(name=f"{name}_schema", node=schema)
    for group, added in load_plugins().items():
        for name, schema in SCHEMAS[group].items():
            store.store(group=f"schema/{group}", name=name, node=schema)
        for name, schema in added.items():  # a choice without a preset's file
            store.store(group=group, name=name, node=schema)
    for name, path in experiment_files().items():
        folder, _, own = f"experiment/{name}".rpartition("/")
        store.store(group=folder, name=own, node=OmegaConf.load(path), package="_global_", provider=str(path))


def config_folder() -> Path:
    """The folder of conf/: inside an installed package, or at the top of a clone."""
    return _shipped("conf")


def model_preset(name: str) -> ModelConfig:
    """A preset of the `model` group, as composition gives it without any override."""
    return from_plain(ModelConfig, _preset_values(config_folder() / "model" / f"{name}.yaml"), f"model={name}")


def _preset_values(path: Path) -> dict[str, Any]:
    """The values of a preset file over those of the presets that its `defaults` name."""
    values = cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(path)))
    below = [_preset_values(path.with_name(f"{name}.yaml")) for name in values.pop("defaults", []) if name != "_self_"]
    return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.merge(*below, values)))


def experiment_files() -> dict[str, Path]:
    """Experiments by name: the project's own, then those of ./experiments where the command runs."""
    files: dict[str, Path] = {}
    for folder in (_shipped("experiments"), Path.cwd() / "experiments"):
        for path in sorted(folder.rglob("*.yaml")):
            files[path.relative_to(folder).with_suffix("").as_posix()] = path
    return files


def _shipped(name: str) -> Path:
    inside = Path(__file__).parent / name
    return inside if inside.is_dir() else Path(__file__).parents[2] / name


def check_pair(task: TaskConfig, data: DataConfig, splits: Iterable[str] = ()) -> None:
    """UserError when the data, in one of the splits, does not hold what the task learns from."""
    data.check_needs(task.needs, splits, f"task={task.name}")


def typed(config: DictConfig, schema: type[Config]) -> Config:
    """A composed config as plain dataclasses; UserError naming a key that has no value, no place or no such value."""
    strange = next(_unknown_keys(config), None)
    if strange:
        raise UserError(f"unknown key '{strange}'; {hint(strange, schema)}")
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UserError(f"{missing[0]} is not set; give it as {missing[0]}=VALUE")
    found = cast("Config", OmegaConf.to_object(config))
    check_ranges(found)
    return found


def _unknown_keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Keys added with a plus that no schema knows; nothing would read them."""
    schema = OmegaConf.get_type(config)
    if not dataclasses.is_dataclass(schema):
        return
    fields = {entry.name for entry in dataclasses.fields(schema)}
    for key in map(str, config):
        value = config._get_node(key)
        if key not in fields:
            yield prefix + key
        elif isinstance(value, DictConfig) and not (value._is_none() or value._is_missing()):
            yield from _unknown_keys(value, f"{prefix}{key}.")


def to_plain(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON values."""
    return dataclasses.asdict(config)


def from_words(schema: type[Config], words: Sequence[str]) -> Config:
    """The settings of KEY=VALUE words; UserError for a key that there is not, a wrong type, or one that is missing."""
    known = [entry.name for entry in dataclasses.fields(cast("Any", schema))]
    values: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator:
            raise UserError(f"expected KEY=VALUE, but got '{word}'; the keys are {', '.join(known)}")
        if key not in known:
            raise UserError(f"no key '{key}'; {nearest(key, known)}")
        values[key] = value
    try:
        config = cast("DictConfig", OmegaConf.merge(OmegaConf.structured(schema), values))
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from error
    return typed(config, schema)


def from_plain(schema: type[Config], values: Mapping[str, Any], source: str) -> Config:
    """The inverse of `to_plain`; UserError when the values are of another version's schema."""
    try:
        return cast("Config", OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), dict(values))))
    except OmegaConfBaseException as error:
        raise UserError(f"{source}: its config does not fit this version: {str(error).splitlines()[0]}") from error


def known_keys(schema: type) -> list[str]:
    """Every dotted key that the command of this schema takes, for hints."""
    keys = set(_keys(schema, ""))
    for group, schemas in SCHEMAS.items():
        if group in keys:
            keys |= {key for part in schemas.values() for key in _keys(part, f"{group}.")}
    return sorted(keys | ({"experiment"} if schema is TrainConfig else set()))


def _keys(schema: type, prefix: str) -> Iterator[str]:
    for entry in dataclasses.fields(schema):
        yield prefix + entry.name
        factory = entry.default_factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            yield from _keys(factory, f"{prefix}{entry.name}.")


def hint(key: str, schema: type) -> str:
    """What to do about a wrong key of a command: the nearest valid one, or how to see them all."""
    known = known_keys(schema)
    free = next(
        (name for name in known if name.endswith((".options", ".captions")) and key.startswith(f"{name}.")), None
    )
    if free:  # takes any name, but Hydra wants new ones marked
        return f"{free} takes any name, with a plus before a new one: +{key}=VALUE"
    if key in known:
        return f"the chosen {key.partition('.')[0]} has none"
    others = [name for name, other in COMMANDS.items() if key in known_keys(other)]
    if others:
        return f"it is a key of glipv2 {' and '.join(others)}"
    near = nearest(key, known)
    return near if near.startswith("did you mean") else "--cfg job shows every key"
