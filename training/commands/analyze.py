"""``unknot analyze``: everything that the analyzer says of a finished run, in plain lines."""

import json
import sys
from collections.abc import Iterable, Sequence

from training.commands._runs import analyzer_of, ask_its_net, reader


def main(argv: list[str]) -> int:
    """``unknot analyze RUN [--data x.npy] [--json]``: everything that the analyzer says, in plain lines.

    Of a run of a subject the net is trained again, and asked what it uses.
    """
    given = reader("analyze", "Say what structure a finished run found.", argv, json=True)
    analyzer = analyzer_of(given.run, given)
    ask_its_net(analyzer, given)
    verbs = [
        "dimensions",
        "describe",
        "loops",
        "levels",
        "tree",
        "hierarchy",
        "certificate",
        "tear",
        "carved",
        "intrinsic_dimension",
        *["faithfulness"] * analyzer.can_ask,
    ]
    answers = {verb: getattr(analyzer, verb)() for verb in _progress(verbs)}
    if given.json:
        print(json.dumps({verb: answer.to_dict() for verb, answer in answers.items()}, allow_nan=False))
        return 0
    print(f"run: {given.run}, {analyzer!r}")
    for verb, answer in answers.items():
        print(f"\n{verb.replace('_', ' ')}\n{answer!r}")
    return 0


def _progress(verbs: Sequence[str]) -> Iterable[str]:
    """A bar on a terminal, once it has taken two seconds."""
    from tqdm import tqdm

    return tqdm(verbs, unit="question", delay=2, disable=None, leave=False, file=sys.stderr)
