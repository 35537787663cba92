"""What is said of single names: as they are spoken, words around them, and knowledge from files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from glipv2.errors import UserError, nearest
from glipv2.structures import Vocabulary


@dataclass(frozen=True)
class Wording:
    """How one name is asked for: prefix + name + suffix, of which only the name stands for the object.

    prefix and suffix bring their own spaces. name: replaces the spoken name, and is not cleaned.
    """

    prefix: str = ""
    name: str | None = None
    suffix: str = ""


def spoken_name(name: str) -> str:
    """A category name as it is read: without brackets and underscores, as the released code cleans it."""
    plain = re.sub(r"\(.*?\)", "", name).replace("_", " ")
    return re.sub(r"\s+", " ", plain).strip() or name


def wordings_in(content: Any, vocabulary: Vocabulary) -> dict[str, Wording]:
    """Wordings by name, from a mapping of names or from a list as ODinW's CAPTION_PROMPT.

    The entries of a list that all speak of names are taken by their names. Otherwise they belong to the
    names in order, and must be as many. Raises UserError for what is neither, for a list in another order
    and for names that are not in the vocabulary.
    """
    if isinstance(content, Mapping):
        found = {str(name): _wording(value, f"'{name}'") for name, value in content.items()}
        for name in found:
            vocabulary.label_of_name(name)
        return found
    if not isinstance(content, Sequence) or isinstance(content, str):
        raise UserError(f"expected wordings by name, or a list of them, but got {type(content).__name__}")
    return _listed_wordings([_wording(value, f"entry {index}") for index, value in enumerate(content)], vocabulary)


def _listed_wordings(wordings: Sequence[Wording], vocabulary: Vocabulary) -> dict[str, Wording]:
    names = vocabulary.names
    spoken = [spoken_name(wording.name or "") for wording in wordings]
    by_spoken = {spoken_name(name): name for name in names}
    distinct = len(by_spoken) == len(names) and len(set(spoken)) == len(spoken)
    if distinct and set(spoken) <= set(by_spoken):
        return {by_spoken[name]: wording for name, wording in zip(spoken, wordings, strict=True)}
    if len(wordings) != len(names):
        raise UserError(f"a list of {len(wordings)} wordings for {len(names)} names; give them by name: NAME: {{...}}")
    for said, name in zip(spoken, names, strict=True):
        if said in by_spoken and said != spoken_name(name):
            raise UserError(
                f"'{said}' stands at the place of '{name}': another order; give them by name: NAME: {{...}}"
            )
    return dict(zip(names, wordings, strict=True))


def read_wordings(path: str) -> Any:
    """What `wordings_in` takes, from JSON or YAML or from a released ODinW config (DATASETS.CAPTION_PROMPT)."""
    content = _read_plain(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("DATASETS"), Mapping):
        return content
    prompts = content["DATASETS"].get("CAPTION_PROMPT")
    return _parsed(prompts, path) if isinstance(prompts, str) else prompts


def read_knowledge(path: str) -> dict[str, str]:
    """A sentence by name, from JSON or YAML: texts by name, or records as in the released knowledge files.

    A record (by name, or in a list) has def_wiki, or else the first of gpt3 is taken; it is found by its
    key, `name` and `clean_name`. Records without a text are left out. UserError for anything else.
    """
    content = _read_plain(path)
    if isinstance(content, Mapping):
        pairs = [(str(name), value) for name, value in content.items()]
    elif isinstance(content, list) and all(isinstance(value, Mapping) for value in content):
        pairs = [("", value) for value in content]
    else:
        raise UserError(f"{path}: expected texts or records by name, or a list of records")
    found: dict[str, str] = {}
    for key, value in pairs:
        text = re.sub(r"\s+", " ", _sentence(value, f"{path}: '{key}'")).strip(" .,;:")
        aliases = [key, *(str(value.get(part) or "") for part in ("name", "clean_name") if isinstance(value, Mapping))]
        for name in map(str.strip, aliases):
            if name and text:
                found.setdefault(name, text)
    return found


def _sentence(value: Any, place: str) -> str:
    if isinstance(value, Mapping):
        texts = value.get("gpt3") or [""]
        value = value.get("def_wiki") or (texts if isinstance(texts, str) else texts[0])
    if not isinstance(value, str):
        raise UserError(f"{place} is {type(value).__name__}; expected a text, or a record with def_wiki or gpt3")
    return value


def _wording(value: Any, place: str) -> Wording:
    if isinstance(value, Wording):
        return value
    known = [entry.name for entry in fields(Wording)]
    if not isinstance(value, Mapping):
        raise UserError(f"{place}: expected {', '.join(known)}, but got {value!r}")
    for key, text in value.items():
        if key not in known:
            raise UserError(f"{place}: '{key}' is unknown; {nearest(str(key), known)}")
        if not isinstance(text, str) and not (key == "name" and text is None):
            raise UserError(f"{place}: {key} is {text!r}, expected a text")
    return Wording(**value)


def _read_plain(path: str) -> Any:
    try:
        text = Path(path).expanduser().read_text("utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read as a text ({error})") from None
    return _parsed(text, path)


def _parsed(text: str, path: str) -> Any:
    """JSON or YAML; the second also takes the trailing commas of the released lists."""
    import yaml

    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is neither JSON nor YAML: {' '.join(str(error).split())[:160]}") from None
