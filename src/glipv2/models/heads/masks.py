"""The mask head: which pixels of a box match the words of its phrase."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from glipv2.ranges import at_least
from glipv2.structures import Features, TensorStruct

REGION_STEP = 16  # few distinct counts: CPU kernels are prepared once a shape, which costs more than the padding
REGIONS_AT_ONCE = 256


@dataclass
class MaskHeadConfig:
    """Size of the mask head.

    cells: a side of what is read of a box in the pyramid (masks have twice as many); width: channels;
    hourglasses and depth: blocks, and how often each halves the cells; log_scale: start of the learned
    logarithm that divides the logits. pixels: the picture itself is read too, for sharp borders where
    the finest level is coarse for the objects (the released code reads the pyramid alone).
    """

    cells: int = at_least(1, 14)
    width: int = at_least(1, 256)
    hourglasses: int = at_least(0, 1)
    depth: int = at_least(0, 2)
    log_scale: float = 0.0
    pixels: bool = False

    def build(self, image_width: int, text_width: int, first_stride: int) -> MaskHead:
        """The head for levels of `image_width` (the finest of `first_stride`) and tokens of `text_width` channels."""
        return MaskHead(self, image_width, text_width, first_stride)


@dataclass(frozen=True)
class MaskRegions(TensorStruct):
    """K boxes in which something is segmented.

    boxes float [K, 4] in the model-input frame; images int64 [K]: the row of the batch that each is in;
    tokens bool [K, L]: the tokens of its prompt that name it.
    """

    boxes: Tensor
    images: Tensor
    tokens: Tensor

    def __len__(self) -> int:
        return self.boxes.shape[0]

    def split(self, count: int) -> list[MaskRegions]:
        """In portions of at most `count`; one empty portion when there is none."""
        parts = zip(self.boxes.split(count), self.images.split(count), self.tokens.split(count), strict=True)
        return [MaskRegions(*part) for part in parts]


class MaskHead(nn.Module):
    """RoIAlign, hourglasses, ×2, and a logit of every cell for the mean of the phrase's tokens.

    Released: a logit map for every token, their mean over the phrase afterwards. The mean of products
    with words is the product with the words' mean, so that one map is computed instead of one a token.
    """

    def __init__(self, config: MaskHeadConfig, image_width: int, text_width: int, first_stride: int) -> None:
        super().__init__()
        self.config = config
        self.first_stride = first_stride
        self.project = nn.Conv2d(image_width, config.width, 1)  # of levels: linear, so the same as after RoIAlign
        self.hourglasses = nn.ModuleList(Hourglass(config.width, config.depth) for _ in range(config.hourglasses))
        self.enlarge = nn.ConvTranspose2d(config.width, config.width, 2, stride=2)
        self.pixels = PixelReader(config.width) if config.pixels else None
        self.words = nn.Linear(text_width, config.width)
        self.word_bias = nn.Parameter(torch.zeros(text_width))
        self.log_scale = nn.Parameter(torch.tensor(config.log_scale))

    @property
    def size(self) -> int:
        """A side of a mask in cells."""
        return 2 * self.config.cells

    def forward(self, features: Features, pixels: Tensor, regions: MaskRegions) -> Tensor:
        """Logits [K, S, S] on the cells of each box; pixels [B, 3, H, W], as the core saw them."""
        corners = self._padded_corners(regions)
        hidden = self._pooled(features.levels, corners)
        for hourglass in self.hourglasses:
            hidden = F.relu(hourglass(hidden))
        hidden = self.enlarge(hidden)
        if self.pixels is not None:
            hidden = self.pixels(hidden, roi_align(pixels.to(corners), corners, self.size, aligned=True))
        return self._matched(F.relu(hidden)[: len(regions)], features.tokens, regions)

    def probabilities(self, features: Features, pixels: Tensor, regions: MaskRegions) -> Tensor:
        """The same as probabilities, in little memory however many boxes there are."""
        return torch.cat([self(features, pixels, some).sigmoid() for some in regions.split(REGIONS_AT_ONCE)])

    def _padded_corners(self, regions: MaskRegions) -> Tensor:
        """Image and corners of each box, [K', 5], up to the next multiple of REGION_STEP and never none."""
        corners = torch.cat([regions.images[:, None], regions.boxes], dim=1).to(self.words.weight.dtype)
        count = max(1, -(-len(regions) // REGION_STEP)) * REGION_STEP
        return F.pad(corners, (0, 0, 0, count - len(regions)))

    def _pooled(self, levels: tuple[Tensor, ...], corners: Tensor) -> Tensor:
        """Each box from the coarsest level on which it still spans `cells` positions: [K', D, cells, cells].

        FPN's rule, by which a box of 224 pixels is read at stride 16.
        """
        cells = self.config.cells
        sides = (corners[:, 3:] - corners[:, 1:3]).clamp(min=1e-6).prod(dim=1).sqrt()
        wanted = torch.log2(sides / (self.first_stride * cells)).floor().clamp(0, len(levels) - 1)
        pooled = corners.new_zeros(len(corners), self.config.width, cells, cells)
        for index, level in enumerate(levels):
            rows = (wanted == index).nonzero()[:, 0]
            if len(rows):
                scale = 1 / (self.first_stride * 2**index)
                found = roi_align(self.project(level).to(corners), corners[rows], cells, scale, aligned=True)
                pooled = pooled.index_copy(0, rows, found)
        return pooled

    def _matched(self, cells: Tensor, tokens: Tensor, regions: MaskRegions) -> Tensor:
        """cell · W(ê/2) / exp(log_scale) + ê · b, ê the mean of the phrase's normalised tokens; in own precision."""
        with torch.autocast(cells.device.type, enabled=False):
            own = self.words.weight.dtype
            region, token = regions.tokens.nonzero(as_tuple=True)
            named = F.normalize(tokens.to(own), dim=-1)[regions.images[region], token]
            phrases = named.new_zeros(len(regions), named.shape[1]).index_add(0, region, named)
            phrases = phrases / regions.tokens.sum(dim=1, keepdim=True).clamp(min=1)
            words = self.words(phrases / 2) / self.log_scale.exp()
            matched = words[:, None] @ cells.to(own).flatten(2) + (phrases @ self.word_bias)[:, None, None]
            logits: Tensor = matched.unflatten(2, cells.shape[-2:])[:, 0]
            return logits.clamp(min=-50_000, max=50_000)


class Hourglass(nn.Module):
    """Halves a map `depth` times and comes back, adding what was there at each size; starts as nearly that alone."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.across = Residual(width)
        self.down = Residual(width)
        self.inner = Hourglass(width, depth - 1) if depth > 1 else Residual(width)
        self.up = Residual(width)

    def forward(self, cells: Tensor) -> Tensor:
        """[K, D, H, W] to the same shape; odd sides are halved upwards."""
        low = self.up(self.inner(self.down(F.max_pool2d(cells, 2, ceil_mode=True))))
        return self.across(cells) + F.interpolate(low, size=cells.shape[-2:], mode="nearest")  # type: ignore[no-any-return]


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))), without norms as released; at its start x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, cells: Tensor) -> Tensor:
        return cells + self.second(F.relu(self.first(F.relu(cells))))  # type: ignore[no-any-return]


class PixelReader(nn.Module):
    """Lets cells see the picture's own colours, and decide with their neighbours what belongs together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.Conv2d(3, width, 3, padding=1)
        self.join = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, cells: Tensor, picture: Tensor) -> Tensor:
        """cells [K, D, S, S] and the picture on the same cells [K, 3, S, S] to [K, D, S, S]."""
        return self.join(F.relu(cells + self.read(picture)))  # type: ignore[no-any-return]
