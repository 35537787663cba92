"""Weights on a model hub, by the hub's own mixin: a weights file that says what it is, its numbers, and a card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

from glipv2 import __version__
from glipv2.checkpoints import WEIGHTS_FILE, Checkpoint, read_checkpoint, record_of, save_weights
from glipv2.errors import UserError
from glipv2.evaluate import summary
from glipv2.hub import hub_answers
from glipv2.inference import Predictor
from glipv2.report.run import RunFolder, flat_config
from glipv2.runs import write_json

METRICS_FILE = "metrics.json"
SHOWN_NAMES = 40
CAN = {
    "detection": "boxes of the names that it is asked for",
    "instance_segmentation": "boxes and masks of names and phrases",
    "phrase_grounding": "boxes of the phrases of a caption",
    "vqa": "an answer to a question, one of those that stood in the training data",
    "captioning": "a sentence about a picture",
}
CALLS = {
    "detection": 'detect("photo.jpg", ["{name}"], threshold=0.3)',
    "instance_segmentation": 'segment("photo.jpg", ["{name}"], threshold=0.3)',
    "phrase_grounding": 'ground("photo.jpg", "a [dog] on a [red mat]")',
    "vqa": 'answer("photo.jpg", "what is this?")',
    "captioning": 'caption("photo.jpg")',
}
LIMITS = """\
- The numbers above are those of the data named here; other pictures, names and phrasings give others. Measure on yours:
  `glipv2 evaluate weights=… data=auto data.path=…`.
- A name that was not in the training data is read by its words, and may be found poorly or taken for a similar one.
- Scores rank what is found; they are no calibrated probabilities. Choose a threshold on pictures of your own.
- It was not examined for uneven results over groups of people, nor for use where an error hurts somebody. Not for
  surveillance, nor for decisions about people without one who looks."""
PIPELINES = {
    "captioning": "image-to-text",
    "vqa": "visual-question-answering",
    "instance_segmentation": "image-segmentation",
}


class PublishedModel(
    ModelHubMixin, library_name="glipv2", tags=["glipv2", "open-vocabulary-detection", "phrase-grounding"]
):
    """Weights with what is known of them.

    checkpoint: see `read_checkpoint`; run: the folder they come from, None for a bare file; licence: of the weights, as
    the hub spells it, "" where nobody said.
    """

    def __init__(self, checkpoint: Checkpoint, run: RunFolder | None = None, licence: str = "") -> None:
        self.checkpoint, self.run, self.licence = checkpoint, run, licence

    @classmethod
    def of(cls, weights: str | Path, licence: str = "") -> PublishedModel:
        """From a run folder, with its numbers and config, or from a file; UserError when it can't be read."""
        folder = Path(weights)
        run = RunFolder.read(folder) if folder.is_dir() and (folder / "config.yaml").is_file() else None
        return cls(read_checkpoint(weights), run, licence)

    def predictor(self, device: str = "auto") -> Predictor:
        """The model, ready to use."""
        return Predictor(self.checkpoint.build(), device)

    def _save_pretrained(self, save_directory: Path) -> None:
        own = self.checkpoint
        image, text = replace(own.model.image, weights=None), replace(own.model.text, weights=None)
        model = replace(own.model, image=image, text=text)  # paths of the machine where it was trained say nothing
        save_weights(
            save_directory / WEIGHTS_FILE, own.tensors, record_of(model, own.task, own.vocabulary, own.answers)
        )
        facts = {"library": f"glipv2 {__version__}", "architecture": own.model.name, "tasks": list(self._tasks())}
        write_json(save_directory / "config.json", facts)
        if self.run is not None:
            write_json(save_directory / METRICS_FILE, dict(self.run.metrics))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> PublishedModel:
        """From a folder, or from the hub's cache or the hub itself."""
        if Path(model_id).is_dir():
            return cls(read_checkpoint(model_id))
        taken = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        file = hf_hub_download(model_id, WEIGHTS_FILE, **{key: options[key] for key in taken if key in options})
        return cls(read_checkpoint(file))

    def generate_model_card(self, *args: Any, **options: Any) -> ModelCard:
        """The card of this model: what it does, on what it was trained, numbers, licence, limits."""
        data = ModelCardData(
            library_name="glipv2",
            license=self.licence or None,
            pipeline_tag=next(
                (PIPELINES[task] for task in PIPELINES if [task] == list(self._tasks())), "object-detection"
            ),
            tags=["glipv2", "open-vocabulary-detection", "phrase-grounding"],
        )
        return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{self.card(options.get('repo_id') or 'NAME/MODEL')}")

    def card(self, repo: str) -> str:
        """The card's text."""
        own, tasks = self.checkpoint, list(self._tasks())
        names = own.vocabulary.names
        shown = ", ".join(names[:SHOWN_NAMES]) + (f", … ({len(names)} in all)" if len(names) > SHOWN_NAMES else "")
        parameters = sum(tensor.numel() for tensor in own.tensors.values()) / 1e6
        return "\n".join([
            f"# {repo.rpartition('/')[2]}", "",
            f"A `{own.model.name}` model of [GLIPv2](https://arxiv.org/abs/2206.05836) with {parameters:.1f} million "
            f"parameters, trained with glipv2 {__version__}.", "",
            "```python", "import glipv2", "", f'model = glipv2.from_pretrained("{repo}")',
            f'found = model.{CALLS.get(tasks[0], CALLS["detection"]).format(name=names[0])}', "```", "",
            "## Intended use", "", *(f"- `{task}`: {CAN.get(task, 'a task of its own')}" for task in tasks), "",
            "For research, and as a start for fine-tuning on data of your own.", "",
            "## Data", "", *self._data(), "", f"Its vocabulary: {shown}.", "",
            "## Metrics", "", *self._metrics(), "",
            "## Licence", "", self.licence or "Not stated by who published these weights: ask before you use them.", "",
            "## Limits", "", LIMITS, "",
        ])  # fmt: skip

    def _tasks(self) -> Mapping[str, Any]:
        return self.checkpoint.task.streams()

    def _data(self) -> list[str]:
        if self.run is None or not self.run.config:
            return ["Not known: these weights came without their run."]
        config = flat_config(
            {key: self.run.config[key] for key in ("data", "trainer", "seed") if key in self.run.config}
        )
        kept = ("data.", "trainer.max_steps", "seed")
        rows = [
            f"| `{key}` | {Path(value).name if '/' in value else value} |"
            for key, value in config.items()
            if key.startswith(kept) and value not in ("None", "[]", "{}") and key.count(".") < 3
        ]
        start, name = self.run.config.get("weights"), self.run.config.get("name", "run")
        told = f"Run `{name}`" + (f", started from `{Path(str(start)).name}`." if start else ", from its own start.")
        return [told, "", "| key | value |", "|---|---|", *rows]

    def _metrics(self) -> list[str]:
        if self.run is None or not self.run.metrics:
            return ["None came with these weights."]
        rows = summary(self.checkpoint.task, self.run.metrics)
        if len(rows) < 2:
            return ["None came with these weights."]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return [lines[0], f"|{'---|' * len(rows[0])}", *lines[1:], "", f"All numbers: `{METRICS_FILE}`."]


