"""How the command line is spelt, in every verb; names of the last release still work, and a note on stderr says the new one.

Flags have hyphens; YAML keys and Python names have underscores. The same kind of input has the same flag in all verbs.
"""

from pathlib import Path

OLD_VERBS = {"path": "sweep"}
OLD_FLAGS = {
    "capture": {"--rows": "--rows-from"},
    "follow": {"--files": "--data"},
    "align": {"--labels": "--use-labels"},
}
SHORT = {"data": "file", "key": "key", "labels": "labels", "groups": "groups", "nuisance": "nuisance", "order": "order"}
_CONFIG = (".yaml", ".yml", ".json")


def respell(argv: list[str]) -> tuple[list[str], list[str]]:
    """``argv`` of a call, verb first, as this release spells it, and one note for each name that has changed."""
    if not argv:
        return argv, []
    verb = OLD_VERBS.get(argv[0], argv[0])
    notes = [] if verb == argv[0] else [_note(f"unknot {argv[0]}", f"unknot {verb}")]
    words = [verb]
    for word in argv[1:]:
        flag, equals, value = word.partition("=")
        new = _renamed(verb, flag)
        if new != flag and _note(flag, new) not in notes:
            notes.append(_note(flag, new))
        words.append(new + equals + value)
    return words, notes


def _renamed(verb: str, flag: str) -> str:
    if not flag.startswith("--"):
        return flag
    flag = flag.replace("_", "-")
    return OLD_FLAGS.get(verb, {}).get(flag, flag)


def _note(old: str, new: str) -> str:
    return f"note: {old} is now {new}; the old name goes with the next release"


def as_settings(argv: list[str]) -> list[str]:
    """Flags as the settings that they stand for: --data FILE is --data.file, --model.exit-width is --model.exit_width."""
    words = []
    for place, word in enumerate(argv):
        flag, equals, value = word.partition("=")
        if not flag.startswith("--"):
            words.append(word)
            continue
        shown = value if equals else "".join(argv[place + 1 : place + 2])
        if flag[2:] in SHORT and not (flag == "--data" and _is_config(shown)):
            flag = f"--data.{SHORT[flag[2:]]}"
        words.append("--" + flag[2:].replace("-", "_") + equals + value)
    return words


def _is_config(value: str) -> bool:
    """Whether --data was given settings, as YAML or in a file of them, not the name of an array's file."""
    return value.startswith("{") or Path(value).suffix in _CONFIG
