"""The ensemble: a bundle on disk (a manifest and one file of weights a member), loaded, verified, saved.

A bundle is a folder with `bundle.json` and one safetensors file per member. The manifest names every file with its
SHA-256; nothing is unpickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ICHSegmentationLib.bundle import FORMAT_VERSION, MANIFEST, Manifest, file_sha256, incomplete, read_manifest
from ICHSegmentationLib.convolution import Spacing, rounded_spacing
from ICHSegmentationLib.errors import BundleError, InputError
from ICHSegmentationLib.unet import BakedUNet, EquivariantUNet, UNetConfig

BAKED_BYTES = 2**29  # how much of baked kernels to keep for the next scan of the same spacing


@dataclass(frozen=True)
class BundleInfo:
    """What the manifest says. JSON values only.

    Attributes:
        name, version: of the ensemble.
        preset: the preset the network's configuration came from.
        network: the full configuration.
        threshold: probability from which a voxel is bleed.
        windows_hu: the windows the members were trained with.
        training: data, recipe, seeds, in words and numbers.
        licence: of the weights.
    """

    name: str
    version: str
    preset: str
    network: UNetConfig
    threshold: float
    windows_hu: tuple[tuple[float, float], ...]
    training: dict[str, Any]
    licence: str


@dataclass
class Ensemble:
    """Members of one architecture.

    Attributes:
        info: the manifest.
        sha256: of the manifest, which holds those of the members: it names exactly these weights.
        members: the networks, in evaluation mode, on the CPU in float32.
    """

    info: BundleInfo
    sha256: str
    members: list[EquivariantUNet]
    _baked: OrderedDict[tuple[Any, ...], BakedUNet] = field(default_factory=OrderedDict, repr=False)

    def baked(self, member: int, spacing_mm: Spacing, device: torch.device, dtype: torch.dtype) -> BakedUNet:
        """A member baked for a spacing; the most recently used are kept, up to a number of bytes."""
        key = (member, rounded_spacing(spacing_mm), str(device), dtype)
        if key not in self._baked:
            self._baked[key] = self.members[member].bake(spacing_mm).to(device, dtype).eval()
        self._baked.move_to_end(key)
        while len(self._baked) > 1 and sum(map(bytes_of, self._baked.values())) > BAKED_BYTES:
            self._baked.popitem(last=False)
        return self._baked[key]


def bytes_of(network: torch.nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


def load_bundle(path: str | Path | None = None) -> Ensemble:
    """Loads and verifies a bundle; by default the one that ships with the project.

    Raises:
        BundleError: one sentence on what is missing, damaged or unknown.
    """
    manifest = read_manifest(path)
    info = info_of(manifest)
    members = []
    for file in manifest.member_paths():
        try:
            network = EquivariantUNet(info.network)
            weights = {key: value.float() for key, value in load_file(file).items()}
            network.load_state_dict(weights)
        except (SafetensorError, RuntimeError, ValueError, AssertionError):
            raise BundleError(
                f"{file.name} does not hold the weights of the network that the manifest describes."
            ) from None
        members.append(network.eval().requires_grad_(False))
    return Ensemble(info, manifest.sha256, members)


def info_of(manifest: Manifest) -> BundleInfo:
    """What a manifest says, in the types of this library."""
    values = manifest.values
    try:
        return BundleInfo(
            name=values["name"],
            version=values["version"],
            preset=values["preset"],
            network=UNetConfig.from_json(values["network"]),
            threshold=float(values["threshold"]),
            windows_hu=tuple((float(low), float(high)) for low, high in values["windows_hu"]),
            training=values["training"],
            licence=values["licence"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise incomplete(error) from None


def save_bundle(folder: Path, info: BundleInfo, members: list[dict[str, torch.Tensor]]) -> str:
    """Writes a bundle of state dicts, in float16, and returns the manifest's SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for index, weights in enumerate(members):
        file = folder / f"member_{index}.safetensors"
        half = {}
        for key, value in weights.items():
            half[key] = value.detach().cpu().to(torch.float16).contiguous()
            if not bool(torch.isfinite(half[key]).all()):
                raise InputError(f"the weight {key} of member {index} is no number that float16 can hold.")
        file.write_bytes(save(half))  # `save_file` makes a file that nobody else may read
        entries.append({"file": file.name, "sha256": file_sha256(file)})
    manifest = {"format": FORMAT_VERSION, **dataclasses.asdict(info), "members": entries}
    content = json.dumps(manifest, indent=1).encode()
    (folder / MANIFEST).write_bytes(content)
    return hashlib.sha256(content).hexdigest()
