"""The command line's front door: picks the verb, and imports nothing heavy before it knows which."""

import os
import sys

VERBS = {
    "fit": "train a flow on activations and say what structure is left",
    "capture": "run a model and write the activations of its layers",
    "encode": "send rows through the flow of a finished run",
    "sweep": "fit at several kappas and map which structure survives over the widest range",
    "untangle": "lift a finished run's structure into more dimensions, where knots come undone, and fit it again",
    "follow": "fit a layer along its net's training: when does structure appear?",
    "analyze": "say what structure a finished run found: level sets, pieces, holes, how sure",
    "report": "write the same with pictures as one offline HTML file",
    "compare": "show two finished runs side by side",
    "align": "find the map between the structure of two runs without pairs, and say whether it is unique",
    "factorize": "say whether a function, or a net between two layers, factors through a low-dimensional summary",
    "fibre": "say what the inputs with one output form: points, circles, lines, surfaces",
    "doctor": "print versions, devices and which folders were imported",
}

_USAGE = """usage: unknot VERB [options]

Find what is left of a neural net's activations when the noise is gone.

verbs:
{verbs}

'unknot VERB --help' says more.

start with a preset:     unknot fit -c digits
with your activations:   unknot fit --data acts.npy --out RUN, then unknot report RUN

presets for -c: {presets}
With UNKNOT_TRACEBACK=1 an error shows where it came from."""


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done, 1 failed, 2 called wrongly."""
    argv = sys.argv[1:] if argv is None else argv
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a user's module:object; appended, so that no local folder shadows a package
    if not argv or argv[0] in ("-h", "--help", "help"):
        from training.runtime.presets import preset_names

        verbs = "\n".join(f"  {verb:10} {what}" for verb, what in VERBS.items())
        print(_USAGE.format(verbs=verbs, presets=", ".join(preset_names())))
        return 0 if argv else 2
    if argv[0] == "--version":
        from importlib.metadata import version

        print(f"unknot {version('unknot')}")
        return 0
    from training.runtime.spelling import respell

    argv, notes = respell(argv)
    for note in notes:
        print(note, file=sys.stderr)
    if argv[0] not in VERBS:
        from difflib import get_close_matches

        near = get_close_matches(argv[0], VERBS, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        print(f"unknot: no verb {argv[0]!r}; {hint}valid: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    from importlib import import_module

    try:
        return import_module(f"training.commands.{argv[0]}").main(argv[1:])
    except KeyboardInterrupt:
        print("unknot: interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError, RuntimeError, FloatingPointError) as error:
        if os.environ.get("UNKNOT_TRACEBACK"):
            raise
        print(f"unknot {argv[0]}: {error}", file=sys.stderr)
        return getattr(error, "exit_status", 1)


if __name__ == "__main__":
    raise SystemExit(main())
