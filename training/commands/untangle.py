"""``unknot untangle``: a finished run's structure, up by its spectral coordinates and down into fewer dimensions."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from training.commands._fits import each_run, set_up
from training.commands._parser import Parser
from training.runtime.presets import resolve_argv

if TYPE_CHECKING:
    from analysis.run import SavedRun
    from flows.flow import FunnelFlow
    from flows.lift import Lift
    from flows.untangled import Untangled

_MOST_ROWS = 4000


def main(argv: list[str]) -> int:
    """``unknot untangle RUN [--out DIR] [flags of unknot fit]``."""
    parser = Parser(
        "untangle",
        "Lift the structure of a finished run by the spectral coordinates of its neighbour graph, and fit the lifted rows: "
        "knots come undone in more dimensions. Writes OUT/first, OUT/lift.safetensors, OUT/second (a run folder) and "
        "OUT/untangled.png. The same command goes on where it stopped.",
        "All other flags are those of unknot fit, except --resume and those of data.",
    )
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default RUN-untangled)")
    given, rest = parser.parse_known_args(argv)

    from analysis.run import SavedRun
    from flows.lift import Lift
    from flows.untangled import FIRST, LIFT, SECOND, Untangled
    from training.figures.panels import save_panel
    from training.runtime.options import fit_options
    from training.untangling.figure import plot_untangled
    from training.untangling.spectral import spectrum
    from training.untangling.untangle import is_tangled, structure, torn, words

    rest = resolve_argv(rest)
    options = fit_options(rest)
    if options.resume or any(vars(options.data)[name] for name in ("subject", "planted", "file")):
        raise ValueError("unknot untangle takes its data from RUN and goes on by itself: leave out --resume and --data")
    set_up(options)
    saved = SavedRun.load(given.run)
    s = structure(saved.flow, saved.x)
    found = spectrum(s, options.seed)
    if not is_tangled(found, s):
        print(words(found, s.shape[1], None, math.nan))
        return 0
    out, lift = given.out or Path(f"{given.run.rstrip('/')}-untangled"), found.lift()
    if (out / LIFT).is_file():
        _check_going_on(out / FIRST, saved.flow)
        lift = Lift.load(out / LIFT)  # the same, except for the last bits where threads differ
    else:
        saved.flow.save(out / FIRST)
        lift.save(out / LIFT)
    flags = _write_lifted(out / "lifted.safetensors", lift, s, saved)
    for _ in each_run(out, rest, {SECOND: flags}):
        pass
    flow = Untangled.load(out)
    if not flow.structure_dim:
        print(f"\n{words(found, s.shape[1], 0, math.nan)}")
        return 0
    after = flow.encode(saved.x)
    share = torn(lift, s, after)
    save_panel(plot_untangled(s.numpy(), after.numpy(), found), out / "untangled.png")
    print(f"\n{words(found, s.shape[1], flow.structure_dim, share)}\n{_faithful(flow, after)}")
    print(f"wrote {out}; look further with: unknot report {out / SECOND}")
    return 0


def _check_going_on(first: Path, flow: "FunnelFlow") -> None:
    """Raises ValueError where ``first`` is not the flow of the run that is to be untangled."""
    import torch

    from flows.io.store import load

    then, now = load(first).state_dict(), flow.state_dict()
    if then.keys() != now.keys() or not all(torch.equal(then[name], now[name]) for name in now):
        raise ValueError(f"{first.parent} was made of another run; name another --out, or remove it first")


def _write_lifted(file: Path, lift: "Lift", s, saved: "SavedRun") -> list[str]:  # type: ignore[no-untyped-def]
    """The lifted rows with their labels and sources, and the flags that name them."""
    import torch
    from safetensors.torch import save

    from flows.io.writing import write_whole
    from training.untangling.untangle import lifted

    tensors, flags = {"lifted": lifted(lift, s)}, [f"--data.file={file}", "--data.key=lifted"]
    for name, ids in (("labels", saved.labels), ("groups", saved.sources)):
        if ids is not None:
            tensors[name] = torch.from_numpy(ids)
            flags.append(f"--data.{name}={name}")
    write_whole({file: save(tensors)})
    return flags


def _faithful(flow: "Untangled", after) -> str:  # type: ignore[no-untyped-def]
    """Whether the untangled structure and the same put back into k dimensions have the same neighbours, both ways."""
    import torch

    from analysis.certification.edges import neighbour_edges

    after = after[:: -(-len(after) // _MOST_ROWS)]
    with torch.no_grad():
        back = flow.lift.inverse(flow.second.decode(after))[0].numpy()
    there, again = neighbour_edges(back, after), neighbour_edges(after, back)
    return (
        f"neighbours kept (continuity): {there.continuity:.3f} on the way down, {again.continuity:.3f} on the way back; "
        f"rows that jump: {there.lost:.1%} and {again.lost:.1%}; torn patches: {len(there.patches)} and {len(again.patches)}"
    )
