"""Every number that shapes a run, in two plain records; no torch, so that the command line starts fast."""

from dataclasses import dataclass, fields, replace

OBJECTIVES = ("likelihood", "adversarial")
FRONTS = ("auto", "relevance", "pieces", "principal", "whiten")
ENERGIES = ("whitened", "layer")


@dataclass(frozen=True)
class ModelSettings:
    """The flow and its loss.

    Attributes:
        objective: "likelihood", or "adversarial": a critic tells (s, n) from (s, n') and no density of s is in the loss.
        kappa: weight of the kinetic energy, in nats per squared whitened unit: the regularity every claim is made at.
        rho: weight of the L1 activation penalty over depth, added to the one at depth 1.
        augment: Gaussian dimensions appended to the data: room to untangle in.
        hidden: width of the field's two hidden layers.
        components: Gaussians in the base mixture.
        law: gate law of the base, "bernoulli" or "channel".
        exit_width: stretch of depth over which one dimension leaves.
        steps: RK4 steps of the finished flow.
        early_steps: RK4 steps until debiasing starts.
        noise_floor: smallest standard deviation that counts as signal, as a share of the largest.
        columns: what to do with constant and duplicate columns, "set-aside" or "error".
        front: which directions enter the flow: "relevance" (those that the net's answer uses; needs a head or a measured
            relevance), "pieces" (those that tell the rows' own pieces apart, k-means in the layer's metric; where no cut is clear
            as "auto" without a head; what is bent within pieces, in other directions, is not looked for), "principal" (those of
            largest variance), "whiten" (all); "auto" is the first where there is a head, the third for wide rows that are few
            (more than 32 columns and fewer than 20 rows for each), else the last.
        keep: how many directions of "relevance", "pieces" or "principal" enter; 0 leaves it to the data.
        largest_loss: share of the answer's information that the directions of "relevance" may lose.
        least_agreement: share of the answers that must stay as they are.
        energy: in what units kinetic energy is measured, "whitened" or the "layer"'s own.
    """

    objective: str = "likelihood"
    kappa: float = 1.0
    rho: float = 0.02
    augment: int = 0
    hidden: int = 64
    components: int = 32
    law: str = "bernoulli"
    exit_width: float = 0.25
    steps: int = 4
    early_steps: int = 2
    noise_floor: float = 1e-3
    columns: str = "set-aside"
    front: str = "auto"
    keep: int = 0
    largest_loss: float = 0.01
    least_agreement: float = 0.99
    energy: str = "whitened"

    def __post_init__(self) -> None:
        _typed(self)
        _positive(self, "hidden", "components", "steps", "early_steps")
        _not_negative(self, "kappa", "rho", "augment", "keep")
        for name, valid in (("front", FRONTS), ("energy", ENERGIES)):
            if getattr(self, name) not in valid:
                raise ValueError(f"{name} must be one of {', '.join(valid)}, got {getattr(self, name)!r}")
        for name in ("largest_loss", "least_agreement"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in (0, 1], got {getattr(self, name)}")
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}")
        if self.objective == "adversarial" and self.law != "bernoulli":
            raise ValueError(f"the adversarial objective draws its gates, got law {self.law!r}; use 'bernoulli'")
        if not 0 < self.noise_floor < 1:
            raise ValueError(f"noise_floor must lie in (0, 1), got {self.noise_floor}; 0.001 is the default")
        if not 0.1 <= self.exit_width <= 1:
            raise ValueError(f"exit_width must lie in [0.1, 1], got {self.exit_width}; 0.25 is the default")


