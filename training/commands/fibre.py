"""``unknot fibre``: what the inputs with one output form."""

from training.commands._functions import function_and_inputs, reader, show


def main(argv: list[str]) -> int:
    """``unknot fibre maps:f --inputs x.npy --value 0 0``."""
    parser = reader(
        "fibre", "Sample {x : f(x) = value} near data, and say what it is: points, circles, lines, surfaces."
    )
    at = parser.add_mutually_exclusive_group()
    at.add_argument("--value", type=float, nargs="+", help="one number for each output")
    at.add_argument("--row", type=int, default=0, help="or that of this input (default 0)")
    parser.add_argument("--rank", type=int, help="of the Jacobian on the fibre (default numerical)")
    parser.add_argument("--rows", type=int, default=2000, help="inputs that make up the data (default 2000)")
    given = parser.parse_args(argv)

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
