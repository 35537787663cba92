"""A command's words on their way to Hydra, and Hydra's answers in plain words."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from glipv2.config import (
    COMMANDS,
    TrainConfig,
    config_folder,
    experiment_files,
    hint,
    known_keys,
    register_schemas,
    typed,
)
from glipv2.errors import UserError, nearest
from glipv2.extras import extras
from glipv2.report.sweep import SWEEP_FILE
from glipv2.runs import ENVIRONMENT

GROUPS = ("model", "task", "data", "protocol", "loss", "tune", "optim", "trainer", "tracking", "experiment")
LITERAL_KEYS = (
    "weights",
    "images",
    "text",
    "output",
    "resume",
    "replay",
    "annotations",
    "root",
    "configs",
)  # paths, sentences
# these too, unless Hydra reads in them the several values of a sweep
SWEPT_KEYS = ("path", "before", "name", "run_name", "captions", "questions", "answers", "grounding")


def hydra_words(command: str, words: Sequence[str]) -> list[str]:
    """The words as Hydra is to read them, options last; UserError for one that it could not read."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; glipv2 {command} --help shows what it takes")

    parser.error = refuse  # type: ignore[method-assign]  # argparse would print its usage, eight lines of it
    found = parser.parse_intermixed_args(list(words))
    if found.resolve and not (found.cfg or found.help):
        refuse("--resolve goes with --cfg")
    if sum(map(bool, (found.run, found.multirun, found.cfg, found.info, found.shell_completion))) > 1:
        refuse("--run, --multirun, --cfg and --info exclude each other")
    options = list(words)
    overrides = []
    for word in found.overrides:
        options.remove(word)
        overrides.append(quoted(word))
        parsed = _readable(word, overrides[-1])
        _check_group(word, parsed, command)
        if parsed.is_sweep_override() and not found.multirun and "hydra.mode=MULTIRUN" not in words:
            text = f"{parsed.get_key_element()}={QuotedString(word.partition('=')[2], Quote.single).with_quotes()}"
            raise UserError(f'{word}: several values are swept over with -m; as one text they need quotes, "{text}"')
    return [*overrides, *options]


def with_earlier(words: Sequence[str]) -> list[str]:
    """The words of the run or sweep that `resume` or `replay` names, then those given now, which overrule them.

    A run goes on in its own folder where no other `output` is given. Words stay as they are where nothing is named,
    or only a checkpoint file.
    """
    named = [word for word in words if word.startswith(("resume=", "replay="))]
    if not named:
        return list(words)
    kind, _, value = named[-1].partition("=")
    place = Path(value.strip("'\"")).expanduser()
    run = place if kind == "resume" else place.parent.parent
    sweep, given = run / SWEEP_FILE, {word.partition("=")[0] for word in words}
    if sweep.is_file():
        overrides = cast("Any", OmegaConf.load(sweep)).hydra.overrides
        earlier = [str(word) for part in (overrides.task, overrides.hydra) for word in part]
        added = ["-m", f"hydra.sweep.dir={QuotedString(str(run), Quote.single).with_quotes()}"]
    elif (run / ENVIRONMENT).is_file():
        earlier = shlex.split(json.loads((run / ENVIRONMENT).read_text("utf-8"))["command"])[2:]
        added = [] if kind == "replay" or "output" in given else [f"output={run}"]
    else:
        return list(words)
    left = [word for word in earlier if word.partition("=")[0] not in {*given, "resume", "output", "hydra.sweep.dir"}]
    return [*(word for word in left if word not in ("-m", "hydra.mode=MULTIRUN")), *words, *added]


def composed(words: Sequence[str]) -> TrainConfig:
    """What `glipv2 train` with these words would run with; UserError as there."""
    register_schemas()
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return typed(compose("train", hydra_words("train", words)), TrainConfig)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explained(error, "train")) from error


def job_words() -> list[str]:
    """The words of the job that runs now, of a sweep's too: what Lightning starts a process with for each device.

    Such a process has to find the folder of a sweep's job, which Lightning looks for as a single run's.
    """
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        with read_write(cast("DictConfig", hydra)):
            hydra.run.dir = hydra.runtime.output_dir
    unresolved = cast("ListConfig", hydra.overrides.task)  # "output=${name}" is a word
    words = OmegaConf.to_container(unresolved, resolve=False)
    return [str(word) for word in cast("list[Any]", words)]


