"""Builds tour.ipynb beside the README: the notebook is this file's cells, executed. One minute on two cores.

python tests/benchmarks/tour.py
"""

from pathlib import Path

import nbclient
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "tour.ipynb"

CELLS = [
    """# A tour of unknot

From a cloud of rows to its structure, and from a net's layer to its answer. The fits here take a third of the default path, so
that the notebook runs in a minute; leave `**SHORT` out for a verdict that counts. Built by `python tests/benchmarks/tour.py`.""",
    """
%matplotlib inline
import math

import torch

import flows
import training
from analysis import Analyzer, circular_correlation, plane_angle, probed_angle

torch.set_num_threads(1)
SHORT = dict(
    settle=150, screen=80, steps_per_point=5, debias=100, debias_rounds=2, narrow=40, rounds=1, null_worth=0.03
)
""",
    """## A planted circle

A circle with a little thickness x three Gaussian dimensions, bent by a random diffeomorphism: five columns that show nothing by
themselves.""",
    """
made = training.planted("circle", rows=4000, noise_dims=3)
result = training.fit(made.x, **SHORT)
print(result.verdict())
""",
    """## What is it?""",
    """
analyzer = Analyzer(result.flow, made.x[torch.from_numpy(result.held_out)])
levels = analyzer.levels(masses=(0.9,))
print("Betti numbers inside the set that holds 90 % of the rows:", levels.betti(0.9))
levels.plot().figure
""",
    """## There and back

`encode` gives the structure block, `decode` brings it back with the noise at zero (or drawn), `project` does both. The angle in
the plane of `s` is the planted one, up to where it begins and which way it runs.""",
    """
s = result.flow.encode(made.x)
denoised = result.flow.project(made.x)
found = circular_correlation(plane_angle(s), made.angles[:, 0])
print(f"s {tuple(s.shape)}, denoised {tuple(denoised.shape)}; circular correlation with the planted angle {found:+.3f}")
""",
    """## A net

It sees handwritten threes, turned by any angle, and answers (cos, sin) of that angle. Its layer is a noisy bottleneck, twelve
wide. No angle is shown to the flow.""",
    """
net = training.trained_subject("rotated-digits", rows=4000)
activations = net.activations()
layer = training.fit(activations, **SHORT)
print(net.scores)
print(layer.verdict())
""",
    """
angle = activations.targets[:, 0].numpy()
train, held = activations.split()
is_train = torch.zeros(len(angle), dtype=torch.bool).index_fill(0, train, True).numpy()
s = layer.flow.encode(activations.x).numpy()
probe = probed_angle(activations.x.numpy(), angle, is_train)
print("held-out images, circular correlation with the true angle")
print(f"  read from s, never told an angle  {abs(circular_correlation(plane_angle(s)[held], angle[held])):.3f}")
print(f"  linear probe on the layer         {circular_correlation(probe[held], angle[held]):.3f}")
""",
    """## Turn the circle, and the net's answer turns

`flows.intervene` takes the layer's output apart inside the running net, hands over `s`, puts the result together again with the
noise it had, and lets the pass go on.""",
    """
def turn(delta):
    matrix = torch.tensor([[math.cos(delta), math.sin(delta)], [-math.sin(delta), math.cos(delta)]])
    return lambda s: s @ matrix


@torch.no_grad()
def answer():
    return torch.view_as_complex(net.model(net.inputs[held]).contiguous())


before = answer()
print("s turned by   answer turns by (degrees, circular mean)")
for degrees in range(-120, 181, 60):
    with flows.intervene(net.model, net.layer, layer.flow, structure=turn(math.radians(degrees))):
        turned = answer() / before
    print(f"{degrees:11d}   {math.degrees((turned / turned.abs()).mean().angle()):8.1f}")
""",
]


def build() -> nbformat.NotebookNode:
    """The notebook, not executed: every other kind of cell by its first character."""
    cells = [new_code_cell(c.strip()) if c.startswith("\n") else new_markdown_cell(c) for c in CELLS]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # drawn at random otherwise
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run every cell in a fresh kernel; a cell that fails raises."""
    nbclient.NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": ROOT}}
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the time of day
    return notebook


if __name__ == "__main__":
    nbformat.write(execute(build()), NOTEBOOK)
    print(f"{NOTEBOOK}: {NOTEBOOK.stat().st_size // 1024} KiB")
