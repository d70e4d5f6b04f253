"""What goes into a file of weights comes out the same, and nothing else can be in one."""

import math
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.contracts import FelsinaError
from training.checkpoint import read, write

KINDS = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
TENSORS = st.builds(
    lambda kind, shape, seed: torch.randint(
        0, 2, shape, generator=torch.Generator().manual_seed(seed)
    ).to(kind),
    st.sampled_from(KINDS),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 99),
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | TENSORS
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.dictionaries(st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


@settings(deadline=None, max_examples=150)
@given(TREES)
def test_a_tree_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, tree: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "tree.safetensors"
    write(tree, path)
    assert same(read(path), tree)
    before = path.read_bytes()
    write(tree, path)
    assert path.read_bytes() == before


def test_no_tensor_takes_the_place_of_another(tmp_path: Path) -> None:
    tree = {"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}, "c": {"a/b": torch.ones(2)}}
    write(tree, tmp_path / "x")
    assert same(read(tmp_path / "x"), tree)


def test_weights_have_their_names(tmp_path: Path) -> None:
    """Whoever knows safetensors needs nothing of ours to read them."""
    shared = torch.arange(6.0)
    state = {"a.weight": shared.view(2, 3).T, "a.bias": shared[:1].expand(4), "b": shared}
    write(state, tmp_path / "state.safetensors")
    found = safetensors.torch.load_file(tmp_path / "state.safetensors")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_an_optimiser_goes_on_where_it_was(tmp_path: Path) -> None:
    def stepped(optimiser: torch.optim.Optimizer, weight: Tensor) -> Tensor:
        weight.grad = weight.detach() ** 2
        optimiser.step()
        return weight.detach().clone()

    weight = torch.ones(3, requires_grad=True)
    optimiser = torch.optim.AdamW([weight], lr=0.1)
    stepped(optimiser, weight)
    write(optimiser.state_dict(), tmp_path / "o.safetensors")
    twin = weight.detach().clone().requires_grad_()
    other = torch.optim.AdamW([twin], lr=9.0)
    other.load_state_dict(read(tmp_path / "o.safetensors"))
    assert torch.equal(stepped(other, twin), stepped(optimiser, weight))


@pytest.mark.parametrize("value", [print, {1, 2}, object(), torch.nn.Linear(1, 1), b"bytes"])
def test_what_is_no_number_and_no_text_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(FelsinaError, match=r"a/1: a \w+ has no place"):
        write({"a": [0, value]}, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write({"a": torch.ones(5)}, path)
    whole = path.read_bytes()
    assert same(read(path), {"a": torch.ones(5)})
    torch.save({"a": torch.ones(5)}, tmp_path / "pickled")
    others = [(tmp_path / "pickled").read_bytes(), b"", b"{}", whole + b"more"]
    others += [whole[:n] for n in range(0, len(whole), 7)]
    others.append(safetensors.torch.save({"a": torch.ones(5)}))
    others.append(safetensors.torch.save({"a": torch.ones(5)}, {"tree": '{"tensor": "b"}'}))
    for content in others:
        path.write_bytes(content)
        with pytest.raises(FelsinaError, match="no file of weights") as refused:
            read(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(FelsinaError, match="no file of weights"):
        read(tmp_path / "missing")