def quoted(argument: str) -> str:
    """Paths and sentences as one quoted value, whatever Hydra's grammar thinks of their characters."""
    key, _, value = argument.partition("=")
    last = key.split(".")[-1]
    literal = last in LITERAL_KEYS and key != "task.weights"  # those of losses are numbers by task
    if not value or not (literal or last in SWEPT_KEYS) or value.startswith("${") or value == "null":
        return argument
    if value[0] in "'\"" and _parsed(argument):
        return argument
    if not literal and _parsed(argument) and not Path(value).expanduser().exists():
        return argument
    return f"{key}={QuotedString(value, Quote.single).with_quotes()}"


def explained(error: Exception, command: str) -> str:
    """One readable message for a config that does not compose, with the nearest valid name."""
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
        return f"unknown key '{full}'{where}; {hint(full, COMMANDS[command])}"
    if key:
        return f"{key.group(1)}{where}: {str(chain[-1]).splitlines()[0]}"
    told = str(error).partition("Config search path:")[0]
    lines = [line.strip() for line in told.splitlines() if line.strip() and "https://hydra.cc" not in line]
    return _about_groups(text, command) or "; ".join(lines)


def _about_groups(text: str, command: str) -> str | None:
    missing = re.search(r"Could not find '([^']+)'", text)
    options = re.search(r"Available options in '([^']+)':\n((?:\t\S+\n?)+)", text)
    if missing and options:
        group, name = options.group(1), missing.group(1).removeprefix(options.group(1) + "/")
        known: Collection[str] = options.group(2).split()
        if group.partition("/")[0] == "experiment":  # whose names may hold folders, which Hydra takes for groups
            group, name, known = "experiment", missing.group(1).removeprefix("experiment/"), experiment_files()
        return f"{group}={name}: no such preset; {nearest(name, known)}"
    plugin = re.search(r"In 'hydra/(launcher|sweeper)/([^']+)': Could not load '[^']+/(\w+?)(?:_\w+)?'", text)
    if plugin:
        kind, name, library = plugin.group(1), plugin.group(2), f"hydra-{plugin.group(3)}-{plugin.group(1)}"
        ways = [extra.command for extra in extras() if library in extra.missing]
        return f"hydra/{kind}={name} needs {library}: {ways[0] if ways else f'pip install {library}'}"
    wrong = re.search(r"Could not override '([^']+)'", text)
    if wrong is None:
        return None
    return f"unknown key or group '{wrong.group(1)}'; {hint(wrong.group(1), COMMANDS[command])}"


def _parsed(argument: str) -> Override | None:
    """None where Hydra's grammar can't read it."""
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def _readable(word: str, override: str) -> Override:
    """UserError for a word that is no KEY=VALUE."""
    parsed = _parsed(override)
    if parsed is None:
        raise UserError(_unreadable(word))
    if not parsed.key_or_group:
        raise UserError(f"expected KEY=VALUE or GROUP=PRESET, but got '{word}'")
    return parsed


def _check_group(word: str, parsed: Override, command: str) -> None:
    """UserError for a group that is given what can't be a preset's name: Hydra has only a traceback for it."""
    key = parsed.key_or_group
    if key not in GROUPS or parsed.is_sweep_override():
        return
    if parsed.is_delete():
        if command == "train" and key != "experiment":  # the other commands' groups may be left out
            raise UserError(f"{word}: no training is without a preset of {key}; {key}=NAME takes another")
        return
    if not isinstance(parsed.value(), (str, list, dict)):
        known = key in known_keys(COMMANDS[command])
        way = "expected the name of a preset; --help lists them" if known else hint(key, COMMANDS[command])
        raise UserError(f"{word}: {way}")


def _unreadable(word: str) -> str:
    key, separator, value = word.partition("=")
    if not separator:
        return f"expected KEY=VALUE or GROUP=PRESET, but got '{word}'"
    if not re.fullmatch(r"[+~]{0,2}[\w/-]+(\.[\w-]+)*(@[\w.:/-]*)?", key):
        return f"expected KEY=VALUE, but '{key}' in '{word}' is no key"
    example = f"{key}={QuotedString(value, Quote.single).with_quotes()}"
    if value[:1] in ("[", "{", "'", '"') or not _parsed(example):
        return f"can't read '{word}': its brackets and quotes must close"
    return f"can't read '{word}': a value with such characters needs quotes within quotes, \"{example}\""
