"""``unknot fibre``: what the inputs with one output form."""

from training.commands._functions import function_and_inputs, reader, show


def main(argv: list[str]) -> int:
    """``unknot fibre maps:f --inputs x.npy --value 0 0``."""
    parser = reader(
        "fibre",
        "Sample the inputs with one output, near data, and say what they form: points, circles, lines, surfaces.",
        "maps:f --inputs x.npy --value 0 0",
    )
    at = parser.add_mutually_exclusive_group()
    at.add_argument(
        "--value", type=float, nargs="+", metavar="X", help="the output, one number for each of its columns"
    )
    at.add_argument("--row", type=int, default=0, metavar="N", help="or the output at input N (default 0)")
    parser.add_argument(
        "--rank", type=int, metavar="N", help="rank of the Jacobian on the fibre (default found numerically)"
    )
    parser.add_argument("--rows", type=int, default=2000, metavar="N", help="inputs that count as data (default 2000)")
    given = parser.read(argv)

    import torch

    from analysis.functions.fibres import fibre
    from analysis.functions.layers import evaluating, outputs_of

    function, rows = function_and_inputs(given, given.rows)
    rows = rows.flatten(1)
    if given.value is None and not 0 <= given.row < len(rows):
        raise ValueError(f"--row {given.row} is none of the {len(rows)} inputs; pass one in 0..{len(rows) - 1}")
    with evaluating(function):
        own = outputs_of(function, rows[given.row : given.row + 1])[0] if given.value is None else None
    value = torch.tensor(given.value) if own is None else own
    return show(given, fibre(function, value, rows, rank=given.rank, seed=given.seed))
