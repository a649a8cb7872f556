"""``unknot encode``: rows through the flow of a finished run, in chunks, into a .npy file."""

import sys
from argparse import SUPPRESS, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

from training.commands._parser import Parser

_WHATS = {
    "structure": "structure block s, the dimension of highest price first",
    "noise": "noise block n",
    "latent": "all dimensions at depth 1",
    "project": "the rows with their noise set to zero, in the units of the data",
    "log_prob": "log-density of each row, nats",
}


def main(argv: list[str]) -> int:
    """``unknot encode RUN --data x.npy [--out s.npy] [--what noise]``."""
    given = _options(argv)

    import torch

    from flows.flow import FunnelFlow
    from flows.io.inputs import check_kind
    from flows.io.rows import chunks
    from flows.io.store import load
    from flows.untangled import LIFT, Untangled
    from training.data.activations import read_activations
    from training.runtime.saving import suffix_for, write_npy

    if given.threads > 0:
        torch.set_num_threads(given.threads)
    tangled = (Path(given.run) / LIFT).is_file()
    flow = Untangled.load(given.run) if tangled else load(given.run)
    out = given.out or Path(given.run) / f"{given.what}.npy"
    if suffix_for(out, 1) != ".npy":
        raise ValueError(f"--out must end in .npy, got {out}")
    if given.what == "structure" and not flow.structure_dim:
        raise ValueError(f"{given.run} found k = 0, nothing but noise: there is no structure block; try --what latent")
    x = read_activations(given.data, given.key).x
    check_kind(x[:0], tuple(x.shape), width=flow.features)
    senders: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "structure": flow.encode,
        "project": flow.project,
        "log_prob": flow.log_prob,
    }
    if isinstance(flow, FunnelFlow):
        split, transform = flow.split, flow.transform
        senders |= {"noise": lambda rows: split(transform(rows))[1], "latent": transform}
    if given.what not in senders:
        raise ValueError(f"{given.run} is untangled: its noise lies in two flows; --what can be {', '.join(senders)}")
    send = senders[given.what]

    def blocks() -> Iterator[torch.Tensor]:
        for chunk in chunks(x):
            yield send(chunk)

    example = send(x[:1])
    write_npy(out, blocks(), (len(x), *example.shape[1:]), example.numpy().dtype)
    width = f" x {example.shape[1]}" if example.ndim == 2 else ""
    print(f"wrote {out}: {len(x)} rows{width}, {_WHATS[given.what]}")
    return 0


def _options(argv: list[str]) -> Namespace:
    lines = "; ".join(f"{name}: {what}" for name, what in _WHATS.items())
    parser = Parser("encode", f"Send rows through the flow of a finished run, into a .npy file. {lines}.")
    parser.add_argument("run", help="folder of a finished run, of a saved flow, or of unknot untangle")
    parser.add_argument("old_data", nargs="?", help=SUPPRESS)
    parser.add_rows()
    parser.add_argument("--what", choices=list(_WHATS), default="structure", help="what to write (default structure)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the .npy file to write (default RUN/WHAT.npy)")
    parser.add_common()
    given = parser.read(argv)
    if (given.data is None) == (given.old_data is None):
        parser.error("say which rows to send, once: unknot encode RUN --data x.npy")
    if given.old_data is not None:
        print(
            f"note: {given.old_data} is now --data {given.old_data}; the old form goes with the next release",
            file=sys.stderr,
        )
        given.data = given.old_data
    return given
