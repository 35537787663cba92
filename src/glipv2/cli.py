"""The `glipv2` command. Imports nothing heavy until a command needs it."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from glipv2 import __version__
from glipv2.errors import Interrupted, UserError, disk_trouble

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from glipv2.ranks import Job

HELP = f"""glipv2 {__version__}: localization and vision-language understanding in one model

usage: glipv2 COMMAND [GROUP=PRESET …] [KEY=VALUE …]

commands
  train      train and evaluate a model          glipv2 train experiment=shapes_detection_nano
  finetune   your data, your weights, tonight    glipv2 finetune data=instances.json weights=glip_t.safetensors
  evaluate   score weights on a data set         glipv2 evaluate weights=runs/demo data=shapes split=unseen
                                                   glipv2 evaluate weights=glip_t.safetensors protocol=coco …
  predict    find names in pictures              glipv2 predict weights=runs/demo images=photo.jpg text="a cup. a dog."
  serve      an HTTP service                     glipv2 serve weights=runs/demo
  demo       a page to try a model on            glipv2 demo weights=runs/demo open=true
  export     ONNX whose names can change         glipv2 export weights=runs/demo -o exported
  plan       parameters, memory, largest batch   glipv2 plan model=glip_t task=detection
  report     one HTML page about runs            glipv2 report runs/demo
  data       check, preview, convert files       glipv2 data check instances.json --images photos
                                                   glipv2 data convert instances.json OUT --to odvg
  push       publish weights with a card         glipv2 push weights=runs/demo repo=NAME/MODEL
  weights    say what a file is, import it       glipv2 weights import glip_tiny.pth -o glip_t.safetensors
  doctor     what is here, what is missing       glipv2 doctor
  completion words by the Tab key                source <(glipv2 completion bash)    or zsh, fish

`glipv2 COMMAND --help` lists its groups, presets and keys. Sweep with -m: glipv2 train -m experiment=a,b seed=1,2,3
Show what a command would run with: --cfg job. Documentation: README.md and docs/.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; exits with 2 on bad input and disk trouble, 130 on Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return
    if words[0] == "--version":
        print(__version__)
        return
    try:
        with one_interrupt():
            _run(words[0], words[1:])
    except UserError as error:
        _fail(str(error))
    except BrokenPipeError:  # whoever reads our output has read enough, as in `glipv2 train --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain while it ends
    except OSError as error:
        _fail(_in_one_line(error))
    except KeyboardInterrupt as end:
        print(f"interrupted {end}".strip(), file=sys.stderr)
        sys.exit(130)


@contextmanager
def one_interrupt() -> Iterator[None]:
    """Only the first Ctrl-C counts: a second one must not break the saving that the first began."""
    pressed = False

    def interrupt(*_: Any) -> None:
        nonlocal pressed
        if not pressed:
            pressed = True
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield  # somebody else cares
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process is about to end
        raise
    except BaseException:
        signal.signal(signal.SIGINT, before)
        raise
    signal.signal(signal.SIGINT, before)


def _run(command: str, arguments: list[str]) -> None:
    if command in ("train", "evaluate", "predict"):
        if command == "predict" or not _followed(arguments):
            _run_hydra(command, arguments)
    elif command == "rank":  # started by another process of this command
        _rank()
    elif command in COMMANDS:
        COMMANDS[command](arguments)
    else:
        from glipv2.errors import nearest

        known = ("train", "evaluate", "predict", *COMMANDS)
        raise UserError(f"no command '{command}'; {nearest(command, [name for name in known if name != COMPLETE])}")


def _run_hydra(command: str, arguments: list[str]) -> None:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from glipv2.arguments import explained, hydra_words, job_words, with_earlier
    from glipv2.config import config_folder, register_schemas
    from glipv2.folders import take_back_empty

    register_schemas()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # exceptions come to us instead of being printed
    words = [
        f"task_name={word[5:]}" if command == "predict" and word.startswith("task=") else word for word in arguments
    ]
    if {"--help", "-h"} & set(words):
        _show_help(command, words)
        return
    words = with_earlier(words) if command == "train" else words
    script = sys.argv[0]
    sys.argv = [f"glipv2 {command}", *hydra_words(command, words)]  # Hydra would take task= for the group of presets
    begun = False

    def job(config: DictConfig) -> Any:
        nonlocal begun
        begun = True
        sys.argv = [script, command, *job_words()]
        try:
            return JOBS[command](config)
        except UserError as error:  # these end here: on their way out Hydra would print a line of its own
            _fail(str(error))
        except OSError as error:
            _fail(_in_one_line(error))
        except OmegaConfBaseException as error:
            _fail(explained(error, command))

    run = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=command)(job)
    try:
        run()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explained(error, command)) from error
    except ValueError as error:
        if begun:
            raise
        raise UserError(explained(error, command)) from error  # Hydra's own, for words that make no sense
    finally:
        take_back_empty()
        _dismiss(command)


