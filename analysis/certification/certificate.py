"""Is a latent cloud really structure x independent Gaussian noise? A held-out lower bound, and what it could have seen."""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from analysis import drawing
from analysis.certification.bounds import Array
from analysis.certification.critics import Block
from analysis.certification.detection import GRID, Control, detection_limit
from analysis.certification.examination import Outcome, examine
from flows.io.inputs import as_rows, as_tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORTH_CERTIFYING = 0.1  # nats
LEAST_ROWS, MOST_ROWS = 1000, 20_000


@dataclass(frozen=True, repr=False)
class Certificate:
    """What :func:`certify` found.

    Attributes:
        verdict: "certified at delta", "not certified", "not decided" or "nothing to certify".
        reason: why, in words.
        lower_bound, se: held-out lower bound in nats on the KL divergence of (s, n) from s x N(0, I); its standard error.
        z: the test's statistic, standard normal if z is a product, large if it is not.
        level: p-values below it reject.
        delta: detection limit in nats; infinite above the grid, NaN where it was not looked for.
        degree: certified at so many nats: a dependence of that size, of any of the controls' kinds, would have shown more
            strongly than what was found in 95 % of draws. delta where nothing was found; infinite above the grid, NaN
            without controls.
        worth: nats that all structure dimensions are worth together, NaN where that is not known.
        critic, scores: the critic that gave the bound; each one's bound in nats on the rows that chose (optimistic).
        rows, split: rows used; those that trained, chose and evaluated.
        structure_dim, noise_dims: columns of s and of n.
        controls: the planted dependences behind delta.
        seed: of splits, fresh noise, controls and networks.
    """

    verdict: str
    reason: str
    level: float
    rows: int
    structure_dim: int
    noise_dims: int
    seed: int
    lower_bound: float = math.nan
    se: float = math.nan
    z: float = math.nan
    delta: float = math.nan
    degree: float = math.nan
    worth: float = math.nan
    critic: str = "none"
    scores: tuple[tuple[str, float], ...] = ()
    split: tuple[int, int, int] = (0, 0, 0)
    controls: tuple[Control, ...] = ()

    @property
    def certified(self) -> bool:
        """Whether the product was not rejected though a dependence of .1 nats would have been."""
        return self.verdict == "certified at delta"

    @property
    def p_value(self) -> float:
        """Of the test that (s, n) comes from s x N(0, I)."""
        return float(ndtr(-self.z))

    @property
    def interval(self) -> tuple[float, float]:
        """Nats of dependence found, from and to, at confidence 1 - level; a lower bound of what there is, not below 0."""
        reach = float(ndtri(1 - self.level / 2)) * self.se
        return max(self.lower_bound - reach, 0.0), max(self.lower_bound + reach, 0.0)

    @property
    def share(self) -> float:
        """The dependence found as a share of what structure is worth; NaN where either is not known."""
        return max(self.lower_bound, 0.0) / self.worth if self.worth > 0 else math.nan

    @property
    def meaning(self) -> str:
        """The verdict in plain words."""
        if not self.structure_dim:
            about = "s is empty, nothing but noise at this regularity, so the test is whether n itself is N(0, I): "
            return about + self._meaning()
        return self._meaning()

    def _meaning(self) -> str:
        if self.certified:
            kinds = ", ".join(dict.fromkeys(control.kind for control in self.controls))
            found = f"no dependence of these kinds above {self.delta:g} nats was there to be found: {kinds}"
            return found + "; others may hide, and no lower bound proves independence"
        if self.verdict == "not certified":
            return f"z is not s x N(0, I): {self.reason}" + (
                f"; {self._bounded()}" if math.isfinite(self.degree) else ""
            )
        return f"nothing can be claimed about z = s x N(0, I): {self.reason}"

    def _bounded(self) -> str:
        return f"{self.degree:g} nats of the controls' kinds would have shown more strongly in 95 % of draws"

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what is not finite as None."""
        found = {"interval": list(self.interval) if math.isfinite(self.se) else None, "share": self.share}
        record = {**asdict(self), **found, "p_value": self.p_value, "split": list(self.split), "meaning": self.meaning}
        nested = {"scores": dict(self.scores), "controls": [asdict(control) for control in self.controls]}
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        return {**finite, **nested}

    def __repr__(self) -> str:
        lines = [f"Certificate: {self.verdict}{self.extent}"]
        if math.isfinite(self.lower_bound):
            low, high = self.interval
            of = f", {self.share:.1%} of the {self.worth:.3g} nats of structure" if self.share >= 0 else ""
            lines.append(f"  dependence found {low:.3g} to {high:.3g} nats at confidence {1 - self.level:g}{of}")
            lines.append(f"  lower bound      {self.lower_bound:.3g} +- {self.se:.2g} nats (critic: {self.critic})")
            lines.append(f"  p-value          {self.p_value:.3g}, rejected below {self.level:g}")
        if not math.isnan(self.delta):
            limit = f"{self.delta:g} nats" if self.delta < math.inf else f"above {GRID[-1]:g} nats"
            lines.append(f"  detection limit  {limit}")
        train, choose, evaluate = self.split
        parts = f": {train} train, {choose} choose, {evaluate} evaluate" if evaluate else ""
        lines.append(
            f"  rows             {self.rows}{parts}; structure s {self.structure_dim}-D, noise n {self.noise_dims}-D"
        )
        return "\n".join([*lines, f"  meaning          {self.meaning}"])

    @property
    def extent(self) -> str:
        """What follows the verdict: the size that it holds at; empty where there is none."""
        if self.certified:
            return f" = {self.delta:g} nats"
        return f" as a product, certified at {self.degree:g} nats" if self.degree < math.inf and self._rejected else ""

    @property
    def _rejected(self) -> bool:
        return self.verdict == "not certified"

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the data's bound, a band of one standard error, over the controls' bounds against what was planted."""
        from matplotlib.figure import Figure

        if math.isnan(self.lower_bound):
            return drawing.nothing(self.verdict + ": " + self.reason, ax)
        if ax is None:
            ax = Figure(figsize=(5, 4), layout="constrained").add_subplot()
        looks = {"features": ("#0072B2", "o"), "quadratic": ("#E69F00", "s"), "linear": ("#009E73", "^")}
        for kind in dict.fromkeys(control.kind for control in self.controls):
            colour, marker = looks.get(kind, ("#0072B2", "o"))
            found = sorted((c.nats, c.bound, c.detected) for c in self.controls if c.kind == kind)
            nats, heights, seen = zip(*found, strict=True)
            faces = [colour if detected else "white" for detected in seen]
            ax.plot(nats, heights, color=colour, lw=0.8, alpha=0.6)
            ax.scatter(nats, heights, c=faces, edgecolors=colour, marker=marker, label=kind, alpha=0.8, zorder=3)
        ax.plot(GRID, GRID, color="0.6", ls=":", lw=1, label="planted")
        if math.isfinite(self.lower_bound):
            ax.axhspan(self.lower_bound - self.se, self.lower_bound + self.se, color="#CC79A7", alpha=0.35, lw=0)
            ax.axhline(self.lower_bound, color="#CC79A7", label="the data")
        if math.isfinite(self.delta):
            ax.axvline(self.delta, color="0.2", ls="--", lw=1, label="detection limit")
        ax.set_xscale("log")
        ax.set_yscale("symlog", linthresh=1e-3)
        bounds = [self.lower_bound, *(control.bound for control in self.controls)]
        ax.set_ylim(bottom=2 * np.nanmin([-1e-3, *bounds]))
        title = f"{self.verdict}: {self.delta:g} nats" if self.certified else self.verdict
        ax.set(xlabel="planted dependence (nats)", ylabel="held-out lower bound (nats)", title=title)
        ax.text(0.99, 0.01, f"n = {self.rows}, seed {self.seed}", transform=ax.transAxes, ha="right", size="x-small")
        ax.legend(
            fontsize="x-small", title="filled: seen in 95 % of draws", title_fontsize="x-small", loc="center right"
        )
        return ax


