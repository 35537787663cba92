"""Sentences from the scores of next words: greedy and beam search, many images at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from glipv2.errors import UserError
from glipv2.ranges import at_least

NEVER = float("-inf")

# Ids int64 [B, K, t] of K unfinished sentences of each of B images to logits [B, K, V] of their next word.
NextWord = Callable[[Tensor], Tensor]


@dataclass
class GenerationConfig:
    """How sentences are searched for.

    beams: unfinished sentences that are followed at once (1 = greedy). length_penalty: finished ones
    compete by log probability / length ** length_penalty, the end counted; 0 favours short ones.
    no_repeat: no run of so many tokens occurs twice in a sentence (0 = may). min_length, max_length:
    tokens of a sentence, special ones not counted.
    """

    beams: int = at_least(1, 3)
    length_penalty: float = 1.0
    no_repeat: int = at_least(0, 0)
    min_length: int = at_least(0, 1)
    max_length: int = at_least(1, 40)

    def check(self) -> None:
        """UserError for numbers that allow no sentence."""
        if self.beams < 1 or self.no_repeat < 0:
            raise UserError(
                f"expected at least 1 beam and no_repeat of at least 0, but got {self.beams} and {self.no_repeat}"
            )
        if not 0 <= self.min_length <= self.max_length or not self.max_length:
            raise UserError(
                f"expected 0 <= min_length <= max_length and max_length of at least 1, "
                f"but got {self.min_length} and {self.max_length}"
            )


@dataclass(frozen=True)
class Ends:
    """Special tokens of a search: what every sentence begins and ends with, and what never occurs in one."""

    begin: int
    end: int
    banned: Collection[int] = ()


@dataclass(frozen=True)
class Sentence:
    """Token ids without special ones, and the log probability of them and of the end after them."""

    token_ids: tuple[int, ...]
    log_prob: float

    @property
    def probability(self) -> float:
        """Of a token on average: the geometric mean, in [0, 1], the end counted."""
        return math.exp(self.log_prob / (len(self.token_ids) + 1))


@dataclass(frozen=True)
class Beams:
    """K sentences of each image: ids int64 [B, K, t], log_probs [B, K], -inf where there is none."""

    ids: Tensor
    log_probs: Tensor

    def best(self, scores: Tensor, count: int) -> Beams:
        """The `count` sentences of the highest scores [B, K], the best first."""
        order = scores.topk(count, dim=1).indices
        rows = order[:, :, None].expand(-1, -1, self.ids.shape[2])
        return Beams(self.ids.gather(1, rows), self.log_probs.gather(1, order))


@torch.no_grad()
def search(
    next_word: NextWord, images: int, ends: Ends, config: GenerationConfig, device: torch.device | str = "cpu"
) -> list[Sentence]:
    """The best sentence found for each of B images; none depends on its neighbours.

    A sentence is finished when its end is among the `beams` likeliest continuations of its image, and an
    image when it has `beams` finished sentences that no unfinished one outdoes as it stands. After
    `max_length` tokens only the end may follow.
    """
    config.check()
    live = Beams(
        torch.full((images, config.beams, 1), ends.begin, device=device),
        torch.full((images, config.beams), NEVER, device=device),
    )
    finished = Beams(live.ids, live.log_probs.clone())
    scores = live.log_probs.clone()  # by which the finished ones compete
    live.log_probs[:, 0] = 0  # copies of the empty sentence would only repeat it
    for length in range(1, config.max_length + 2):
        allowed = restricted(next_word(live.ids).float().log_softmax(dim=-1), live.ids[:, :, 1:], ends, config)
        live, ended = continued(live, allowed, ends.end)
        norm = length**config.length_penalty
        both = Beams(_longer(finished.ids, ended.ids, ends.end), torch.cat([finished.log_probs, ended.log_probs], 1))
        scores = torch.cat([scores, ended.log_probs / norm], dim=1)
        finished, scores = both.best(scores, config.beams), scores.topk(config.beams, dim=1).values
        done = live.log_probs.amax(dim=1) / norm <= scores[:, -1]
        live.log_probs[done] = NEVER
        if bool(done.all()):
            break
    best = zip(finished.ids[:, 0].tolist(), finished.log_probs[:, 0].tolist(), strict=True)
    return [Sentence(tuple(ids[1 : ids.index(ends.end, 1)]), log_prob) for ids, log_prob in best]


def continued(live: Beams, scores: Tensor, end: int) -> tuple[Beams, Beams]:
    """The K best continuations that go on and those that end, by log probabilities [B, K, V] of the next token."""
    width, words = scores.shape[1:]
    total = (live.log_probs[:, :, None] + scores).flatten(1)
    log_probs, places = total.topk(min(2 * width, width * words), dim=1)  # at most one end a sentence: K others remain
    owner, token = places // words, places % words
    ids = torch.cat([live.ids.gather(1, owner[:, :, None].expand(-1, -1, live.ids.shape[2])), token[:, :, None]], dim=2)
    ending = token == end
    going_on = Beams(ids, log_probs.masked_fill(ending, NEVER))
    ended = Beams(ids[:, :width], log_probs[:, :width].masked_fill(~ending[:, :width], NEVER))
    return going_on.best(going_on.log_probs, width), ended


def restricted(scores: Tensor, words: Tensor, ends: Ends, config: GenerationConfig) -> Tensor:
    """Log probabilities [B, K, V] of the next token with -inf for what may not follow `words` [B, K, t].

    A sentence that could not go on may end, even before `min_length`.
    """
    end_scores = scores[..., ends.end].clone()
    scores[..., sorted({ends.begin, *ends.banned} - {ends.end})] = NEVER
    if config.no_repeat:
        scores.masked_fill_(repeating(words, config.no_repeat, scores.shape[-1]), NEVER)
    if words.shape[2] >= config.max_length:
        scores.fill_(NEVER)
    if words.shape[2] < config.min_length:
        scores[..., ends.end] = NEVER
    stuck = (scores == NEVER).all(dim=-1)
    scores[..., ends.end] = torch.where(stuck, end_scores, scores[..., ends.end])
    return scores


def repeating(words: Tensor, run: int, vocabulary: int) -> Tensor:
    """Bool [B, K, V]: tokens that would complete a run of `run` tokens that `words` [B, K, t] hold already."""
    found = torch.zeros((*words.shape[:2], vocabulary), dtype=torch.int64, device=words.device)
    if words.shape[2] >= run:
        runs = words.unfold(2, run, 1)  # [B, K, t - run + 1, run]
        latest = words[:, :, words.shape[2] - run + 1 :]
        again = (runs[..., :-1] == latest[:, :, None]).all(dim=-1)
        found.scatter_add_(2, runs[..., -1], again.long())
    return found > 0


def _longer(shorter: Tensor, longer: Tensor, end: int) -> Tensor:
    """Ids [B, K, t] and [B, K', t + 1] one after the other, the shorter ones ended once more."""
    filled = torch.full((*shorter.shape[:2], longer.shape[2]), end, device=shorter.device)
    filled[:, :, : shorter.shape[2]] = shorter
    return torch.cat([filled, longer], dim=1)
