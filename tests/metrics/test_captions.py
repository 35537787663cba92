"""Claims about captions: BLEU, ROUGE-L and CIDEr-D done by hand, and the tokens they are counted on."""

from __future__ import annotations

import math

import pytest

from glipv2.errors import UserError
from glipv2.metrics.caption_tokens import tokenised
from glipv2.metrics.captions import CaptionScores, caption_scores, common_length, rouge_l, token_scores
from glipv2.structures.truth import CaptionTruth


def scored(*pairs: tuple[str, tuple[str, ...]]) -> CaptionScores:
    truth = [CaptionTruth(index, known) for index, (_, known) in enumerate(pairs)]
    return caption_scores([found for found, _ in pairs], truth)


OTHER = ("two men ride", ("two men ride",))


def test_bleu_counts_words_at_most_as_often_as_a_reference_has_them() -> None:
    scores = scored(("the the the the", ("the cat the",)))
    assert scores.bleu_1 == pytest.approx(2 / 4)
    assert scores.bleu_2 == pytest.approx(0, abs=1e-7)


def test_bleu_is_penalised_for_brevity_against_the_nearest_length() -> None:
    assert scored(("a b", ("a b c d",))).bleu_1 == pytest.approx(math.exp(1 - 4 / 2))
    assert scored(("a b c d e f", ("a b c d e", "a b c d e f g"))).bleu_1 == pytest.approx(1)  # a tie: the shorter
    assert scored(("a b c", ("a b c", "a b c d e f"))).bleu_3 == pytest.approx(1)


def test_bleu_is_of_the_corpus_and_not_a_mean_over_images() -> None:
    assert scored(("a b c d", ("a b c d",)), ("x", ("y",))).bleu_1 == pytest.approx(4 / 5)


def test_rouge_takes_best_precision_and_best_recall_maybe_of_two_references() -> None:
    precision, recall = 2 / 3, 1.0
    f = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert rouge_l(["a", "b", "c"], [["a", "b", "x", "y"], ["c"]]) == pytest.approx(f)
    assert rouge_l(["a", "b"], [["c", "d"]]) == 0


def test_the_longest_common_subsequence_is_that_of_the_table() -> None:
    def by_table(first: str, second: str) -> int:
        row = [0] * (len(second) + 1)
        for one in first:
            above = list(row)
            for place, other in enumerate(second, 1):
                row[place] = above[place - 1] + 1 if one == other else max(above[place], row[place - 1])
        return row[-1]

    words = ["", "a", "abc", "abcbdab", "bdcaba", "aaaa", "cabacabadabacaba" * 5, "dabcad" * 9]
    for first in words:
        for second in words:
            assert common_length(list(first), list(second)) == by_table(first, second), (first, second)


def test_cider_of_equal_captions_is_ten_and_of_one_image_nothing() -> None:
    assert scored(("a red dog on it", ("a red dog on it",)), ("two men ride it", ("two men ride it",))).cider_d == 10
    assert scored(("a red dog on it", ("a red dog on it",))).cider_d == 0  # every n-gram is in all images


def test_cider_forgives_little_difference_in_length_and_averages_references() -> None:
    images = [("a b", ("a b c d e f g h", "z")), OTHER]
    (every, first, _) = token_scores([found for found, _ in images], [known for _, known in images])
    norm = {order: math.sqrt(9 - order) for order in (1, 2)}  # of the long reference, in units of log 2
    cosine = (2 / (norm[1] * math.sqrt(2)) + 1 / norm[2]) / 4
    assert first.cider_d == pytest.approx(10 * cosine * math.exp(-(6**2) / 72) / 2)
    assert every.cider_d == pytest.approx((first.cider_d + 10 * 3 / 4) / 2)  # OTHER has no run of four words


def test_an_empty_caption_scores_nothing_and_hurts_no_other() -> None:
    whole = scored(("", ("a cat sits here",)), ("two men ride on", ("two men ride on",)))
    assert whole.cider_d == 5
    assert whole.rouge_l == 0.5
    assert scored(("...", ("a cat",)), OTHER).rouge_l == 0.5


def test_an_image_without_captions_is_refused() -> None:
    with pytest.raises(UserError, match="image 0 has no caption to compare with"):
        scored(("a", ()))


def test_the_logged_names() -> None:
    names = ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d"]
    assert list(scored(OTHER).flat("captions")) == [f"captions/{name}" for name in names]


# Tokens


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ("A man's dog, the dogs' bowls.", "a man 's dog the dogs bowls"),
        ("I can't; they're gonna", "i ca n't they 're gon na"),
        ("DON'T it\N{RIGHT SINGLE QUOTATION MARK}s", "do n't it 's"),
        ("cannot gimme", "can not gim me"),
        ("(very big) [x] {y}", "-lrb- very big -rrb- -lsb- x -rsb- -lcb- y -rcb-"),
        ('says "STOP 48"!', "says stop 48"),
        ("a -- b - c … d... e–f", "a b c d e f"),
        ("wow!!! really?! no!", "wow !!! really ?! no"),
        ("Mr. Dog's ave. and blvd. etc.", "mr. dog 's ave. and blvd. etc."),
        ("No. 9 says no. Art. 3 of art.", "no. 9 says no art. 3 of art"),
        ("At 3:31 a.m. in the U.S.A. on t.v.", "at 3:31 a.m. in the u.s.a. on t.v."),
        ("1,014.5 lbs. for $41.50 or 49% off", "1,014.5 lbs for $ 41.50 or 49 % off"),
        ("£39, €72, ½, 23 3/4", "# 39 $ 72 1/2 23\N{NO-BREAK SPACE}3/4"),
        ("1st 4x4 46-year-old wi-fi 11/01/2009", "1st 4x4 46-year-old wi-fi 11/01/2009"),
        ("at 8:00pm, 9:30a.m. -5", "at 8:00 pm 9:30 a.m. -5"),
        ("and/or kite/horse", "and/or kite/horse"),
        ("a@b.example at http://a.example/x?y=1.", "a@b.example at http://a.example/x?y=1"),
        ("#clock @ #9 snake_case", "#clock @ # 9 snake_case"),
        ("<b>bold</b>", "<b> bold </b>"),
        ("O'Neill at 5 o'clock rock 'n' roll", "o'neill at 5 o'clock rock 'n' roll"),
        ("B&B, R+B & b&w", "b&b r+b & b & w"),
        ("a café, naïve", "a café naïve"),
        (" two\nlines ", "two lines"),
        ("\N{CAT FACE} meows", "meows"),
        ("end.Start of the CD", "end.start of the cd"),
        ("?", ""),
        ("", ""),
    ],
)
def test_tokens(caption: str, tokens: str) -> None:
    assert tokenised([caption]) == [tokens]


def test_a_letter_keeps_its_period_unless_a_sentence_begins_after_it() -> None:
    assert tokenised(["c, d. e"]) == ["c d. e"]
    assert tokenised(["platform B. The train"]) == ["platform b the train"]
    assert tokenised(["platform B.", "The train"]) == ["platform b", "the train"]
    assert tokenised(["platform B.", "Thetrain"]) == ["platform b.", "thetrain"]
    assert tokenised(["platform B."]) == ["platform b."]
    assert tokenised([]) == []


def test_long_captions_are_read_in_no_time() -> None:
    for text in ("a" * 20_000, "a." * 10_000, "a-" * 10_000, "1," * 10_000, "'" * 20_000, "<a" * 10_000):
        assert len(tokenised([text])) == 1