def certify(
    s: ArrayLike, n: ArrayLike, level: float = 0.05, seed: int = 0, draws: int = 4, worth: float = math.nan
) -> Certificate:
    r"""Test whether rows (s, n) come from s x N(0, I), and say how small a dependence the test would have seen.

    Critics f learn on half of the rows to tell (s, n) from (s, n'), n' ~ N(0, I) drawn afresh. One of them, with a scale
    and an offset, is chosen on a fifth of the rows, and gives on the rest the bound of Nguyen, Wainwright and Jordan
    (arXiv:0809.0853),

    .. math:: \mathrm{KL} \ge E_{q(s, n)}[f] - E_{q(s) N(n')}[e^f] + 1.

    Test: :math:`\epsilon f` gives :math:`\epsilon (E_q[f] - E_{qN}[f]) + O(\epsilon^2)`, a bound above zero at some scale
    if that slope is. The product is rejected where the slope is, one-sided at ``level``, above zero by its standard error:
    twice as many standard errors as the bound at full scale has. |f| is cut off at the log of the rows that evaluate.

    Critics: ridge-logistic on (s, s², n, n², s⊗n, s²⊗n); "moments" :math:`\sum_{bj} C_{bj} \phi_b(s) H_j(n)`, the
    log-ratio to first order, C mean products, phi polynomials and cosines of s, H Hermite products of degree up to 2 (3
    without s), with small entries zero or whole columns shrunk; a network of 2 x 64.

    Detection limit: s stays, n is drawn again except for :math:`n_1 = \rho h(s) + \sqrt{1 - \rho^2} e`, h linear, quadratic
    or 16 random cosines, rank-Gaussianised, of :math:`-\frac{1}{2} \log(1 - \rho^2)` nats. delta is the smallest size on
    ``GRID``, by bisection, where for every kind the statistic's mean over ``draws`` draws is 1.645 of its standard
    deviations (at least 1) above the test's limit: 95 percent are rejected. The network is asked only where the other
    critics find nothing on the rows that choose. Without s, h is a function of n_2, n_3 and n_4.

    Degree: the smallest size whose statistic exceeds, by the same 1.645, the one that was found, and not less than the upper
    end of the bound (1.645 standard errors): the test of "at least so many nats", by the same controls.

    Args:
        s: structure block (rows, k); k = 0 tests n alone. Constant columns are left out.
        n: noise block (rows, m), of the same rows. Rows are independent and were not used to train the flow. Above
            20 000 a random 20 000 are used.
        level: share of true products that are rejected.
        seed: everything random is drawn from it; global random state is not touched.
        draws: of each control; 0 leaves detection limit and degree out.
        worth: nats that structure is worth, to compare with.

    Returns:
        "certified at delta": not rejected, and delta at most .1 nats. "not certified": rejected. "not decided": not
        rejected, but too few rows to have seen .1 nats (below 1000 nothing is run). "nothing to certify": m = 0.

    Raises:
        ValueError: s and n differ in rows, are not two-dimensional, hold NaN or inf; level outside (0, 1); draws below 0.

    Example:
        >>> import numpy as np
        >>> from analysis.certification.certificate import certify
        >>> noise = np.random.default_rng(0).normal(size=(2000, 3))
        >>> certify(noise[:, :1], np.c_[noise[:, 1], noise[:, 0] * noise[:, 2]], draws=0).verdict
        'not certified'
    """
    s, n = _rows(s, "s"), _rows(n, "n")
    if len(s) != len(n):
        raise ValueError(f"s and n must have the same rows, got {len(s)} and {len(n)}; pass both blocks of one latent")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}; .05 rejects one true product in twenty")
    if draws < 0:
        raise ValueError(f"draws must be 0 or more, got {draws}; 4 is the default, 0 leaves the detection limit out")
    about: dict[str, Any] = {
        "level": level,
        "structure_dim": s.shape[1],
        "noise_dims": n.shape[1],
        "seed": seed,
        "worth": worth,
    }
    if not n.shape[1]:
        return Certificate("nothing to certify", "there are no noise dimensions", rows=len(n), **about)
    if len(n) < LEAST_ROWS:
        reason = f"{len(n)} rows are too few to see a dependence; pass at least {LEAST_ROWS}, better {MOST_ROWS}"
        return Certificate("not decided", reason, rows=len(n), **about)
    if len(n) > MOST_ROWS:
        used = np.sort(np.random.default_rng([seed, 0]).choice(len(n), MOST_ROWS, replace=False))
        s, n = s[used], n[used]
    block = Block.of(s, np.random.default_rng([seed, 1]))
    found = examine(block, n, np.random.default_rng([seed, 2]))
    limit, delta, degree = float(ndtri(1 - level)), math.nan, math.nan
    controls: tuple[Control, ...] = ()
    if draws:
        delta, controls = detection_limit(block, n.shape[1], limit, seed, draws)
        degree = delta
        if found.z > limit:
            least = max(delta, found.lower_bound + 1.645 * found.se)
            degree = detection_limit(block, n.shape[1], found.z, seed, draws, least)[0]
    verdict, reason = _verdict(found, level, delta)
    sizes: dict[str, Any] = {"delta": delta, "degree": degree, "controls": controls}
    return Certificate(verdict, reason, rows=len(n), **sizes, **about, **vars(found))


