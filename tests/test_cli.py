"""Claims about the command: what is wrong is said in one line, with the nearest right name, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hydra.core.config_store import ConfigStore

from glipv2.arguments import quoted
from glipv2.config import config_folder, experiment_files
from glipv2.data.dataset import DataConfig

Command = Callable[..., Any]


def refused(glipv2: Command, folder: Path, *words: str) -> str:
    """The one line that a command with these words ends with; it leaves nothing behind."""
    ended = glipv2(folder, *words)
    assert ended.code == 2, ended
    lines = ended.err.splitlines()
    assert len(lines) == 1, ended.err
    assert folder.is_dir()
    assert list(folder.iterdir()) == []
    return lines[0].removeprefix("error: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("optim.lrr=1", "unknown key 'optim.lrr'; did you mean 'optim.lr'?"),
        ("trainer.max_stpes=5", "unknown key 'trainer.max_stpes'; did you mean 'trainer.max_steps'?"),
        ("data.prompts.max_nmaes=5", "unknown key 'data.prompts.max_nmaes'; did you mean 'data.prompts.max_names'?"),
        ("modle=nano", "unknown key 'modle'; did you mean 'model'?"),
        ("zzz=1", "unknown key 'zzz'; --cfg job shows every key"),
        ("+optim.lrr=1", "unknown key 'optim.lrr'; did you mean 'optim.lr'?"),
        ("+zzz=1", "unknown key 'zzz'; --cfg job shows every key"),
        (
            "trainer.options.deterministic=true",
            "unknown key 'trainer.options.deterministic'; trainer.options takes any name, "
            "with a plus before a new one: +trainer.options.deterministic=VALUE",
        ),
    ],
)
def test_a_misspelt_key_comes_with_the_nearest_one(glipv2: Command, tmp_path: Path, words: str, message: str) -> None:
    assert refused(glipv2, tmp_path, "train", words) == message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("optim.lr=abc", "optim.lr: Value 'abc' of type 'str' could not be converted to Float"),
        ("trainer.max_steps=1.5", "trainer.max_steps: Value '1.5' of type 'float' could not be converted to Integer"),
        ("data.augment=3", "data.augment"),
        ("seed=", "seed: Value '' of type 'str' could not be converted to Integer"),
    ],
)
def test_a_value_of_a_wrong_type_names_its_key(glipv2: Command, tmp_path: Path, words: str, message: str) -> None:
    assert refused(glipv2, tmp_path, "train", words).startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("model=glip_x", "model=glip_x: no such preset; did you mean 'glip_t'?"),
        ("task=detecton", "task=detecton: no such preset; did you mean 'detection'?"),
        ("experiment=shapes_detecton_nano", "no such preset; did you mean 'shapes_detection_nano'?"),
        ("optim.schedule=cosin", "optim.schedule: no schedule 'cosin'; did you mean 'cosine'?"),
        ("tracking.mode=offlin", "tracking.mode: no mode 'offlin'; did you mean 'offline'?"),
        ("split=vall", "split 'vall' is unknown to this data set; did you mean 'val'?"),
        ("also_evaluate=[unsen]", "split 'unsen' is unknown to this data set; did you mean 'unseen'?"),
        ("trainer.precision=bf17", "trainer: Lightning refuses these settings: Precision 'bf17' is invalid."),
        ("trainer.accelerator=gpuu", "trainer: Lightning refuses these settings"),
        ("+trainer.options.foo=1", "trainer: Lightning refuses these settings"),
        (
            "model.image.backbone=resnet118",
            "model.image.backbone: timm has no model 'resnet118'; did you mean 'resnet1",
        ),
        ("data.image_size=10", "data.image_size: expected at least 64, but got 10"),
        ("data=coco", "task=detection needs boxes; set data.train.annotations and data.train.images"),
        ("weights=/no/where", "weights=/no/where: no such file or run folder"),
        ("resume=/no/where", "resume=/no/where: no run is there; expected a folder with config.yaml in it"),
    ],
)
def test_a_value_that_can_not_work_is_refused_before_the_run(
    glipv2: Command, tmp_path: Path, words: str, message: str
) -> None:
    assert message in refused(glipv2, tmp_path, "train", words)


WORDS_OF = {
    "train": ("split=vall",),  # would be refused in any case, but with other words
    "evaluate": ("weights=nowhere",),
    "predict": ("weights=nowhere", "images=nowhere", "text=a dog."),
}


@pytest.mark.parametrize("command", WORDS_OF)
@pytest.mark.parametrize("sweep", [(), ("-m",)], ids=["run", "sweep"])
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("=1", "expected KEY=VALUE or GROUP=PRESET, but got '=1'"),
        ("+", "expected KEY=VALUE or GROUP=PRESET, but got '+'"),
        ("~", "expected KEY=VALUE or GROUP=PRESET, but got '~'"),
        ("data", "expected KEY=VALUE or GROUP=PRESET, but got 'data'"),
        ("a b=1", "expected KEY=VALUE, but 'a b' in 'a b=1' is no key"),
        ("data..x=1", "expected KEY=VALUE, but 'data..x' in 'data..x=1' is no key"),
        ("split=a=b", "can't read 'split=a=b': a value with such characters needs quotes"),
        ("split=é", "needs quotes within quotes, \"split='é'\""),
        ("data.x=[1,2", "can't read 'data.x=[1,2': its brackets and quotes must close"),
        ("split='val", "can't read 'split='val': its brackets and quotes must close"),
        ("--fast", "unrecognized arguments: --fast; glipv2 {command} --help shows what it takes"),
        ("--cfg", "argument --cfg/-c: expected one argument"),
        ("--resolve", "--resolve goes with --cfg"),
        ("hydra=1", "must be a string"),
    ],
)
def test_words_that_no_grammar_reads_are_told_in_one_line(
    glipv2: Command, tmp_path: Path, command: str, sweep: tuple[str, ...], word: str, message: str
) -> None:
    told = refused(glipv2, tmp_path, command, *sweep, *WORDS_OF[command], word)
    assert message.format(command=command) in told


@pytest.mark.parametrize("word", ["optim=1", "data=null", "experiment=null", "model=1.5", "task=true"])
def test_a_group_takes_the_name_of_a_preset(glipv2: Command, tmp_path: Path, word: str) -> None:
    assert refused(glipv2, tmp_path, "train", word) == f"{word}: expected the name of a preset; --help lists them"
    if not word.startswith("task="):  # for predict it is the name of a task
        assert refused(glipv2, tmp_path, "predict", word).startswith(f"{word}: it is a key of glipv2 train")


@pytest.mark.parametrize("group", ["model", "task", "data"])
def test_no_training_is_without_a_preset_of_a_group(glipv2: Command, tmp_path: Path, group: str) -> None:
    told = refused(glipv2, tmp_path, "train", f"~{group}")
    assert told == f"~{group}: no training is without a preset of {group}; {group}=NAME takes another"


def test_several_values_want_a_sweep_or_quotes(glipv2: Command, tmp_path: Path) -> None:
    assert refused(glipv2, tmp_path, "train", "name=a,b") == (
        "name=a,b: several values are swept over with -m; as one text they need quotes, \"name='a,b'\""
    )
    shown = glipv2(tmp_path, "train", "--cfg", "job", "name='a,b'")
    assert "name: a,b" in shown.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "text=a dog."), "unknown key 'text'; it is a key of glipv2 predict"),
        (("predict", "split=val"), "unknown key 'split'; it is a key of glipv2 train and evaluate"),
        (("predict", "model=nano"), "unknown key or group 'model'; it is a key of glipv2 train"),
        (("train", "data.val.annotations=x"), "unknown key 'data.val'; the chosen data has none"),
    ],
)
def test_a_key_of_another_command_or_preset_is_told_as_such(
    glipv2: Command, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    assert refused(glipv2, tmp_path, *words) == message


def test_options_may_stand_between_keys(glipv2: Command, tmp_path: Path) -> None:
    shown = glipv2(tmp_path, "train", "optim.lr=0.125", "--cfg", "job", "seed=7")
    assert "seed: 7" in shown.out
    assert "lr: 0.125" in shown.out


def test_an_interpolation_that_leads_nowhere_is_one_line(glipv2: Command, tmp_path: Path) -> None:
    for words in (("train", "output=${nope}"), ("predict", *WORDS_OF["predict"], "output=${nope}")):
        assert "Interpolation key 'nope' not found" in refused(glipv2, tmp_path, *words)


@pytest.mark.parametrize(
    "words",
    [
        ("modle=nano,small",),  # no job composes
        ("seed=x,y",),  # the first does not
        ("seed=1,x",),  # the second does not
        ("split=vall", "seed=1,2"),  # the first composes and is refused
        ("split=vall", "name=a,b"),  # and would have had a folder of its own
        ("split=vall", "output=${nope}"),
    ],
)
def test_a_sweep_whose_first_job_is_refused_leaves_nothing(
    glipv2: Command, tmp_path: Path, words: tuple[str, ...]
) -> None:
    refused(glipv2, tmp_path, "train", "-m", *words)


def test_sweeps_of_other_commands_leave_no_folder_of_their_own(glipv2: Command, tmp_path: Path) -> None:
    refused(glipv2, tmp_path, "evaluate", "-m", "weights=nowhere", "split=val,unseen")
    refused(glipv2, tmp_path, "predict", "-m", *WORDS_OF["predict"], "threshold=0.1,0.2")


def test_a_refusal_spares_the_folder_it_was_given_and_the_one_it_ran_in(glipv2: Command, tmp_path: Path) -> None:
    assert refused(glipv2, tmp_path, "train", "output=deep/er/run", "split=vall")
    (tmp_path / "kept").mkdir()
    assert glipv2(tmp_path, "train", "output=kept/run", "split=vall").code == 2
    assert list((tmp_path / "kept").iterdir()) == []
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "notes.txt").touch()
    assert glipv2(tmp_path, "train", "split=vall").code == 2
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["notes.txt"]


@dataclass
class CaptionsOnly(DataConfig):
    """A data set without boxes."""

    provides: ClassVar[frozenset[str]] = frozenset({"captions"})


@pytest.fixture
def captions_only() -> Iterator[None]:
    """`data=captions_only` for one test."""
    store = ConfigStore.instance()
    store.store(group="data", name="captions_only", node=CaptionsOnly)
    yield
    del store.repo["data"]["captions_only.yaml"]


def test_a_task_and_data_that_can_not_work_together_are_refused(
    glipv2: Command, tmp_path: Path, captions_only: None
) -> None:
    message = refused(glipv2, tmp_path, "train", "data=captions_only")
    assert message == (
        "task=detection needs boxes, which CaptionsOnly does not provide "
        "(it provides captions); choose another data= or task="
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tran",), "no command 'tran'; did you mean 'train'?"),
        (("evaluate",), "weights is not set; give it as weights=VALUE"),
        (("evaluate", "weights=/no/where"), "weights=/no/where: no such file or run folder"),
        (("evaluate", "weigths=x"), "unknown key 'weigths'; did you mean 'weights'?"),
        (("predict", "weights=x"), "images is not set; give it as images=VALUE"),
        (("predict", "weights=x", "images=y"), "'y' does not exist"),
        (("predict", "weights=x", "images=/no/where", "text=a dog."), "/no/where"),
        (("report", "nowhere"), "expected the folder of a run, but 'nowhere' does not exist"),
    ],
)
def test_the_other_commands_refuse_in_one_line_too(
    glipv2: Command, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in refused(glipv2, tmp_path, *words)


def test_each_command_shows_its_help_and_its_config_without_running(glipv2: Command, tmp_path: Path) -> None:
    for command in ("train", "evaluate", "predict"):
        shown = glipv2(tmp_path, command, "--help")
        assert (shown.code, shown.err) == (0, "")
        assert f"glipv2 {command}" in shown.out
    shown = glipv2(tmp_path, "train", "--help", "optim.lr=0.125", "-m")
    assert "    lr: 0.125" in shown.out
    presets = [path.stem for group in ("model", "task") for path in (config_folder() / group).glob("*.yaml")]
    assert all(f"\n    {name} " in shown.out for name in (*presets, *experiment_files()))
    assert refused(glipv2, tmp_path, "train", "--help", "optim.lrr=1").startswith("unknown key 'optim.lrr'")
    config = glipv2(tmp_path, "train", "--cfg", "job", "optim.lr=0.125")
    assert "lr: 0.125" in config.out
    assert list(tmp_path.iterdir()) == []


def test_a_task_is_chosen_by_its_name_in_predict_too(glipv2: Command, tmp_path: Path) -> None:
    shown = glipv2(tmp_path, "predict", "--cfg", "job", "task=instance_segmentation", "weights=w", "images=i")
    assert "task_name: instance_segmentation" in shown.out


@pytest.mark.parametrize(
    ("argument", "passed"),
    [
        ("text=a dog. it's 5, (big)", r"text='a dog. it\'s 5, (big)'"),
        ("images=/photos/a,b=c.jpg", "images='/photos/a,b=c.jpg'"),
        ("data.val.annotations=C:\\x\\y z.json", r"data.val.annotations='C:\x\y z.json'"),
        ("weights=C:\\runs\\", r"weights='C:\runs\\'"),
        ("task.weights={vqa: 1}", "task.weights={vqa: 1}"),
        ("weights='quoted already'", "weights='quoted already'"),
        ("text='tis a dog.", r"text='\'tis a dog.'"),
        ("text='a' and 'b'", r"text='\'a\' and \'b\''"),
        ("output=${name}/x", "output=${name}/x"),
        ("resume=null", "resume=null"),
        ("data.path=exports/labels (1).json", "data.path='exports/labels (1).json'"),
        ("before=run=3/x.ckpt", "before='run=3/x.ckpt'"),
        ("data.train.path=10.json,all.json", "data.train.path=10.json,all.json"),
        ("data.path=data,old/", "data.path='data,old/'"),
        ("optim.lr=0.1,0.2", "optim.lr=0.1,0.2"),
        ("text=", "text="),
        ("-m", "-m"),
    ],
)
def test_paths_and_sentences_need_no_quotes(
    argument: str, passed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data,old").mkdir()  # what is there is no two values of a sweep
    assert quoted(argument) == passed


@pytest.mark.parametrize(
    "text",
    [
        "a dog's toy, (red): {1} [2] ~x $5",
        "große Straße. 猫.",
        "5",
        "null and void",
        "1,2",
        "a=b, 'c' \"d\"",
        r"C:\scans\new",
        r"\\server\share" + "\\",
        "it's\\",
        "'",
        "'half",
        '"',
        " spaces ",
    ],
)
def test_any_sentence_reaches_the_command_as_it_was_typed(glipv2: Command, tmp_path: Path, text: str) -> None:
    shown = glipv2(tmp_path, "predict", "--cfg", "job", f"text={text}", "weights=w", "images=i")
    import yaml

    assert (shown.code, shown.err) == (0, "")
    assert yaml.safe_load(shown.out)["text"] == text
