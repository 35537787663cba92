"""Tokens of captions as the COCO caption evaluation sees them: Penn Treebank rules, lower case, no punctuation.

Held against the tokens of the Java tokenizer; needs no Java. Its rules are many, and rare ones are missing here
(telephone numbers with blanks, abbreviations of other languages, smileys of other kinds).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

DROPPED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
# Words whose period belongs to them.
ABBREVIATIONS = """
    mr mrs ms dr drs prof profs sen sens rep reps atty lt col gen messrs gov govs adm rev maj sgt cpl pvt capt st ste
    ave pres lieut hon brig cmdr comdr pfc spc supt det mt ft adj adv asst assoc ens insp mlle mme msgr sfc
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri
    ala ariz ark calif colo conn ct dak fla ga ind kan kans ky md mich minn mo mont neb nev okla pa penn tenn va vt
    wis wisc wyo tel est ext sq jr sr bros ph.d ed.d blvd rd esq inc co cos corp pty ltd plc rt bancorp dept bhd
    assn univ intl sys invt elec natl mfg mtg etc al seq bldg vs
"""
BEFORE_NUMBERS = "art arts approx ca fig figs no nos op para paras pp prop sec sect sects vol vols"  # only there
# Words that begin a sentence. Before one of them a letter with a period is no initial: "at platform B. The train".
OPENERS = """
    A About According Additionally After An As At But Earlier He Her Here However If In It Last Many More Mr. Ms.
    Now Once One Other Our She Since So Some Such That The Their Then There These They This We What When While
    Yet You
"""
FUSED = {
    "cannot": "can not",
    "gonna": "gon na",
    "gotta": "got ta",
    "lemme": "lem me",
    "gimme": "gim me",
    "wanna": "wan na",
    "'tis": "'t is",
    "'twas": "'t was",
}
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
PLAIN = {"£": "#", "€": "$", "¢": "cents", "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
REWRITTEN = str.maketrans(BRACKETS | PLAIN | {"\N{RIGHT SINGLE QUOTATION MARK}": "'"})
NO_BREAK = "\N{NO-BREAK SPACE}"
SYMBOLS = frozenset("#$%&*+/<=>@\\^_|~§©®°±·×÷¥™")  # single signs that are tokens; other signs vanish


def _any_of(words: str) -> str:
    return "|".join(map(re.escape, words.split()))


CHAR = r"[\w\u0300-\u036f]"  # letters, their accents, digits, underscore
ALNUM, LETTER = r"[^\W_]", r"[^\W\d_]"
QUOTE = "['\N{RIGHT SINGLE QUOTATION MARK}]"
NOT = rf"n{QUOTE}t(?!\w)"
TOKEN = re.compile(
    rf"""
      (?P<tag>      </?[a-z!?][^<>]*> )
    | (?P<bracket>  -[lr][rsc]b- )
    | (?P<address>  (?:https?://|www\.)[^\s"<>|(){{}}]+[^\s"<>|.!?(){{}},-]
                  | {ALNUM}[^\s"<>|(){{}}@]*@[^\s"<>|(){{}}]*{ALNUM} )
    | (?P<date>     \d{{1,2}}[-/]\d{{1,2}}[-/]\d{{2,4}}(?!\w) )
    | (?P<fraction> (?:\d{{1,4}}[-\ \xa0])?\d{{1,4}}/\d{{1,4}}(?![\w/]) )
    | (?P<smiley>   [:;=][-o*']?[()dp](?!\w) )
    | (?P<acronym>  {LETTER}(?:\.{LETTER})+\.?(?!\w) )
    | (?P<short>    (?: (?:{_any_of(ABBREVIATIONS)})\.(?!\w) | (?:{_any_of(BEFORE_NUMBERS)})\.(?=\s*\d) ) )
    | (?P<initial>  {LETTER}\.(?![\w.]) )
    | (?P<slashed>  [a-z0-9]+(?:-[a-z]+){{0,2}}(?:/[a-z0-9]+(?:-[a-z]+){{0,2}}){{1,2}} )
    | (?P<hyphened> {ALNUM}(?:{CHAR}|[.,](?=\w))*(?:-{CHAR}+)+ )
    | (?P<number>   [-+]?\d*(?:[.:,]\d+)+(?!\w) | \d+(?:[:,]\d+)+ | [-+]\d+(?!\w) )
    | (?P<joined>   (?-i:[A-Z]+(?:[+&][A-Z]+)+) )
    | (?P<fused>    (?:{_any_of(" ".join(FUSED))})(?!\w) )
    | (?P<elided>   [dol]{QUOTE}\w+ | y{QUOTE}(?=all) | 'n'?(?!\w) | '(?:em|till?|[2-9]0s)(?!\w) | '\d\d(?![-\w]) )
    | (?P<clitic>   {NOT} | {QUOTE}(?:[smd]|re|ve|ll)(?!\w) )
    | (?P<word>     {ALNUM}{CHAR}*?(?={NOT}) | {ALNUM}{CHAR}*(?:[.!?]{ALNUM}{CHAR}*)* )
    | (?P<handle>   [#@][a-z_]\w* )
    | (?P<marks>    [?!]+ )
    | (?P<pause>    \.{{2,}} | -{{2,}} | ''|`` )
    | (?P<sign>     \S )
    """,
    re.VERBOSE | re.IGNORECASE,
)
OPENER = re.compile(rf"\s(?:{_any_of(OPENERS)})\s")


def tokenised(captions: Sequence[str]) -> list[str]:
    """Each caption as lower-case tokens parted by blanks, without punctuation.

    As there, captions are read as lines of one text: whether a last letter with a period ("platform B.") keeps
    it depends on the first word of the next caption.
    """
    lines = [caption.replace("\n", " ").replace("\N{SOFT HYPHEN}", "") for caption in captions]
    following = [*lines, ""][1:]
    return [" ".join(_tokens(line, f"{line}\n{after}\n")) for line, after in zip(lines, following, strict=True)]


def _tokens(line: str, text: str) -> Iterator[str]:
    """The tokens of a line, with which `text` begins."""
    for match in TOKEN.finditer(line):
        kind, token = str(match.lastgroup), match.group().lower()
        if kind == "initial" and OPENER.match(text, match.end()):
            token = token[:-1]
        elif kind == "fused":
            token = FUSED[token]
        elif kind in ("tag", "fraction"):
            token = token.replace(" ", NO_BREAK)
        elif kind == "pause" or (kind == "sign" and token not in SYMBOLS and token not in BRACKETS | PLAIN):
            continue
        elif kind != "address":
            token = token.translate(REWRITTEN)
        if token not in DROPPED:
            yield token
