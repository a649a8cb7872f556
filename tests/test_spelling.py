"""One spelling for each kind of input in all verbs; what the last release called otherwise works, with a line on stderr."""

import re

import numpy as np
import pytest

from training import cli
from training.runtime.options import fit_options
from training.runtime.spelling import as_settings, respell


def shown(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    return ended.value.code, capsys.readouterr()


@pytest.mark.parametrize(
    ("said", "read", "noted"),
    [
        ("fit --null_worth 0.03", "fit --null-worth 0.03", "--null_worth is now --null-worth"),
        ("fit --num_nodes=2", "fit --num-nodes=2", "--num_nodes is now --num-nodes"),
        ("fit --model.exit_width .3", "fit --model.exit-width .3", "--model.exit_width is now --model.exit-width"),
        ("path -c digits", "sweep -c digits", "unknot path is now unknot sweep"),
        ("follow --files a-1.npy", "follow --data a-1.npy", "--files is now --data"),
        ("align a b --labels", "align a b --use-labels", "--labels is now --use-labels"),
        ("capture m:f --rows mean", "capture m:f --rows-from mean", "--rows is now --rows-from"),
    ],
)
def test_old_names_work_and_are_noted(said, read, noted):
    argv, notes = respell(said.split())
    assert argv == read.split()
    assert len(notes) == 1 and noted in notes[0] and "goes with the next release" in notes[0]


def test_names_of_today_are_not_noted():
    for said in (
        "fit -c digits --data.rows 9 --out my_run",
        "factorize digits --rows 9",
        "analyze run --labels a_b.npy",
    ):
        assert respell(said.split()) == (said.split(), [])


def test_a_note_is_one_line_on_stderr(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["path", "--null_worth=0.1", "--null_worth=0.2", "--kappas", "-1"]) == 1
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2 and "unknot sweep" in notes[0] and "--null-worth" in notes[1]


SHORT = "--data a.npz --key x --labels y --groups z --nuisance w --null-worth 0.1 --model.exit-width 0.3"
LONG = "--data.file a.npz --data.key x --data.labels y --data.groups z --data.nuisance w --null_worth 0.1 --model.exit_width 0.3"


def test_short_flags_and_settings_are_the_same():
    assert as_settings(SHORT.split()) == LONG.split()
    found = fit_options(SHORT.split())
    assert (found.data.file, found.data.groups, found.null_worth, found.model.exit_width) == ("a.npz", "z", 0.1, 0.3)
    assert fit_options(LONG.split()).text == found.text
    assert "exit_width: 0.3" in found.text and "file: a.npz" in found.text


def test_data_may_still_be_a_file_of_settings(tmp_path):
    (tmp_path / "data.yaml").write_text("planted: circle\nrows: 99\n")
    assert fit_options(["--data", str(tmp_path / "data.yaml")]).data.rows == 99


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_of_every_verb_is_spelt_with_hyphens(verb, capsys):
    if verb == "doctor":
        assert cli.main([verb, "--help"]) == 0
        text = capsys.readouterr().out
    else:
        code, said = shown([verb, "--help"], capsys)
        assert code == 0
        text = said.out
    assert text.startswith(f"usage: unknot {verb}")
    assert not re.findall(r"--[\w.]*_[\w.-]*", text)
    assert "``" not in text and ":meth:" not in text and "type: " not in text


@pytest.mark.parametrize("verb", ["fit", "analyze", "report", "encode", "follow"])
def test_verbs_that_read_activations_call_them_data(verb, capsys):
    assert "--data FILE" in shown([verb, "--help"], capsys)[1].out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["sweeep"], "no verb 'sweeep'; did you mean 'sweep'"),
        (["analyze", "run", "--jsn"], "unknown flag --jsn; did you mean --json? 'unknot analyze --help' lists all"),
        (["analyze", "run", "more"], "one argument too many: more; 'unknot analyze --help' lists all"),
        (["analyze"], "the following arguments are required: run; see 'unknot analyze --help'"),
        (["capture", "m:f"], "required: --layer, --out; see 'unknot capture --help'"),
        (["align", "a", "b", "--seed", "x"], "argument --seed: invalid int value: 'x'; see 'unknot align --help'"),
        (["encode", "run"], "say which rows to send, once: unknot encode RUN --data x.npy"),
        (["encode", "run", "a.npy", "--data", "b.npy"], "say which rows to send, once"),
        (["fit", "--data", "no.npy"], "no file no.npy"),
        (["fit", "--dta", "no.npy"], "did you mean --data"),
        (
            ["fit", "--data.planted", "circle", "--null-wort", "1"],
            "unknown flag --null-wort; did you mean --null-worth?",
        ),
        (["fit", "--data", "x.npy", "--model.exit-widht", "1"], "did you mean --model.exit-width"),
        (["analyze", "no"], "no run folder no; unknot fit writes one"),
        (["report", "no"], "no run folder no; unknot fit writes one"),
        (["compare", "no", "no"], "no run folder no; unknot fit writes one"),
        (["align", "no", "no"], "no run folder no; unknot fit writes one"),
        (["untangle", "no"], "no run folder no; unknot fit writes one"),
        (["factorize", "maps:f", "--inputs", "x.npy"], "no module 'maps'"),
    ],
)
def test_typical_mistakes_say_what_to_do(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(argv)
    except SystemExit as ended:
        code = ended.code
    assert code in (1, 2)
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1, "one line, no usage and no traceback"


def test_encode_takes_its_rows_as_before(tmp_path, monkeypatch, capsys, make_flow):
    import torch

    monkeypatch.chdir(tmp_path)
    flow = make_flow(3, exits="open", dtype=torch.float32)
    flow.save("run")
    np.save("x.npy", np.random.default_rng(0).normal(size=(20, 3)).astype("float32"))
    assert cli.main(["encode", "run", "x.npy", "--out", "old.npy"]) == 0
    assert "note: x.npy is now --data x.npy" in capsys.readouterr().err
    assert cli.main(["encode", "run", "--data", "x.npy", "--out", "new.npy"]) == 0
    assert capsys.readouterr().err == ""
    assert np.array_equal(np.load("old.npy"), np.load("new.npy"))
