"""Phrases of a text for people who mark none: runs of determiners, adjectives and nouns, found by closed word lists.

No tagger and no model: English words that can't belong to a noun phrase end it, and what else stands between them
is taken for one. On 40 COCO captions that played no part in writing the lists, 90 % of the phrases found are exactly
those that a person marked, and 94 % of the marked ones are found (tests/data/test_noun_phrases.py).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glipv2.errors import UserError
from glipv2.structures.prompts import Phrase, Prompt, Span

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+(?:[.,]\d+)*|[^\w\s]|_")
MARKED = re.compile(r"\[([^\[\]]*)\]")


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


# Left out of phrases; what follows them belongs to one.
DETERMINERS = _words(
    "a an the this these those some any no every each both all several many few more most less fewer another his",
    "her its their my your our either neither such enough various numerous multiple",
)
NUMBERS = _words("one two three four five six seven eight nine ten eleven twelve dozen")
# "a couple of dogs": the dogs are meant.
QUANTITIES = _words("couple lot lots bunch number variety pair group groups herd flock assortment series dozens")
PREPOSITIONS = _words(
    "of in on at by for with without from into onto to toward towards over under above below beneath behind beside",
    "besides between among amongst against along alongside across around about through throughout near inside",
    "outside within upon off out up down after before during while than as like per via past amid atop next until",
    "since except despite underneath beyond aboard",
)
CONJUNCTIONS = _words("and or but nor so yet because if when where whereas although though & plus")
PRONOUNS = _words(
    "i you he she it we they me him them us who whom whose which what that there here himself herself itself",
    "themselves myself yourself someone something somebody anyone anything everyone everything nobody nothing none",
    "others it's he's she's they're there's that's what's i'm we're you're mine yours theirs how why where's who's",
    "this's how's",
)
AUXILIARIES = _words(
    "is are was were be been being am has have had having do does did doing can could will would shall should may",
    "might must isn't aren't wasn't weren't doesn't don't didn't can't couldn't won't wouldn't hasn't haven't",
    "cannot",
)
ADVERBS = _words(
    "not very also too just only really quite rather almost still already again then now together apart away back",
    "forward forwards backward backwards upward downward ahead aside alone upside sideways indoors outdoors else",
    "ever never always often sometimes once twice there here nearby overhead upstairs downstairs well even much",
    "somewhat overlooking close ready able about please maybe perhaps",
)
# Forms that no rule of endings finds.
PARTICIPLES = _words(
    "seen made shown taken held lit sat stood ridden eaten hung worn thrown built given driven drawn kept laid lain",
    "grown known done gone got gotten put set cut caught brought bought found fed spread shot stuck torn hidden let",
    "sits seems seem",
)
VERBS = _words(
    "sit stand lie lay ride hold look walk run eat drink play wear jump fly swim sleep stare gaze watch see show",
    "contain include carry pull push drive park hang lean rest perch perform fall sport cook prepare cut smile pose",
    "travel wait cross climb ski surf skate swing throw catch hit kick reach touch feed graze roam gather surround",
    "cover fill face sail float land read talk speak use make take get give try go come work enjoy inhale blow",
    "chase kneel crouch bend lick sniff bite chew pet hug kiss wave point laugh move race compete attempt appear",
    "seem depict feature display serve sell sing dance line leave approach enter exit pass stop start begin wash",
    "brush clean hover glow shine stick lead follow keep turn roll slide dry grab lift balance drag hike lounge",
    "relax",
)
PLURALS = _words("people men women children sheep cattle deer geese police kids fish mice feet teeth giraffe zebra")
# "-ing" words that are things, or that stand before a thing without a determiner.
ING_NOUNS = _words(
    "building ceiling painting clothing wedding string ring king wing railing awning clearing crossing landing",
    "evening morning icing pudding dressing lighting thing spring swing sting sibling duckling piercing plumbing",
    "bedding flooring siding frosting topping stuffing filling seasoning drawing carving earring wiring paneling",
    "opening meeting sling rigging lettering marking skiing surfing writing snowboarding skateboarding carpeting",
    "covering",
)
ING_MODIFIERS = _words(
    "dining living parking washing baking cutting swimming sleeping running hanging rocking frying steering vending",
    "waiting fishing sewing serving shopping mixing rolling wedding building surrounding adjoining matching smiling",
    "boxing bowling bathing landing boarding loading racing changing reading packing crossing drinking",
)
ED_NOUNS = _words("moped hundred bobsled sunbed flatbed toolshed")
LY_NOUNS = _words(
    "family butterfly belly jelly lily assembly early daily curly wooly woolly friendly ugly lovely elderly"
)
ADJECTIVES = _words(
    "red orange yellow green blue purple pink brown black white gray grey beige tan golden cyan magenta teal violet",
    "maroon turquoise cream dark bright pale colorful colourful big small large little tiny huge tall short long",
    "wide narrow giant great old young new modern antique vintage plain striped dotted spotted checkered cloudy",
    "gradient empty full open closed dirty clean wet dry hot cold warm fresh raw ripe beautiful pretty cute nice",
    "happy sad good bad round flat steep deep high low heavy thick thin soft hard wild fluffy furry hairy shiny",
    "wooden metallic stainless rocky sandy grassy snowy sunny busy crowded quiet strange male female different",
    "similar same other own single double whole half certain bare blank foggy rainy smaller larger bigger taller",
    "shorter longer older younger wider asleep awake alone tired ready available visible",
)
# Runs of only these name no thing that could have a box.
PLACES = _words(
    "left right top bottom side sides front back middle center centre edge end rear inside outside background",
    "foreground distance way direction corner part",
)
ATTRIBUTES = _words("color colour colors shape size texture kind type sort material time day lot place purpose style")
PICTURES = _words("picture photo photograph image view shot scene drawing painting close-up closeup")
JOINTS = _words("and or ,")
SAYS = _words("of also shows show showing contains contain depicts depicting")

BREAKS = PREPOSITIONS | CONJUNCTIONS | PRONOUNS | AUXILIARIES | PARTICIPLES
CLOSED = BREAKS | DETERMINERS | ADVERBS


@dataclass(frozen=True)
class Word:
    """A word or mark, in lower case, and its characters."""

    text: str
    begin: int
    end: int

    @property
    def is_open(self) -> bool:
        """Whether it may belong to a noun phrase."""
        return self.text[0].isalnum() and self.text not in CLOSED


NOTHING = Word(".", 0, 0)  # stands before the first word and behind the last


def phrases_of(text: str) -> Prompt:
    """What a user asks: phrases [in brackets] where there are any, else the noun phrases of the text.

    The brackets are taken out. UserError for an empty text and for brackets that are empty or not closed.
    """
    if not text.strip():
        raise UserError('expected a text, as in text="a dog on a red sofa", but got an empty one')
    if "[" not in text and "]" not in text:
        return prompt_of_spans(text, noun_phrases(text))
    plain, spans, last = "", [], 0
    for found in MARKED.finditer(text):
        plain += text[last : found.start()]
        spans.append((len(plain), len(plain) + len(found[1])))
        plain += found[1]
        last = found.end()
    plain += text[last:]
    if "[" in plain or "]" in plain or any(not plain[begin:end].strip() for begin, end in spans):
        raise UserError(f"expected phrases each in its own [brackets], but got '{text}'")
    return prompt_of_spans(plain, spans)


def prompt_of_phrases(text: str, phrases: Sequence[str | Span]) -> Prompt:
    """Phrases given by their words, which the text must hold exactly once, or by their characters.

    UserError for words that are not there or come twice, and for characters outside the text.
    """
    if isinstance(phrases, str) or not phrases:
        raise UserError(f"expected a list of phrases of '{text}', but got {phrases!r}")
    return prompt_of_spans(text, [_span_of(text, phrase) for phrase in phrases])


def _span_of(text: str, phrase: str | Span) -> Span:
    if not isinstance(phrase, str):
        begin, end = phrase
        if not 0 <= begin < end <= len(text):
            raise UserError(f"expected characters (begin, end) within the {len(text)} of '{text}', but got {phrase}")
        return begin, end
    places = [found.span() for found in re.finditer(rf"(?<!\w){re.escape(phrase)}(?!\w)", text)] if phrase else []
    if len(places) != 1:
        raise UserError(
            f"the phrase '{phrase}' stands {len(places)} times in '{text}', not once; write it as it stands there, or "
            f"give its characters (begin, end)"
        )
    return places[0]


def prompt_of_spans(text: str, spans: Sequence[Span]) -> Prompt:
    """The text with a phrase for each span, labelled in order."""
    return Prompt(text, tuple(Phrase(place, (span,)) for place, span in enumerate(spans)))


def noun_phrases(text: str) -> list[Span]:
    """Characters of the noun phrases of an English text, in order, without articles: (2, 10) in "a red dress"."""
    words = [Word(found[0].lower(), found.start(), found.end()) for found in WORD.finditer(text)]
    return [
        (run[0].begin, run[-1].end)
        for before, run, following in _runs(words)
        if not _is_no_thing(before, run, following)
    ]


def _runs(words: Sequence[Word]) -> Iterator[tuple[Word, list[Word], Word]]:
    """Stretches of words that belong together, with the words before and behind each."""
    run: list[Word] = []
    first = NOTHING
    for index, word in enumerate(words):
        before = words[index - 1] if index else NOTHING
        after = words[index + 1] if index + 1 < len(words) else NOTHING
        first = first if run else before
        joins = bool(run) and _joins_adjectives(run, word, words[index + 1 :])
        if joins or (word.is_open and _belongs(word, run, before, after)):
            run.append(word)
        elif run:
            yield first, run, word
            run = []
    if run:
        yield first, run, NOTHING


def _joins_adjectives(run: Sequence[Word], word: Word, following: Sequence[Word]) -> bool:
    """Whether "and" or a comma stands between adjectives of one thing: "a red, white and blue flag"."""
    if word.text not in JOINTS or not all(_describes(known.text) for known in run):
        return False
    further = list(itertools.takewhile(lambda known: _describes(known.text), following))
    thing = following[len(further)] if len(further) < len(following) else NOTHING
    ends = bool(further) and further[0].text in ADJECTIVES and further[-1].text not in JOINTS
    return ends and thing.is_open


def _belongs(word: Word, run: Sequence[Word], before: Word, after: Word) -> bool:
    """Whether an open word goes on (or begins) a noun phrase here, and is no verb."""
    named = not all(_describes(known.text) for known in run)  # the run may have its noun already
    if word.text in ("left", "right") and after.text == "of":
        return False
    if named and _is_adjective(word.text) and not after.is_open:
        return False  # said of the thing: "is the square small or large?"
    if _is_ly_adverb(word.text):
        return False
    if word.text.endswith("ing") and len(word.text) > 4 and word.text not in ING_NOUNS:
        modifies = bool(run) or before.text in DETERMINERS or word.text in ING_MODIFIERS
        return not named and modifies and after.is_open and before.text not in AUXILIARIES
    if _is_participle(word.text):
        return not named and after.is_open and before.text not in AUXILIARIES
    return not _is_verb(word, named, before, after)


def _is_verb(word: Word, named: bool, before: Word, after: Word) -> bool:
    """Whether a word that looks like a noun is a verb where it stands."""
    if named and after.text in DETERMINERS:
        return True  # two things side by side: "a pole sports several signs"
    if _is_third_person(word.text):
        return named or before.text in PRONOUNS | ADVERBS
    if word.text not in VERBS:
        return False
    if named:
        return before.text in PLURALS or before.text.endswith("s")
    return before.text in AUXILIARIES | PRONOUNS | ADVERBS | {"to"} or (before.text == "and" and not after.is_open)


def _is_third_person(word: str) -> bool:
    """Whether the word is the "-s" form of a listed verb."""
    stems = {word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ies") + "y"} - {word}
    return word.endswith("s") and not VERBS.isdisjoint(stems)


def _is_participle(word: str) -> bool:
    return word.endswith("ed") and len(word) > 4 and not word.endswith("eed") and word not in ED_NOUNS | ADJECTIVES


def _is_ly_adverb(word: str) -> bool:
    return word.endswith("ly") and len(word) > 4 and word not in LY_NOUNS


def _is_adjective(word: str) -> bool:
    return word in ADJECTIVES or word in NUMBERS or word.isdigit()


def _describes(word: str) -> bool:
    """Whether a word of a run says how or how many something is, and not what."""
    return _is_adjective(word) or word in JOINTS


def _is_no_thing(before: Word, run: Sequence[Word], following: Word) -> bool:
    """Whether a run names nothing that could have a box: a colour, a side, the picture itself."""
    words = [word.text for word in run]
    if words == ["orange"] and before.text in ("an", "the"):
        return False  # the fruit
    if following.text == "of" and words[-1] in QUANTITIES and all(map(_is_adjective, words[:-1])):
        return True
    if words[-1] in PICTURES and following.text in SAYS:
        return True
    if words[-1] in ATTRIBUTES | QUANTITIES and len(words) == 1:
        return True
    return all(_describes(word) or word in PLACES for word in words)
