"""Flows on disk: equal after a round trip, written whole or not at all, and each kind of damage named."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

import flows
from flows.io.store import StoreError

pytestmark = pytest.mark.quick

V1 = Path(__file__).parent / "data" / "flow-v1"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("law", ["bernoulli", "channel"])
def test_round_trip_is_exact(make_flow, tmp_path, untouched_rng, law, dtype):
    flow = make_flow(5, law=law, dtype=dtype)
    with untouched_rng():
        flow.save(tmp_path / "deep" / "run")
        again = flows.load(tmp_path / "deep" / "run")
    x = torch.randn(6, 5, dtype=dtype)
    assert torch.equal(again.log_prob(x), flow.log_prob(x)) and torch.equal(again.encode(x), flow.encode(x))
    assert again.config == flow.config
    assert not again.training and not any(p.requires_grad for p in again.parameters())
    assert {path.name for path in (tmp_path / "deep" / "run").iterdir()} == {"flow.json", "flow.safetensors"}


@pytest.mark.filterwarnings("ignore:set aside")
def test_columns_set_aside_and_directions_below_the_floor_survive(tmp_path):
    x = torch.randn(50, 2) @ torch.randn(2, 4)
    x = torch.cat([x, torch.ones(50, 1), x[:, :1]], dim=1)
    flow = flows.FunnelFlow.from_rows(x)
    flow.save(tmp_path)
    again = flows.load(tmp_path)
    assert torch.equal(again.log_prob(x), flow.log_prob(x))
    torch.testing.assert_close(again.inverse(again.transform(x)), x, rtol=0, atol=1e-4)


def test_json_is_for_people_too(make_flow, tmp_path):
    make_flow(5).save(tmp_path)
    about = json.loads((tmp_path / "flow.json").read_text())
    assert (about["format"], about["class"], about["dtype"], about["structure_dim"]) == (2, "FunnelFlow", "float64", 2)
    assert about["sha256"] == hashlib.sha256((tmp_path / "flow.safetensors").read_bytes()).hexdigest()


def test_format_1_loads_for_ever():
    """tests/data/flow-v1 was written once by

    g = torch.Generator().manual_seed(0); f = flows.FunnelFlow.from_rows(torch.randn(99, 3, generator=g), hidden=4,
    components=2); [p.data.add_(torch.randn(p.shape, generator=g), alpha=0.3) for p in f.parameters()];
    f.exits.clamp_(torch.tensor([True, False, True])); f.save("tests/data/flow-v1")
    """
    points = torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5], [-2.0, 0.3, 1.5]])
    assert flows.load(V1).log_prob(points).tolist() == pytest.approx(LOG_PROBS, abs=1e-5)
    assert json.loads((V1 / "flow.json").read_text())["format"] == 1


LOG_PROBS = [-2.901021, -4.683577, -5.46866]


@pytest.fixture
def saved(make_flow, tmp_path):
    make_flow(2).save(tmp_path)
    return tmp_path


def edit(folder, **changes):
    about = json.loads((folder / "flow.json").read_text()) | changes
    (folder / "flow.json").write_text(json.dumps({key: value for key, value in about.items() if value is not None}))


def test_missing(saved):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; pass the folder"):
        flows.load(saved / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no folder .*flow\.json"):
        flows.load(saved / "flow.json")
    (saved / "flow.safetensors").rename(saved / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"has no flow\.safetensors; .* together"):
        flows.load(saved)
    (saved / "flow.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no flow\.json"):
        flows.load(saved)


@pytest.mark.parametrize("content", [b"", b'{"format": 1, "cla', b"\xff\xfe\x00", b"not json"], ids=str)
def test_json_that_does_not_parse(saved, content):
    (saved / "flow.json").write_bytes(content)
    with pytest.raises(StoreError, match=f"flow.json must hold JSON, got {len(content)} bytes .* save the flow again"):
        flows.load(saved)


@pytest.mark.parametrize("content", ["[1]", "{}", "3"])
def test_json_of_something_else(saved, content):
    (saved / "flow.json").write_text(content)
    with pytest.raises(StoreError, match="without a 'format'; pass a folder"):
        flows.load(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 3}, r"format 3, this unknot reads up to 2: written by a newer unknot \(9.9\); upgrade"),
        ({"format": 0}, "must have format 2, got 0"),
        ({"format": "1"}, "must have format 2, got '1'"),
        ({"class": "FunelFlow"}, "unknown class 'FunelFlow'; did you mean 'FunnelFlow'"),
        ({"class": "os.system"}, "unknown class 'os.system'; valid: FunnelFlow"),
        ({"class": ["x"]}, "unknown class"),
        ({"config": None}, "must have the keys .* got"),
        ({"extra": 1}, "must have the keys .* got"),
        ({"dtype": "float16"}, r"changed after saving: dtype \(got float16, saved float64\)"),
        ({"config": {"features": 10**9}}, "changed after saving: config"),
        ({"sha256": "0" * 64}, "truncated or changed: sha256 .* expects 000000000000"),
    ],
)
def test_json_that_was_changed(saved, changes, message):
    edit(saved, **{"unknot": "9.9", **changes} if "format" in changes else changes)
    with pytest.raises(StoreError, match=message):
        flows.load(saved)


def test_any_flipped_bit_of_the_weights_is_found(saved):
    path = saved / "flow.safetensors"
    good = path.read_bytes()
    for at in range(0, len(good), len(good) // 20):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(StoreError, match=f"truncated or changed: sha256 .* of {len(good)} bytes"):
            flows.load(saved)


def test_any_flipped_bit_of_the_json_is_found(saved):
    path = saved / "flow.json"
    good = path.read_bytes()
    for at in range(len(good) - 1):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(StoreError):
            flows.load(saved)


def test_truncated_weights(saved):
    path = saved / "flow.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(StoreError, match="truncated or changed"):
        flows.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("exits.tau"), "exits.tau missing"),
        (lambda tensors: tensors.update(more=torch.ones(1)), "more not expected"),
        (lambda tensors: tensors.update({"exits.tau": torch.ones(3)}), r"exits.tau has shape \(3,\), expected \(2,\)"),
    ],
)
def test_weights_of_another_flow(saved, change, message):
    about = json.loads((saved / "flow.json").read_text())
    tensors = load_file(saved / "flow.safetensors")
    change(tensors)
    words = json.dumps({key: value for key, value in about.items() if key != "sha256"})
    weights = to_bytes(tensors, metadata={"flow": words})
    (saved / "flow.safetensors").write_bytes(weights)
    edit(saved, sha256=hashlib.sha256(weights).hexdigest())
    with pytest.raises(StoreError, match=f"does not hold this flow's weights: .*{message}"):
        flows.load(saved)


def test_a_save_that_fails_leaves_the_old_flow_whole(make_flow, saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    calls = []

    def disk_full(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        make_flow(2, seed=1).save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_the_json_comes_last(make_flow, saved, monkeypatch):
    order, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: order.append(Path(b).name) or replace(a, b))
    make_flow(2, seed=1).save(saved)
    assert order == ["flow.safetensors", "flow.json"]
    flows.load(saved)
