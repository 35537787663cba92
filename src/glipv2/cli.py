"""The `glipv2` command. Imports nothing heavy until a command needs it."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glipv2 import __version__
from glipv2.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = f"""glipv2 {__version__}: localization and vision-language understanding in one model

usage: glipv2 COMMAND [GROUP=PRESET …] [KEY=VALUE …]

commands
  train      train and evaluate a model          glipv2 train experiment=shapes_detection_nano
  evaluate   score weights on a data set         glipv2 evaluate weights=runs/demo data=shapes split=unseen
                                                   glipv2 evaluate weights=glip_t.safetensors protocol=coco …
  predict    find names in pictures              glipv2 predict weights=runs/demo images=photo.jpg text="a cup. a dog."
  report     one HTML page about runs            glipv2 report runs/demo
  weights    say what a file is, import it       glipv2 weights import glip_tiny.pth -o glip_t.safetensors

`glipv2 COMMAND --help` lists its groups, presets and keys. Sweep with -m: glipv2 train -m experiment=a,b seed=1,2,3
Show what a command would run with: --cfg job. Documentation: README.md and docs/.
"""

GROUPS = ("model", "task", "data", "protocol", "loss", "optim", "trainer", "tracking", "experiment")
# Paths and sentences, not Hydra's grammar.
LITERAL_KEYS = ("weights", "images", "root", "configs", "text", "output", "resume")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; exits with 2 on bad input, 130 on Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return
    if words[0] == "--version":
        print(__version__)
        return
    try:
        _run(words[0], words[1:])
    except UserError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _run(command: str, arguments: list[str]) -> None:
    if command in ("train", "evaluate", "predict"):
        _run_hydra(command, arguments)
    elif command == "report":
        _report(arguments)
    elif command == "weights":
        _weights(arguments)
    else:
        from glipv2.errors import nearest

        known = ("train", "evaluate", "predict", "report", "weights")
        raise UserError(f"no command '{command}'; {nearest(command, known)}")


def _run_hydra(command: str, arguments: list[str]) -> None:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from glipv2.config import config_folder, register_schemas

    register_schemas()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # exceptions come to us instead of being printed
    words = [re.sub("^task=", "task_name=", word) if command == "predict" else word for word in arguments]
    sys.argv = [f"glipv2 {command}", *map(quoted, words)]  # Hydra would take task= for the group of presets

    def job(config: DictConfig) -> Any:
        try:
            return JOBS[command](config)
        except UserError as error:  # ends here: on its way out Hydra would print a line of its own
            _fail(str(error))

    run = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=command)(job)
    try:
        run()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explained(error)) from error


def _train(config: DictConfig) -> float:
    from hydra.core.hydra_config import HydraConfig

    from glipv2.config import TrainConfig, typed
    from glipv2.evaluate import score_name
    from glipv2.train import train

    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        settings = typed(config, TrainConfig)
        settings.output = str(folder)
        _quiet_libraries()
        scores = train(settings, folder)
    except (UserError, SystemExit, KeyboardInterrupt):
        _remove_if_empty(folder)
        raise
    return scores[score_name(settings.task.monitor, settings.split)]


def _evaluate(config: DictConfig) -> None:
    from glipv2.config import EvaluateConfig, typed
    from glipv2.evaluate import evaluate

    _quiet_libraries()
    evaluate(typed(config, EvaluateConfig))


def _predict(config: DictConfig) -> None:
    from glipv2.config import PredictConfig, typed
    from glipv2.predict import predict

    predict(typed(config, PredictConfig))


JOBS: dict[str, Callable[[Any], Any]] = {"train": _train, "evaluate": _evaluate, "predict": _predict}


def _report(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: glipv2 report RUN [RUN …] [output=FILE]   (default: report.html in the first run's folder)")
        return
    from glipv2.report.page import write_report

    runs = [Path(word) for word in arguments if not word.startswith("output=")]
    chosen = [word.removeprefix("output=") for word in arguments if word.startswith("output=")]
    print(write_report(runs, Path(chosen[0]) if chosen else runs[0] / "report.html"))


def _weights(arguments: list[str]) -> None:
    from glipv2.weights_command import weights_command

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    weights_command(arguments)


def quoted(argument: str) -> str:
    """Paths and sentences as one quoted value, whatever Hydra's grammar thinks of their characters."""
    key, separator, value = argument.partition("=")
    if not separator or not value or key.split(".")[-1] not in (*LITERAL_KEYS, "annotations"):
        return argument
    if value[0] in "'\"" or value.startswith("${") or value == "null":
        return argument
    return key + "='" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def explained(error: Exception) -> str:
    """One readable message for a config that does not compose, with the nearest valid name."""
    from glipv2.config import hint

    chain: list[BaseException] = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    text = "\n".join(str(link) for link in chain)
    key = re.search(r"full_key: (\S+)", text)
    unknown = re.search(r"Key '([^']+)' (?:is )?not in", text)
    place = re.search(r"In '([^']+)'", text)
    where = f" (in {place.group(1)})" if place else ""
    if unknown:
        full = key.group(1) if key else unknown.group(1)
        return f"unknown key '{full}'{where}; {hint(full)}"
    if key:
        return f"{key.group(1)}{where}: {str(chain[-1]).splitlines()[0]}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "https://hydra.cc" not in line]
    return _about_groups(text) or "; ".join(lines)


def _about_groups(text: str) -> str | None:
    from glipv2.config import hint
    from glipv2.errors import nearest

    missing = re.search(r"Could not find '([^']+)'", text)
    options = re.search(r"Available options in '([^']+)':\n((?:\t\S+\n?)+)", text)
    if missing and options:
        group, name = options.group(1), missing.group(1).removeprefix(options.group(1) + "/")
        return f"{group}={name}: no such preset; {nearest(name, options.group(2).split())}"
    wrong = re.search(r"Could not override '([^']+)'", text)
    if wrong is None:
        return None
    key = wrong.group(1)
    return f"unknown key or group '{key}'; {hint(key) if '.' in key else nearest(key, GROUPS)}"


def _remove_if_empty(folder: Path) -> None:
    """Takes back the folders that Hydra made for a run that never began, up to where the command runs."""
    here = Path.cwd()
    own = [folder, *(parent for parent in folder.parents if here in parent.parents)]
    for path in own:
        try:
            path.rmdir()
        except OSError:
            return


def _quiet_libraries() -> None:
    """Hides hints that a user of this command can't act on."""
    import warnings

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*(isinstance|LeafSpec).*deprecated.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # frozen parts are
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
