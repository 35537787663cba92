"""What the tasks' numbers are called, how they are spelled, and what each is held against."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A number that is known by name.

    share: lies in [0, 1] and is shown times 100, as papers print it; else it is shown as it is. chart: numbers
    with the same word share a chart, "" has none. place: where it stands among a task's headline numbers, 0 is
    the largest card, None is in the tables only. baselines: measures of what can be had without looking.
    """

    title: str
    chart: str = ""
    place: int | None = None
    share: bool = True
    baselines: tuple[str, ...] = ()
    meaning: str = ""


RECALL = (
    " is the share of phrases for which the best box, or one of the best five or ten, overlaps one of the phrase's"
    " own by half or more."
)
ACCURACY = (
    " is the mean agreement with people: an answer that three of ten gave counts in full. Beside it stands what a"
    " guess without looking at the picture gets, by the answer that is commonest over all questions or for each kind"
    " of question."
)
CIDER = (
    " compares the words of a caption with people's, rare words counting more; it goes from 0 to 10. Beside it stands"
    " what people's captions of another picture get. BLEU-4 and ROUGE-L (0 to 100) count shared words and their order."
)
MEAN = " is that of the tasks' main numbers, each as a share of the best value it can take, from 0 to 100."

MEASURES = {
    "mean": Measure("Mean over tasks", "Mean over tasks", 0, meaning=MEAN),
    "recall_1": Measure("Recall@1", "Recall of phrases", 0, meaning=RECALL),
    "recall_5": Measure("Recall@5", "Recall of phrases", 1),
    "recall_10": Measure("Recall@10", "Recall of phrases", 2),
    "upper_bound": Measure("Recall, all boxes"),
    "merged_recall_1": Measure("Recall@1 of merged boxes"),
    "merged_recall_5": Measure("Recall@5 of merged boxes"),
    "merged_recall_10": Measure("Recall@10 of merged boxes"),
    "merged_upper_bound": Measure("Recall, all merged boxes"),
    "accuracy": Measure(
        "Accuracy", "Accuracy", 0, baselines=("accuracy_majority", "accuracy_majority_by_kind"), meaning=ACCURACY
    ),
    "accuracy_majority": Measure("commonest answer", "Accuracy"),
    "accuracy_majority_by_kind": Measure("commonest by kind", "Accuracy"),
    "unknown_answers": Measure("questions without a known answer", share=False),
    "cider_d": Measure("CIDEr-D", "CIDEr-D", 0, share=False, baselines=("cider_d_other_scene",), meaning=CIDER),
    "cider_d_other_scene": Measure("other picture's caption", "CIDEr-D", share=False),
    "bleu_1": Measure("BLEU-1"),
    "bleu_2": Measure("BLEU-2"),
    "bleu_3": Measure("BLEU-3"),
    "bleu_4": Measure("BLEU-4", "BLEU-4 and ROUGE-L", 1),
    "rouge_l": Measure("ROUGE-L", "BLEU-4 and ROUGE-L", 2),
}

for _protocol, _words in (("any_box", "any box"), ("merged_box", "merged boxes")):  # both by their full names
    for _cut, _place in (("recall_1", 0), ("recall_5", 1), ("recall_10", 2), ("upper_bound", None)):
        MEASURES[f"{_protocol}_{_cut}"] = Measure(f"{MEASURES[_cut].title}, {_words}", place=_place)

TASK_TITLES = {"vqa": "Visual question answering"}  # where a name's own words would say too little


def task_title(task: str) -> str:
    """A task in human words: "Instance segmentation"."""
    return TASK_TITLES.get(task, task.replace("_", " ").capitalize())