@dataclass(frozen=True)
class PathSettings:
    """The staged run; durations in optimiser steps.

    Attributes:
        settle: steps at lambda 0 with gates held open, before the screen and again after each refit.
        screen: steps at ``screen_lam``, until the null dimensions have left.
        screen_lam: the smallest lambda, in nats; the path resolves nothing below it.
        points_per_decade: grid points of the ramp per factor of ten in lambda.
        steps_per_point: steps at each grid point.
        largest_lam: where the ramp gives up if dimensions are left.
        debias: steps of one round at a proposed support, with gates at 0 or 1 and no penalty.
        debias_rounds: most rounds at one support; one that gains less than ``screen_lam`` on held-out rows is the last.
        most_supports: most supports to debias, k = 0 and the largest among them; up to four more next to the chosen one.
        narrow: steps in which the noise dimensions of the chosen flow find the depth of their exit.
        rounds: most rounds of refit, settle and reopening test.
        batch: rows per step.
        warm_up: steps over which Adam's step sizes rise at the start of each stage; 1 is none.
        lr: Adam's step size for flow and base.
        exit_lr: Adam's step size for exits.
        debias_lr: Adam's largest step size while debiasing, falling to 0 as a cosine.
        clip: largest gradient norm.
        retries: times that a loss that is not finite sends the run back to where the stage began, each at half the step size.
        held_out: share of the sources held out; every reported likelihood is measured on their rows.
        few_rows: training rows that the durations above are for; fewer rows take proportionally fewer steps, two fifths at
            least; 0 leaves durations as they are.
    """

    settle: int = 400
    screen: int = 200
    screen_lam: float = 0.03
    points_per_decade: int = 24
    steps_per_point: int = 16
    largest_lam: float = 100.0
    debias: int = 250
    debias_rounds: int = 4
    most_supports: int = 8
    narrow: int = 120
    rounds: int = 3
    batch: int = 256
    warm_up: int = 20
    lr: float = 3e-3
    exit_lr: float = 9e-3
    debias_lr: float = 1e-2
    clip: float = 5.0
    retries: int = 3
    held_out: float = 0.15
    few_rows: int = 4000

    def for_rows(self, rows: int) -> "PathSettings":
        """The durations for so many training rows: stages keep 100 steps, grid points 8, or what they have if that is less."""
        share = max(rows / self.few_rows, 0.4) if self.few_rows else 1.0
        if share >= 1:
            return self
        least = {"settle": 100, "screen": 100, "debias": 100, "narrow": 100, "steps_per_point": 8}
        shorter = {n: max(min(getattr(self, n), few), round(share * getattr(self, n))) for n, few in least.items()}
        return replace(self, few_rows=0, **shorter)

    def __post_init__(self) -> None:
        _typed(self)
        _positive(self, "settle", "screen", "screen_lam", "points_per_decade", "steps_per_point", "debias")
        _positive(self, "debias_rounds", "rounds", "batch", "clip", "largest_lam")
        _positive(self, "warm_up", "lr", "exit_lr", "debias_lr")
        _not_negative(self, "narrow", "retries", "few_rows")
        if self.most_supports < 2:
            raise ValueError(f"path.most_supports must be at least 2, got {self.most_supports}; 8 is the default")
        if not 0 < self.held_out < 1:
            raise ValueError(f"path.held_out must lie in (0, 1), got {self.held_out}; 0.15 is the default")


def split_settings(settings: dict[str, object]) -> tuple[ModelSettings, PathSettings]:
    """Sort loose keyword settings into the two records.

    Raises:
        ValueError: unknown name; the nearest valid ones are offered.
    """
    from flows.io.inputs import nearest

    model_names = {f.name for f in fields(ModelSettings)}
    path_names = {f.name for f in fields(PathSettings)}
    for name in settings:
        if name not in model_names | path_names:
            raise ValueError(f"unknown setting {name!r}; {nearest(name, sorted(model_names | path_names))}")
    model = {name: value for name, value in settings.items() if name in model_names}
    path = {name: value for name, value in settings.items() if name in path_names}
    return replace(ModelSettings(), **model), replace(PathSettings(), **path)  # type: ignore[arg-type]


def _typed(record: object) -> None:
    wanted = {int: "a whole number", float: "a number", str: "a word"}
    for f in fields(record):  # type: ignore[arg-type]
        value = getattr(record, f.name)
        kinds = (int, float) if f.type is float else (f.type,)
        if isinstance(value, bool) or not isinstance(value, kinds):  # type: ignore[arg-type]
            kind = wanted[f.type]  # type: ignore[index]
            raise TypeError(f"{f.name} must be {kind}, got {value!r}; {getattr(type(record), f.name)!r} is the default")


def _positive(record: object, *names: str) -> None:
    for name in names:
        if not getattr(record, name) > 0:
            raise ValueError(f"{type(record).__name__}.{name} must be positive, got {getattr(record, name)!r}")


def _not_negative(record: object, *names: str) -> None:
    for name in names:
        if not getattr(record, name) >= 0:
            raise ValueError(f"{type(record).__name__}.{name} must not be negative, got {getattr(record, name)!r}")