def unknown_split(s: Array, n: Array, worth: float, seed: int) -> Certificate:
    """Of rows of which the flow may have seen any: nothing is decided."""
    reason = (
        "which rows were held out was not given; use Analyzer(result), or Analyzer(flow, x, is_held_out=...), True where the "
        "flow has seen none of them"
    )
    return Certificate("not decided", reason, 0.05, len(n), s.shape[1], n.shape[1], seed, worth=worth)


def _verdict(found: Outcome, level: float, delta: float) -> tuple[str, str]:
    if found.z > ndtri(1 - level):
        bound = f"held-out lower bound {found.lower_bound:.3g} +- {found.se:.2g} nats"
        return "not certified", f"the product is rejected (p = {ndtr(-found.z):.2g}); {bound}"
    if delta <= WORTH_CERTIFYING:
        return "certified at delta", f"not rejected, though {delta:g} nats would have been in 95 % of draws"
    if math.isnan(delta):
        return "not decided", "not rejected, but no controls were run (draws = 0)"
    size = f"{delta:g}" if delta < math.inf else f"more than {GRID[-1]:g}"
    return "not decided", f"not rejected, but a dependence must have {size} nats to be seen; more rows are needed"


def _rows(x: Any, name: str) -> Array:
    tensor = as_tensor(x, name)
    width = 0 if tensor.ndim == 2 and tensor.shape[1] == 0 else None
    return as_rows(tensor, name=name, width=width, min_rows=0).detach().cpu().double().numpy()
