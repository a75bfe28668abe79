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
from safetensors.torch import load_file, save_file

from ICHSegmentationLib.convolution import Spacing, rounded_spacing
from ICHSegmentationLib.errors import BundleError
from ICHSegmentationLib.unet import BakedUNet, EquivariantUNet, UNetConfig

FORMAT_VERSION = 1
MANIFEST = "bundle.json"
BUNDLED = "Resources/ensemble"
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


def bundled_path() -> Path:
    """The folder of the ensemble that ships with the project, beside the package or within it."""
    package = Path(__file__).resolve().parent
    for root in (package, package.parent):
        if (root / BUNDLED / MANIFEST).exists():
            return root / BUNDLED
    raise BundleError(f"no bundled ensemble was found beside {package.name} ({BUNDLED}); name one with --bundle.")


def load_bundle(path: str | Path | None = None) -> Ensemble:
    """Loads and verifies a bundle; by default the one that ships with the project.

    Raises:
        BundleError: one sentence on what is missing, damaged or unknown.
    """
    folder = Path(path) if path is not None else bundled_path()
    info, files, sha256 = read_manifest(folder)
    members = []
    for name, expected in files:
        file = folder / name
        if Path(name).name != name or not file.is_file():
            raise BundleError(f"the bundle lacks its member {name}.")
        try:
            found = file_sha256(file)
        except OSError as error:
            raise BundleError(f"{name} of the bundle cannot be read: {error.strerror}.") from None
        if found != expected:
            raise BundleError(
                f"{name} is damaged or was changed: its SHA-256 starts with {found[:12]}, the manifest says "
                f"{expected[:12]}."
            )
        try:
            network = EquivariantUNet(info.network)
            weights = {key: value.float() for key, value in load_file(file).items()}
            network.load_state_dict(weights)
        except (SafetensorError, RuntimeError, ValueError, AssertionError):
            raise BundleError(f"{name} does not hold the weights of the network that the manifest describes.") from None
        members.append(network.eval().requires_grad_(False))
    return Ensemble(info, sha256, members)


def read_manifest(folder: Path) -> tuple[BundleInfo, list[tuple[str, str]], str]:
    """The manifest, its members as (file, SHA-256), and the SHA-256 of the manifest itself."""
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        values = json.loads(content)
    except OSError:
        raise BundleError(f"{folder} is no bundle: it has no readable {MANIFEST}.") from None
    except ValueError:
        raise BundleError(f"the bundle's {MANIFEST} is not valid JSON.") from None
    version = values.get("format") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise BundleError(f"the bundle has format {version!r}; this version reads format {FORMAT_VERSION}.")
    try:
        info = BundleInfo(
            name=values["name"],
            version=values["version"],
            preset=values["preset"],
            network=UNetConfig.from_json(values["network"]),
            threshold=float(values["threshold"]),
            windows_hu=tuple((float(low), float(high)) for low, high in values["windows_hu"]),
            training=values["training"],
            licence=values["licence"],
        )
        files = [(str(member["file"]), str(member["sha256"])) for member in values["members"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"the bundle's {MANIFEST} is incomplete or wrong: {error}.") from None
    if not files:
        raise BundleError("the bundle has no members.")
    return info, files, hashlib.sha256(content).hexdigest()


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
                raise ValueError(f"the weight {key} of member {index} does not fit float16")
        save_file(half, file)
        entries.append({"file": file.name, "sha256": file_sha256(file)})
    manifest = {"format": FORMAT_VERSION, **dataclasses.asdict(info), "members": entries}
    content = json.dumps(manifest, indent=1).encode()
    (folder / MANIFEST).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
