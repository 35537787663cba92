"""Completion in shells: what may stand next in a line that begins with `glipv2`, within a moment and without torch.

Hydra completes too, but has to import every schema first, which takes seconds at each press of a key. Presets are
files, and the keys stand in the sources of the schemas: they are read, not run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from glipv2.errors import UserError, nearest

HERE = Path(__file__).parent
COMPOSED = {"train": "TrainConfig", "evaluate": "EvaluateConfig", "predict": "PredictConfig"}
OPTIONS = ("--cfg", "--help", "--multirun")
WORDS = {
    "finetune": ("data=", "weights=", "keep=", "images=", "output=", "task=", "tune=", "--plan", "--help"),
    "demo": ("weights=", "host=", "port=", "device=", "threshold=", "open=true", "--help"),
    "export": ("weights=", "--output", "--names", "--torch", "--tolerance", "--help"),
    "plan": ("model=", "task=", "data=", "tune=", "trainer.precision=", "--help"),
    "data": ("check", "preview", "convert", "pack", "label", "benchmark", "--help"),
    "weights": ("import", "info", "--help"),
    "push": ("weights=", "repo=", "licence=", "private=", "output=", "--help"),
    "doctor": ("--json", "--help"),
    "completion": ("bash", "zsh", "fish"),
}
COMMANDS = (*COMPOSED, "serve", "report", *WORDS)
LISTED = ("data", "weights", "completion", "doctor")  # commands whose first word is one of a list
SCRIPTS = {
    "bash": """\
# source <(glipv2 completion bash), in ~/.bashrc to keep it
_glipv2() {
    local line="${COMP_LINE:0:COMP_POINT}" found
    local word="${line##*[[:space:]]}" begun=""
    [[ $word == *=* && $COMP_WORDBREAKS == *=* ]] && begun="${word%=*}="
    COMPREPLY=()
    while IFS= read -r found; do COMPREPLY+=("${found#"$begun"}"); done < <(glipv2 complete "$line" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/.] ]] && compopt -o nospace
    return 0
}
complete -F _glipv2 glipv2
""",
    "zsh": """\
