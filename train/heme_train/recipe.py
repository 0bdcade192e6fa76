"""What decides what is learned, apart from the crops."""

from __future__ import annotations

from dataclasses import dataclass, field

from heme_edge.errors import HemeError
from heme_train.augment import Strength

CHOICES = {
    "head": ("softmax", "sigmoid"),
    "optimiser": ("adamw", "adam"),
    "schedule": ("cosine", "steps"),
    "norm": ("batch", "frozen", "group"),
}


UNBOUNDED = 10**9
RANGES = {
    **dict.fromkeys(("epochs", "draws", "batch", "device_batch", "step_epochs"), (1, UNBOUNDED)),
    **dict.fromkeys(("patience", "small_epochs", "seed", "decay"), (0, UNBOUNDED)),
    **dict.fromkeys(("smoothing", "average", "source_prior", "mix_styles"), (0, 1)),
    **dict.fromkeys(("rate", "step_factor", "teacher_temperature"), (1e-9, UNBOUNDED)),
    "teacher_share": (0, 1),
    "small_px": (32, UNBOUNDED),
    "cycles": (1, UNBOUNDED),
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is learned, apart from the crops.

    Attributes:
        network: timm model name, or ``deepheme``.
        weights: start, see ``models.create_network``.
        mean, std: of RGB in 0..1, as the starting weights expect; empty means as known for them.
        head: ``softmax`` (cross-entropy) or ``sigmoid`` (one-hot binary cross-entropy).
        hold_out: fold kept for validation, or ``none`` to train on every fold role.
        sources: crop sources to train on; empty means all.
        hide: ``CODE:SOURCE`` pairs never shown, for the leave-one-label-source-out test.
        epochs, draws: length; ``draws`` crops are drawn per epoch, classes equally.
        batch: crops per optimiser step, over all devices.
        device_batch: crops in one pass on one device; gradients are summed up to ``batch``.
        optimiser: ``adamw`` or ``adam``.
        rate: peak of the learning rate.
        schedule: ``cosine`` (warm-up, then to zero, in every cycle) or ``steps`` (times
            ``step_factor`` every ``step_epochs``).
        cycles: restarts of the schedule; each ends in a member of its own (snapshot ensemble).
        patience: epochs without a better held-out loss before it stops; 0 never stops early.
        decay: weight decay.
        smoothing: label smoothing.
        average: decay of the moving average of the weights, which is what is kept; 0 keeps the
            weights themselves.
        norm: ``batch``, ``frozen`` (batch statistics of the starting weights) or ``group``.
        standardise: whether the graph standardises each crop's channels, see ``preprocessing``.
        source_prior: how far the loss is told which classes a source shows, 0 (not) to 1
            (a class its source never shows costs nothing); see ``losses.source_bias``.
        mix_styles: chance, per batch and early stage, that crops exchange the statistics of their
            features; see ``mixstyle``.
        small_epochs: first epochs, in which crops are shown at ``small_px``: quicker, and
            coarse shapes are learned first.
        small_px: side of the crops in those.
        teacher: run folder of an ensemble to learn from, or empty.
        teacher_share: weight of the teacher's probabilities in the loss.
        teacher_temperature: of the softmax both are compared at.
        seed: of weights, draws and augmentation.
        strength: of the augmentation.
    """

    network: str = "efficientnet_lite0"
    weights: str = "packaged"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    head: str = "softmax"
    hold_out: str = "none"
    sources: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
    epochs: int = 12
    draws: int = 14_000
    batch: int = 64
    device_batch: int = 64
    optimiser: str = "adamw"
    rate: float = 1e-3
    schedule: str = "cosine"
    step_epochs: int = 5
    step_factor: float = 0.5
    cycles: int = 1
    patience: int = 0
    decay: float = 0.02
    smoothing: float = 0.05
    average: float = 0.998
    norm: str = "batch"
    standardise: bool = False
    source_prior: float = 0.0
    mix_styles: float = 0.0
    small_epochs: int = 0
    small_px: int = 64
    teacher: str = ""
    teacher_share: float = 0.7
    teacher_temperature: float = 2.0
    seed: int = 0
    strength: Strength = field(default_factory=Strength)

    def __post_init__(self) -> None:
        """Refuses what cannot be trained."""
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise HemeError(
                    f"The recipe's {name} cannot be '{getattr(self, name)}'.",
                    f"One of {', '.join(allowed)}",
                )
        for name, (least, most) in RANGES.items():
            if not least <= getattr(self, name) <= most:
                wanted = f"between {least} and {most}" if most < UNBOUNDED else f"at least {least}"
                raise HemeError(f"The recipe's {name} is {getattr(self, name)}, not {wanted}.")
        for broken, sentence, hint in self._contradictions():
            if broken:
                raise HemeError(sentence, hint)

    def _contradictions(self) -> list[tuple[bool, str, str]]:
        """What each field allows by itself and not together: whether it holds, sentence, hint."""
        held = self.hold_out != "none"
        numbers = (*self.mean, *self.std)
        return [
            (
                self.cycles > 1 and (self.patience > 0 or self.epochs % self.cycles > 0),
                "A recipe with cycles needs epochs that they divide, and no early stopping.",
                "--set patience=0",
            ),
            (
                len(self.mean) != len(self.std)
                or len(self.mean) not in (0, 3)
                or not all(isinstance(x, int | float) for x in numbers),
                "A recipe's mean and std are three numbers each, or neither is given.",
                "--set mean=[0.5,0.5,0.5] --set std=[0.5,0.5,0.5]",
            ),
            (
                self.patience > 0 and not held,
                "Early stopping needs a held-out fold.",
                "--folds all, or --set patience=0",
            ),
            (
                self.head == "sigmoid" and bool(self.source_prior or self.teacher),
                "A sigmoid head learns neither from a teacher nor with a source prior.",
                "--set head=softmax",
            ),
            (
                bool(self.teacher) and held,
                "A student cannot hold out a fold that its teachers were trained on.",
                "--folds none",
            ),
        ]
