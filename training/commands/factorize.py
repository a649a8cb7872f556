"""``unknot factorize``: ranks of a function, or between the layers of a net."""

from training.commands._functions import function_and_inputs, reader, show


def main(argv: list[str]) -> int:
    """``unknot factorize digits``, or ``unknot factorize nets:model --inputs x.npy --start a --end b --bottleneck``."""
    parser = reader(
        "factorize",
        "Say whether a function factors through a low-dimensional summary: ranks of its Jacobian.",
        "digits",
    )
    parser.add_argument("--start", metavar="LAYER", help="layer whose output to start from (default the input)")
    parser.add_argument("--end", metavar="LAYER", help="layer whose output to end at (default the last)")
    parser.add_argument("--rows", type=int, default=200, metavar="N", help="inputs to look at (default 200)")
    parser.add_argument(
        "--scale",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="output changes below this share of the outputs' sd count as none (default 0.1)",
    )
    parser.add_argument(
        "--table", action="store_true", help="ranks between all pairs of layers (the default for a subject)"
    )
    parser.add_argument("--bottleneck", action="store_true", help="fit summaries too, and say how many numbers suffice")
    given = parser.read(argv)

    from torch import nn

    from analysis.functions.factorization import factorize
    from analysis.functions.tables import rank_table

    function, rows = function_and_inputs(given, given.rows)
    chosen = given.start is not None or given.end is not None or given.bottleneck
    if given.table or (":" not in given.function and not chosen):
        if not isinstance(function, nn.Module) or chosen:
            raise ValueError("--table takes a torch module, and neither --start, --end nor --bottleneck; leave it out")
        return show(given, rank_table(function, rows, scale=given.scale, seed=given.seed))
    found = factorize(function, rows, start=given.start, end=given.end, scale=given.scale, seed=given.seed)
    return show(given, found, *([found.bottleneck()] if given.bottleneck else []))
