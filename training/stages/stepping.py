"""Whether the finished flow has solver steps enough: what its log-density is must not depend on how it was integrated."""

from training.stages.course import Course

MOST_STEPS = 64
_MOST_ROWS = 8192


def enough_steps(course: Course) -> tuple[int, float]:
    """RK4 steps for the finished flow: its own, doubled until doubling them once more changes little.

    Little is ``path.screen_lam``, the nats below which the path resolves nothing, as root mean square over held-out rows.

    Returns:
        The steps, at most 64, and the change of the log-density (nats, root mean square) when they are doubled.
    """
    steps = course.flow.steps
    nll = course.evaluate(steps, _MOST_ROWS)[:, 1]
    while True:
        finer = course.evaluate(2 * steps, _MOST_ROWS)[:, 1]
        error = float((finer - nll).square().mean().sqrt())
        if error <= course.path.screen_lam or 2 * steps > MOST_STEPS:
            return steps, error
        steps, nll = 2 * steps, finer
