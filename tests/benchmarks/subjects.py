"""What runs of the angle subjects found: k, the angle read from the block, and what turning the block does to the net's answer.

    unknot fit -c rotated-digits --out runs/rotated-digits
    unknot fit -c ring --out runs/ring
    python tests/benchmarks/subjects.py runs/rotated-digits runs/ring

Angles are judged on held-out sources alone. "unsupervised" is the angle in the plane of s (k = 2), which never saw an angle; the
probes are least squares on training rows. Turning: s is turned by delta inside the running net, on held-out inputs.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

import flows
from analysis import circular_correlation, plane_angle, probed_angle
from training import trained_subject


def read_angle(run: Path) -> str:
    """One row of the table: circular correlations with the true angle on held-out rows."""
    result, kept = json.loads((run / "result.json").read_text()), load_file(run / "data.safetensors")
    flow = flows.load(run)
    x = torch.cat([kept["train.x"], kept["held_out.x"]])
    angle = torch.cat([kept["train.targets"], kept["held_out.targets"]])[:, 0].numpy()
    train = np.arange(len(x)) < len(kept["train.x"])
    s = flow.encode(x).numpy()
    by_hand = "-"
    if flow.structure_dim == 2:
        by_hand = f"{abs(circular_correlation(plane_angle(s)[~train], angle[~train])):.3f}"
    on_s, on_x = (
        f"{circular_correlation(probed_angle(rows, angle, train)[~train], angle[~train]):.3f}"
        for rows in (s, x.numpy())
    )
    return (
        f"{result['data']:16} k {flow.structure_dim} of {flow.front.dims}  confidence {result['confidence']:.2f}  "
        f"unsupervised {by_hand}  probe on s {on_s}  probe on the layer {on_x}"
    )


def turn(delta: float):
    """Turns planar s about the origin."""
    matrix = torch.tensor([[math.cos(delta), math.sin(delta)], [-math.sin(delta), math.cos(delta)]])
    return lambda s: s @ matrix.to(s)


def turned_answers(run: Path) -> list[str]:
    """The net's mean answer turns by as much as s is turned."""
    result, flow = json.loads((run / "result.json").read_text()), flows.load(run)
    shown = trained_subject(result["data"], result["seed"])
    held = torch.from_numpy(np.unique(shown.activations().split(seed=result["seed"])[1].numpy()))
    inputs = shown.inputs[held] if shown.inputs.ndim == 2 else shown.inputs[(held // shown.inputs.shape[1]).unique()]

    def answers() -> np.ndarray:
        with torch.no_grad():
            cosine, sine = shown.model(inputs).reshape(-1, 2).T
        return torch.atan2(sine, cosine).numpy()

    before, lines, deltas, turns = answers(), [], np.linspace(-math.pi, math.pi, 13)[1:], []
    with torch.no_grad(), flows.intervene(shown.model, shown.layer, flow, structure=lambda s: s):
        drift = np.angle(np.exp(1j * (answers() - before)))
    lines.append(f"  edited by nothing: answers move by at most {math.degrees(np.abs(drift).max()):.4f} degrees")
    moved = []
    for delta in deltas:
        with torch.no_grad(), flows.intervene(shown.model, shown.layer, flow, structure=turn(float(delta))):
            after = answers()
        turns.append(np.exp(1j * (after - before)).mean())
        moved.append(after - before)
    found = np.unwrap(np.angle(turns))
    slope = np.polyfit(deltas, found, 1)[0]
    wanted = np.repeat(np.sign(slope) * deltas, len(before))
    correlation = circular_correlation(np.concatenate(moved), wanted)
    error = np.degrees(np.median(np.abs(np.angle(np.exp(1j * (np.concatenate(moved) - wanted))))))
    degrees = ", ".join(f"{np.degrees(d):.0f}: {np.degrees(f):.0f}" for d, f in zip(deltas, found, strict=True))
    lines.append(f"  s turned by: answer turns by (degrees, mean)  {degrees}")
    lines.append(
        f"  slope {slope:.3f}, circular correlation {correlation:.3f}, median error of one answer {error:.1f} degrees"
    )
    return lines


def main() -> None:
    torch.set_num_threads(1)
    for run in map(Path, sys.argv[1:]):
        print(read_angle(run))
        if flows.load(run).structure_dim == 2:
            print("\n".join(turned_answers(run)), flush=True)


if __name__ == "__main__":
    main()