# source <(glipv2 completion zsh), after compinit in ~/.zshrc to keep it
_glipv2() {
    local -a found open closed
    found=("${(@f)$(glipv2 complete "$LBUFFER" 2>/dev/null)}")
    open=(${(M)found:#*[=/.]}) closed=(${found:#*[=/.]})
    (( $#open )) && compadd -Q -S '' -a open
    (( $#closed )) && compadd -Q -a closed
}
compdef _glipv2 glipv2
""",
    "fish": """\
# glipv2 completion fish | source, in ~/.config/fish/config.fish to keep it
complete -c glipv2 -f -a '(glipv2 complete (commandline -cp) 2>/dev/null)'
""",
}


def script(shell: str) -> str:
    """What a shell has to source; UserError for another shell."""
    if shell not in SCRIPTS:
        raise UserError(f"no completion for '{shell}'; {nearest(shell, SCRIPTS)}")
    return SCRIPTS[shell]


def candidates(line: str) -> list[str]:
    """Words that the last one of a line up to the cursor may become, as whole words."""
    words = line.split()
    word = words.pop() if line[-1:].strip() else ""
    if len(words) < 2:
        return [name for name in COMMANDS if name.startswith(word)] if words else []
    key, separator, value = word.partition("=")
    if separator:
        return [f"{key}={found}" for found in _values(words[1], key, value)]
    return sorted(found for found in _words(words[1], word, len(words) == 2) if found.startswith(word))


def _words(command: str, word: str, first: bool) -> list[str]:
    """first: no other word stands behind the command."""
    if command in COMPOSED:
        keys = keys_of(COMPOSED[command])
        here = [*(OPTIONS if word.startswith("-") else ()), *_groups(command), *keys]
        return _by_part([f"{name}=" for name in here if not name.startswith("-")], word) + [
            name for name in here if name.startswith("-")
        ]
    if command == "serve":
        return [*(f"{name}=" for name in keys_of("ServeConfig", "serving.settings")), "--help"]
    words = list(WORDS.get(command, ()))
    if any(known.endswith("=") for known in words) or (first and command in LISTED):
        return words
    return _paths(word) if command in COMMANDS else []


def _by_part(keys: list[str], word: str) -> list[str]:
    """Keys up to the next full stop after the word: hundreds at once help nobody."""
    depth = word.count(".")
    shown = set()
    for key in keys:
        parts = key.split(".")
        shown.add(".".join(parts[: depth + 1]) + ("." if len(parts) > depth + 1 else ""))
    return sorted(shown)


def _values(command: str, key: str, value: str) -> list[str]:
    """What may follow KEY=."""
    if key == "experiment":
        folders = (_shipped("experiments"), Path.cwd() / "experiments")
        names = {
            path.relative_to(folder).with_suffix("").as_posix() for folder in folders for path in folder.rglob("*.yaml")
        }
    elif command in (*COMPOSED, "finetune") and (_shipped("conf") / key).is_dir():
        names = {path.stem for path in (_shipped("conf") / key).glob("*.yaml")}
    elif key in ("task", "task_name"):
        names = {path.stem for path in (_shipped("conf") / "task").glob("*.yaml")}
    else:
        return _paths(value)
    return sorted(name for name in names if name.startswith(value))


def _paths(begun: str) -> list[str]:
    """Files and folders whose path begins so; a folder ends with a slash."""
    folder, _, name = begun.rpartition("/")
    place = Path(f"{folder}/").expanduser() if "/" in begun else Path()
    try:
        entries = sorted(place.iterdir())
    except OSError:
        return []
    shown = [one for one in entries if one.name.startswith(name) and (name or not one.name.startswith("."))]
    before = f"{folder}/" if "/" in begun else ""
    return [f"{before}{one.name}{'/' if one.is_dir() else ''}" for one in shown]


def _groups(command: str) -> list[str]:
    """Groups of presets that a command takes: keys of its schema that are folders of presets."""
    names = {path.name for path in _shipped("conf").iterdir() if path.is_dir() and path.name != "hydra"}
    own = {key.split(".")[0] for key in keys_of(COMPOSED[command])}
    return sorted(names & own) + (["experiment"] if command == "train" else [])


def _shipped(name: str) -> Path:
    return HERE / name if (HERE / name).is_dir() else HERE.parents[1] / name


def keys_of(schema: str, module: str = "config") -> list[str]:
    """Every dotted key of a command's schema, as `config.known_keys` gives them, but read from the sources."""
    keys = set(_keys(Definition.find(schema, module), ""))
    if module == "config":
        for group, parts in _alternatives().items():
            if group in keys:
                keys |= {key for part in parts for key in _keys(Definition.find(part, "config"), f"{group}.")}
    return sorted(keys)


@dataclass(frozen=True)
class Definition:
    """A class as it stands in the source of a module."""

    node: ast.ClassDef
    module: str

    @staticmethod
    def find(name: str, module: str) -> Definition:
        """Follows imports from a module to where a class is defined; AssertionError where it is not one of ours."""
        tree, origins = _module(module)
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return Definition(node, module)
        assert name in origins, f"{name} is neither defined nor imported in {module}"
        return Definition.find(name, origins[name])


def _keys(found: Definition, prefix: str) -> Iterator[str]:
    for base in found.node.bases:
        if isinstance(base, ast.Name) and base.id in _known(found.module):
            yield from _keys(Definition.find(base.id, found.module), prefix)
    for entry in found.node.body:
        if not isinstance(entry, ast.AnnAssign) or not isinstance(entry.target, ast.Name):
            continue
        if ast.unparse(entry.annotation).startswith("ClassVar"):
            continue
        yield prefix + entry.target.id
        made = re.search(r"default_factory=(\w+)\)", ast.unparse(entry.value)) if entry.value else None
        if made and made[1] in _known(found.module):
            yield from _keys(Definition.find(made[1], found.module), f"{prefix}{entry.target.id}.")


def _known(module: str) -> set[str]:
    """Classes of ours that a module defines or imports."""
    tree, origins = _module(module)
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)} | set(origins)


def _alternatives() -> Mapping[str, list[str]]:
    """The schemas by group, from the table in config.py."""
    tree, origins = _module("config")
    table = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "SCHEMAS"
    )
    assert isinstance(table, ast.Dict), "SCHEMAS is a dictionary of groups"
    return {
        str(ast.literal_eval(key)): [
            node.id for node in ast.walk(value) if isinstance(node, ast.Name) and node.id in origins
        ]
        for key, value in zip(table.keys, table.values, strict=True)
        if key is not None
    }


@cache
def _module(name: str) -> tuple[ast.Module, dict[str, str]]:
    """A module's source, and where the names that it imports from this package come from."""
    path = HERE / f"{name.replace('.', '/')}.py"
    path = path if path.is_file() else HERE / name.replace(".", "/") / "__init__.py"
    tree = ast.parse(path.read_text("utf-8"))
    origins = {
        alias.asname or alias.name: node.module.removeprefix("glipv2.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("glipv2.")
        for alias in node.names
    }
    return tree, origins


def told(arguments: list[str]) -> str:
    """What `glipv2 completion` prints: a shell's script, or how each is used."""
    if arguments and arguments[0] not in ("-h", "--help"):
        return script(arguments[0])
    lines = [f"usage: glipv2 completion {'|'.join(SCRIPTS)}", *(script(name).splitlines()[0] for name in SCRIPTS)]
    return "\n".join([*lines, ""])
