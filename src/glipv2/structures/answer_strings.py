"""Strings of answers as VQA v2's official script compares them."""

from __future__ import annotations

import re

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
PERIODS_REMOVED = 32  # the official script hands a flag of this value over as the count
COMMA_IN_NUMBER = re.compile(r"\d,\d", re.ASCII)
PERIOD = re.compile(r"\.(?!\d)", re.ASCII)
ARTICLES = frozenset({"a", "an", "the"})
DIGITS = "zero one two three four five six seven eight nine ten"
NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(DIGITS.split())}
# Contractions that are mended where one of their apostrophes is missing. Those of which the bare form is a
# word of its own (she'll, we're, I'd, it's) are not among them.
MENDED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
    he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
    needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
    somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll
    that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've
    we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's
    who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've
    you'll you're you've
"""
CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word for word in MENDED.split() for place, sign in enumerate(word) if sign == "'"
} | {"somebody'd": "somebodyd"}  # an oddity of the official table


def trimmed(text: str) -> str:
    """Without line breaks, tabs and blanks around it."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def normalised(text: str) -> str:
    """Without punctuation, capitals and articles, numbers in digits, apostrophes put back."""
    return with_plain_words(without_punctuation(text))


def without_punctuation(text: str) -> str:
    """The first step: a sign vanishes where it stands by a blank anywhere or a number has a comma, else it parts."""
    parted = text
    for sign in PUNCTUATION:
        vanishes = f"{sign} " in text or f" {sign}" in text or COMMA_IN_NUMBER.search(text)
        parted = parted.replace(sign, "" if vanishes else " ")
    return PERIOD.sub("", parted, count=PERIODS_REMOVED)


def with_plain_words(text: str) -> str:
    """The second step: lower case, digits, no articles, contractions mended."""
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)
