"""`glipv2 doctor`: what is installed here, on what it runs, which kernels it takes, and what is missing.

Made to be pasted into an issue: no paths, no names of people or machines, no values of secrets. Versions are read from
what is installed, not imported; torch alone is, and torchvision's operators as the library that they lie in.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from glipv2 import __version__
from glipv2.extras import core_libraries, extras, installed

PATIENCE = 3.0  # seconds for the hub to answer, name look-up included
REFUSED = ("2.6.2", "2.6.3")  # of pytorch-lightning: sister packages of these versions carried malware
VARIABLES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "HF_HUB_OFFLINE", "TORCH_COMPILE_DISABLE")
PLAIN = re.compile(r"[\d,]{1,20}|true|false|online|offline|disabled|dryrun|run", re.IGNORECASE)
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE")
GLIP_T = {"heads": 8, "attention_width": 2048, "image_width": 256}
GLIP_T_POSITIONS = 22_300  # of the pyramid of a picture of 800 x 1333
TEXT_LIMIT = 256

Rows = Mapping[str, str]


@dataclass(frozen=True)
class Section:
    """A heading, what is so, and what is wrong, each with what to do."""

    title: str
    rows: Rows
    problems: tuple[str, ...] = ()


def examined() -> Iterator[Section]:
    """Every section as soon as it is known; the hub is asked meanwhile."""
    asked = _in_background(_hub)
    for look in (_versions, _devices, _kernels, _extras, _tracking):
        yield _scrubbed(_tried(look))
    yield _scrubbed(asked())


def _tried(look: Callable[[], Section]) -> Section:
    """A broken library must not end the doctor: it is what the doctor is for."""
    try:
        return look()
    except Exception as error:
        title = look.__name__.removeprefix("_")
        told = f"{title}: {type(error).__name__} ({' '.join(str(error).split())[:200]}); install this package anew"
        return Section(title, {}, (told,))


def _versions() -> Section:
    rows = {
        "glipv2": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    problems = []
    for library in core_libraries():
        found = installed(library)
        rows[library] = found or "missing"
        if found is None:
            problems.append(f"{library} is not installed; pip install glipv2")
    if rows.get("pytorch-lightning") in REFUSED:
        problems.append("this pytorch-lightning may carry malware; pip install --upgrade pytorch-lightning")
    return Section("versions", rows, tuple(problems))


def _devices() -> Section:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    capability = torch.backends.cpu.get_cpu_capability()
    rows = {"cpu": f"{cores} cores, {torch.get_num_threads()} threads, {capability}"}
    problems = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        rows[f"cuda:{index}"] = (
            f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, capability {facts.major}.{facts.minor}"
        )
    if torch.backends.mps.is_available():
        rows["mps"] = "here"
    rows["torch built for CUDA"] = str(torch.version.cuda or "no")
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        problems.append(
            "there is an NVIDIA driver, but torch sees no GPU; update the driver, or install the torch that suits it"
        )
    for name in VARIABLES:
        if name in os.environ:
            rows[name] = os.environ[name] if PLAIN.fullmatch(os.environ[name]) else "set"
    return Section("devices", rows, tuple(problems))


def _kernels() -> Section:
    import torch

    try:
        suppression = _suppression()
    except Exception as error:  # a mismatched pair fails in many ways
        told = (
            f"torchvision does not go with this torch ({type(error).__name__}); pip install --upgrade torch torchvision"
        )
        return Section("kernels", {"suppression": "broken"}, (told,))
    from glipv2.kernels import Sampling, folding_is_cheaper
    from glipv2.precision import resolved_precision

    kinds = [kind for kind, there in (("cpu", True), ("cuda", torch.cuda.is_available())) if there]
    kinds += ["mps"] if torch.backends.mps.is_available() else []
    folded = sum(folding_is_cheaper(GLIP_T_POSITIONS, tokens, **GLIP_T) for tokens in range(1, TEXT_LIMIT + 1))
    ways = {Sampling.GATHER: "gathered rows", Sampling.TORCHVISION: "torchvision's operator"}
    rows = {
        "fusion": f"folded onto the text where that is cheaper: in GLIP-T up to {folded} of {TEXT_LIMIT} tokens",
        "suppression": suppression,
        "compiling (compile=inductor)": "possible" if _compiler() else "no C++ compiler; everything else works",
    }
    for kind in kinds:
        way = Sampling.AUTO.on(torch.device(kind))
        rows[f"deformable convolution on {kind}"] = ways.get(way, way.value)
        rows[f"precision=auto on {kind}"] = resolved_precision("auto", kind)
    return Section("kernels", rows)


def _suppression() -> str:
    """Whose operator it is, after it was tried. Importing torchvision takes as long as importing torch."""
    import torch

    found = find_spec("torchvision")
    libraries = sorted(Path(found.origin).parent.glob("_C*")) if found is not None and found.origin else []
    if not libraries:  # laid out as in no release so far
        import torchvision  # noqa: F401
    else:
        torch.ops.load_library(libraries[0])
    built_for = str(torch.ops.torchvision._cuda_version())  # 13020 for 13.2, -1 without CUDA
    if built_for != "-1" and torch.version.cuda and built_for[:2] != torch.version.cuda.partition(".")[0]:
        raise RuntimeError("torch and torchvision are built for different versions of CUDA")
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]])
    return "torchvision" if len(torch.ops.torchvision.nms(boxes, torch.ones(2), 0.5)) == 1 else "wrong"


def _compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX") or "c++", "g++", "clang++"))


def _extras() -> Section:
    rows = {}
    for extra in extras():
        lacking = f"missing {', '.join(extra.missing)}: {extra.command}" if extra.missing else "here"
        rows[extra.name] = f"{lacking} ({extra.purpose})" if extra.missing and extra.purpose else lacking
        if extra.name == "meteor" and not extra.missing and not shutil.which("java"):
            rows[extra.name] = "here, but no Java runtime: METEOR can't be computed"
    return Section("extras", rows)


def _tracking() -> Section:
    rows = {"W&B": "offline by default; tracking=online or tracking=off change it"}
    if mode := os.environ.get("WANDB_MODE"):
        rows["WANDB_MODE"] = mode if PLAIN.fullmatch(mode) else "set"
    return Section("tracking", rows)


def _hub() -> Section:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    from huggingface_hub import constants

    token = any(os.environ.get(name) for name in TOKENS) or Path(constants.HF_TOKEN_PATH).is_file()
    own = constants.ENDPOINT.rstrip("/") != "https://huggingface.co"
    rows = {
        "address": "an own one (HF_ENDPOINT)" if own else "the public one",
        "token": "set" if token else "none; needed for glipv2 push and for private models",
    }
    if constants.HF_HUB_OFFLINE:
        rows["reachable"] = "not tried: HF_HUB_OFFLINE is set"
        return Section("hub", rows)
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=PATIENCE).close()
        rows["reachable"] = "yes"
    except HTTPError:
        rows["reachable"] = "yes"  # it answered, if only with a refusal
    except (OSError, ValueError):
        rows["reachable"] = "no; local files work, hf:// addresses only where they were fetched before"
    return Section("hub", rows)


def _in_background(look: Callable[[], Section]) -> Callable[[], Section]:
    """Begins to look; what is given waits no longer than the patience: name look-ups know no time-out."""
    found: list[Section] = []
    thread = threading.Thread(target=lambda: found.append(_tried(look)), daemon=True)
    thread.start()

    def result() -> Section:
        thread.join(PATIENCE)
        return found[0] if found else Section("hub", {"reachable": f"no answer within {PATIENCE:g} s"})

    return result


def _scrubbed(section: Section) -> Section:
    """Without home folder and user name, should a library's message hold them."""
    return Section(
        section.title,
        {name: scrubbed(value) for name, value in section.rows.items()},
        tuple(scrubbed(problem) for problem in section.problems),
    )


def scrubbed(text: str) -> str:
    """A text without absolute paths."""
    return re.sub(r"(?<![\w:/])(?:[A-Za-z]:\\|/)(?:[^\s'\",;:()]+)", "PATH", text)


def as_json(sections: list[Section]) -> dict[str, Any]:
    """Everything by title, and the problems of all."""
    told: dict[str, Any] = {section.title: dict(section.rows) for section in sections}
    return {**told, "problems": [problem for section in sections for problem in section.problems]}