def _show_help(command: str, words: Sequence[str]) -> None:
    """The page of a command as its words leave the config; Hydra's own took ten times as long to find its groups."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from glipv2.arguments import explained, hydra_words
    from glipv2.command_help import help_page

    composed = [word for word in hydra_words(command, words) if not word.startswith("-")]
    try:
        print(help_page(command, composed))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explained(error, command)) from error


def _followed(arguments: list[str]) -> bool:
    """Whether this is a further process of torchrun's or srun's: then it does what the first one says, job by job."""
    if not {"RANK", "SLURM_PROCID"} & os.environ.keys() or {"--help", "-h", "--cfg", "-c"} & set(arguments):
        return False
    from glipv2.ranks import meeting

    met = meeting()
    if met is None or met.rank == 0:
        return False
    while (job := met.next_job()) is not None:
        _work(job)
    return True


def _dismiss(command: str) -> None:
    """Tells the other processes, where somebody started several, that there are no more jobs."""
    ranks = sys.modules.get("glipv2.ranks")
    if ranks is not None and command != "predict":
        met = ranks.meeting()
        if met is not None and met.rank == 0:
            met.hand_out(None)


def _rank() -> None:
    from glipv2.ranks import received_job

    _work(received_job())


def _work(job: Job) -> dict[str, float]:
    """One job on this rank, whose config is complete."""
    from glipv2.config import load_plugins
    from glipv2.evaluate import evaluate
    from glipv2.train import train

    load_plugins()  # where another process composed
    _quiet_libraries()
    if job.command == "evaluate":
        return evaluate(job.config)
    assert job.folder is not None, "a training has a folder"
    return train(job.config, job.folder)


def _train(config: DictConfig) -> float:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from glipv2.config import TrainConfig, typed
    from glipv2.evaluate import score_name
    from glipv2.ranks import Job, agreed
    from glipv2.resuming import check_requeued

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    settings = typed(config, TrainConfig)
    if settings.trainer.requeue and hydra.mode == RunMode.RUN:
        check_requeued(hydra.overrides.task)
    settings.output = str(folder)
    _quiet_libraries()
    if settings.replay:
        from glipv2.replaying import replay

        replay(settings, settings.replay)
        return 0.0
    job = agreed(Job("train", settings, folder))
    settings, folder = job.config, job.folder or folder
    try:
        scores = _work(job)
    except Interrupted as end:
        raise KeyboardInterrupt(f"{end}\ngo on with: {_resuming(folder)}" if end.resumable else str(end)) from end
    except OSError as error:
        if not (folder / "checkpoints/last.ckpt").is_file():
            raise
        raise UserError(f"{_in_one_line(error)}, then go on with: {_resuming(folder)}") from error
    return scores[score_name(settings.task.monitor, settings.split)]


def _resuming(folder: Path) -> str:
    """The command that goes on with a run."""
    return shlex.join(["glipv2", "train", f"resume={os.path.relpath(folder)}"])


def _evaluate(config: DictConfig) -> None:
    from glipv2.config import EvaluateConfig, typed
    from glipv2.ranks import Job, agreed

    _work(agreed(Job("evaluate", typed(config, EvaluateConfig))))


def _predict(config: DictConfig) -> None:
    from glipv2.config import PredictConfig, typed
    from glipv2.predict import predict

    predict(typed(config, PredictConfig))


JOBS: dict[str, Callable[[Any], Any]] = {"train": _train, "evaluate": _evaluate, "predict": _predict}


def _report(arguments: list[str]) -> None:
    from glipv2.report_command import report_command

    report_command(arguments)


def _data(arguments: list[str]) -> None:
    from glipv2.data_command import data_command

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    status = data_command(arguments)
    if status:
        sys.exit(status)


def _finetune(arguments: list[str]) -> None:
    from glipv2.finetune_command import finetune_command

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    finetune_command(arguments, lambda command, words: _run_hydra(command, list(words)), _quiet_libraries)


def _serve(arguments: list[str]) -> None:
    from glipv2.serve_command import serve_command

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    serve_command(arguments, _quiet_libraries)


def _plan(arguments: list[str]) -> None:
    from glipv2.plan_command import plan_command

    plan_command(arguments, _quiet_libraries)


def _plain(name: str) -> Callable[[list[str]], None]:
    """The command of a module of that name, whose libraries speak up only to warn."""

    def run(arguments: list[str]) -> None:
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        getattr(import_module(f"glipv2.{name}_command"), f"{name}_command")(arguments)

    return run


def _doctor(arguments: list[str]) -> None:
    from glipv2.doctor_command import doctor_command

    status = doctor_command(arguments)
    if status:
        sys.exit(status)


def _complete(arguments: list[str]) -> None:
    """Asked by what `completion` prints."""
    from glipv2.completion import candidates

    print(*candidates(arguments[0] if arguments else ""), sep="\n")


def _completion(arguments: list[str]) -> None:
    from glipv2.completion import told

    print(told(arguments), end="")


def _quiet_libraries() -> None:
    """Hides hints that a user of this command can't act on."""
    import warnings

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*(isinstance|LeafSpec).*deprecated.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # frozen parts are
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # metrics and terms are the same on all ranks
    warnings.filterwarnings("ignore", message=".*Using `DistributedSampler` with the dataloaders.*")  # metrics know it
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")


def _in_one_line(error: OSError) -> str:
    """What a full or closed disk is told by; other errors go on as they are."""
    message = disk_trouble(error)
    if message is None:
        raise error
    return message


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    sys.exit(2)


COMPLETE = "complete"  # is for shells, not for people
COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "report": _report,
    "finetune": _finetune,
    "serve": _serve,
    "demo": _plain("demo"),
    "export": _plain("export"),
    "plan": _plan,
    "data": _data,
    "weights": _plain("weights"),
    "push": _plain("push"),
    "doctor": _doctor,
    "completion": _completion,
    COMPLETE: _complete,
}


if __name__ == "__main__":
    main()
