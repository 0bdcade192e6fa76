"""What decides what is learned, apart from the crops."""

from __future__ import annotations

from dataclasses import dataclass, field

from heme_train.augment import Strength


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is learned, apart from the crops.

    Attributes:
        network: timm model name.
        weights: start, see ``models.create_network``.
        hold_out: fold kept for validation, or ``none`` to train on every fold role.
        sources: crop sources to train on; empty means all.
        epochs, draws, batch: length; ``draws`` crops are drawn per epoch, classes equally.
        rate: peak of the learning rate (AdamW; warm-up, then cosine to zero).
        smoothing: label smoothing.
        average: decay of the moving average of the weights, which is what is kept.
        standardise: whether the graph standardises each crop's channels, see ``preprocessing``.
        seed: of weights, draws and augmentation.
        strength: of the augmentation.
    """

    network: str = "efficientnet_lite0"
    weights: str = "packaged"
    hold_out: str = "none"
    sources: tuple[str, ...] = ()
    epochs: int = 12
    draws: int = 14_000
    batch: int = 64
    rate: float = 1e-3
    decay: float = 0.02
    smoothing: float = 0.05
    average: float = 0.998
    standardise: bool = False
    seed: int = 0
    strength: Strength = field(default_factory=Strength)