@dataclass
class PushConfig:
    """`glipv2 push KEY=VALUE …`.

    weights: a run folder, with its numbers, or a file. repo: NAME/MODEL on the hub; output: a folder to write instead.
    licence: of the weights, as apache-2.0. private: whether only you see it.
    """

    weights: str = ""
    repo: str = ""
    output: str = ""
    licence: str = ""
    private: bool = False

    def check(self) -> None:
        """UserError for what is missing."""
        if not self.weights:
            raise UserError("weights is not set; as in glipv2 push weights=runs/demo repo=NAME/MODEL")
        if bool(self.repo) == bool(self.output):
            raise UserError("expected repo=NAME/MODEL to publish, or output=FOLDER to write the same files there")


def push(config: PushConfig) -> str:
    """Publishes, or writes to a folder; where it lies then. UserError in one line for all that the hub refuses."""
    config.check()
    if config.output:
        if Path(config.output).exists():
            raise UserError(f"{config.output} is there already; remove it or give another output=")
        PublishedModel.of(config.weights, config.licence).save_pretrained(config.output)
        return config.output
    if not hub_answers():
        raise UserError(
            "the model hub can't be reached; try again with a network, or write the files with output=FOLDER"
        )
    model = PublishedModel.of(config.weights, config.licence)
    try:
        kwargs = {"repo_id": config.repo}
        return str(model.push_to_hub(config.repo, private=config.private or None, model_card_kwargs=kwargs))
    except LocalTokenNotFoundError as error:
        raise UserError("nobody is logged in at the model hub; hf auth login, then again") from error
    except HFValidationError as error:
        raise UserError(f"repo={config.repo}: expected NAME/MODEL ({str(error).splitlines()[0]})") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        way = "hf auth login with a token that may write" if status in (401, 403) else "try again later"
        raise UserError(f"repo={config.repo}: the hub refuses it (status {status}); {way}") from error
    except OSError as error:
        raise UserError(f"repo={config.repo}: the connection broke off; try again") from error


def from_pretrained(name: str | Path, device: str = "auto", **options: Any) -> Predictor:
    """See `glipv2.from_pretrained`."""
    if not Path(name).is_dir() and not hub_answers():
        options["local_files_only"] = True  # what was fetched before is still there
    try:
        return PublishedModel.from_pretrained(name, **options).predictor(device)
    except HFValidationError as error:
        raise UserError(f"{name}: expected NAME/MODEL or a folder; check the name") from error
    except (HfHubHTTPError, OSError) as error:  # also: not in the cache, and no network
        if isinstance(error, HfHubHTTPError) and error.response is not None:
            told = f"the hub refuses it (status {error.response.status_code}); check the name, or hf auth login"
        else:
            told = "neither here nor fetched before, and the model hub can't be reached; give a folder"
        raise UserError(f"{name}: {told}") from error
