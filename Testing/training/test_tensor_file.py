"""Our reader and writer of the safetensors format against the package of that name."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.tensor_file import load_tensors, save_tensors

TENSORS = {
    "matrix": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "turned": torch.arange(6, dtype=torch.float64).reshape(2, 3).T,
    "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "bfloat16": torch.tensor([[3.0]], dtype=torch.bfloat16),
    "number": torch.tensor(7),
    "empty": torch.zeros(0, 4),
    "flags": torch.tensor([True, False]),
    "bytes": torch.tensor([1, 2, 3], dtype=torch.uint8),
}


def assert_equal(found: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(TENSORS)
    for name, value in TENSORS.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name


def test_the_package_reads_what_is_written_here(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", TENSORS, {"step": "3", "name": "größer"})
    assert_equal(safetensors.torch.load_file(tmp_path / "a.safetensors"))
    with safetensors.safe_open(str(tmp_path / "a.safetensors"), "pt") as file:
        assert file.metadata() == {"step": "3", "name": "größer"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_what_the_package_writes_is_read_here(tmp_path: Path) -> None:
    contiguous = {name: value.contiguous() for name, value in TENSORS.items()}
    safetensors.torch.save_file(contiguous, tmp_path / "b.safetensors", {"step": "3"})
    tensors, metadata = load_tensors(tmp_path / "b.safetensors")
    assert_equal(tensors)
    assert metadata == {"step": "3"}


@pytest.mark.parametrize("harm", ["cut off", "another format", "empty", "a lie about its size"])
def test_a_damaged_file_is_named(harm: str, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_tensors(path, TENSORS, {})
    content = path.read_bytes()
    harmed = {
        "cut off": content[:-3],
        "another format": b"PK" * 100,
        "empty": b"",
        "a lie about its size": content.replace(b'"shape":[2,3]', b'"shape":[2,9]'),
    }
    path.write_bytes(harmed[harm])
    with pytest.raises(InputError, match="damaged, or no safetensors file"):
        load_tensors(path)
