"""What is installed, said and mended: on a click, after asking, never before."""

from __future__ import annotations

import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from host import why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

import slicer
import slicer.util
from panel_helpers import LONGEST_WAIT_S, is_shown

from ICHSegmentationLib import installation
from ICHSegmentationLib.bundle import bundled_path


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What packages say of their versions, for the test to change."""
    real, told = installation.installed_version, {}
    monkeypatch.setattr(installation, "installed_version", lambda name: told[name] if name in told else real(name))
    return told


@pytest.fixture
def no_torch(panel: Any, versions: dict[str, str | None]) -> Any:
    """The panel in a Slicer without torch and e3nn."""
    versions.update(torch=None, e3nn=None)
    panel.look_at_installation()
    return panel


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str | None]) -> list[dict[str, Any]]:
    """The PyTorch extension: notes what it was asked for, and has torch installed then."""
    asked: list[dict[str, Any]] = []

    class PyTorchUtilsLogic:
        def installTorch(
            self,
            askConfirmation: bool = False,
            forceComputationBackend: str | None = None,
            torchVersionRequirement: str | None = None,
            torchvisionVersionRequirement: str | None = None,
        ) -> Any:
            asked.append({"ask": askConfirmation, "version": torchVersionRequirement})
            versions["torch"] = "2.8.0"
            return types.SimpleNamespace(__version__="2.8.0")

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic))
    return asked


def kinds() -> list[str]:
    return [dialog.kind for dialog in slicer.app.dialogs]


def test_opening_the_section_says_torch_device_and_ensemble(panel: Any) -> None:
    import torch

    assert slicer.app.dialogs == []
    assert panel.ui.setupButton.collapsed
    assert f"PyTorch: {torch.__version__}" in panel.ui.setupLabel.text
    panel.ui.setupButton.collapsed = False
    slicer.app.wait_until(lambda: "Device: cpu (" in panel.ui.setupLabel.text, LONGEST_WAIT_S)
    bundle = panel.set_up.installation.bundle
    assert f"Ensemble: ICH compact {bundle.version} ({bundle.sha256[:12]})" in panel.ui.setupLabel.text
    assert not panel.ui.installButton.enabled
    assert panel.ui.installButton.toolTip == "Nothing is missing"


def test_without_torch_segment_says_why_and_the_rest_still_works(no_torch: Any, ct: Any, tmp_path: Path) -> None:
    assert not no_torch.ui.segmentButton.enabled
    assert no_torch.ui.segmentButton.toolTip == "PyTorch is not installed; open Set-up and click Install."
    no_torch.ui.batchOutputEdit.currentPath = str(tmp_path)
    assert not no_torch.ui.batchRunButton.enabled
    assert "PyTorch is not installed" in no_torch.ui.batchRunButton.toolTip
    assert not no_torch.ui.setupButton.collapsed
    assert "PyTorch: not installed" in no_torch.ui.setupLabel.text
    no_torch.ui.brainWindowButton.click()
    assert ct.GetDisplayNode().GetWindow() == 80
    assert slicer.app.dialogs == []


def test_install_asks_and_then_takes_torch_first_and_the_rest_in_its_ranges(
    no_torch: Any, extension: list[dict[str, Any]], versions: dict[str, str | None]
) -> None:
    slicer.app.answers["confirmOkCancelDisplay"] = False
    no_torch.ui.installButton.click()
    assert kinds() == ["confirmOkCancelDisplay"]
    assert extension == []
    slicer.app.answers["confirmOkCancelDisplay"] = True
    slicer.app.dialogs.clear()
    no_torch.ui.installButton.click()
    assert kinds() == ["confirmOkCancelDisplay", "pip_ensure"]
    assert "torch>=2.4, e3nn>=0.5.1" in slicer.app.dialogs[0].text
    assert extension == [{"ask": True, "version": ">=2.4"}]
    assert [str(need) for need in slicer.app.dialogs[1].arguments["requirements"]] == ["e3nn>=0.5.1"]
    assert "Missing or too old: e3nn" in no_torch.ui.segmentButton.toolTip
    versions["e3nn"] = "0.6.0"
    no_torch.look_at_installation()
    assert no_torch.ui.segmentButton.enabled


def test_a_slicer_without_pip_ensure_installs_too(
    no_torch: Any, extension: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", given.append)
    slicer.app.answers["confirmOkCancelDisplay"] = True
    no_torch.ui.installButton.click()
    assert len(extension) == 1
    assert given == [["e3nn>=0.5.1"]]


def test_what_install_lacks_is_said(no_torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slicer.app.answers["confirmOkCancelDisplay"] = True
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    no_torch.ui.installButton.click()
    assert "The extension PyTorch is missing" in no_torch.ui.setupLabel.text
    logic = types.SimpleNamespace(installTorch=lambda **wishes: None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=lambda: logic))
    no_torch.ui.installButton.click()
    assert "PyTorch was not installed." in no_torch.ui.setupLabel.text


def test_offline_everything_comes_from_a_folder_of_wheels(no_torch: Any, tmp_path: Path) -> None:
    slicer.app.answers.update({"QFileDialog.getExistingDirectory": str(tmp_path), "confirmOkCancelDisplay": True})
    no_torch.ui.wheelsButton.click()
    assert "holds no wheels" in no_torch.ui.setupLabel.text
    (tmp_path / "torch-2.8.0-py3-none-any.whl").touch()
    no_torch.ui.wheelsButton.click()
    (call,) = [dialog for dialog in slicer.app.dialogs if dialog.kind == "pip_install"]
    wanted = ["--no-index", "--find-links", str(tmp_path), "torch>=2.4", "e3nn>=0.5.1"]
    assert call.arguments["requirements"] == wanted
    slicer.app.answers["pip_install"] = subprocess.CalledProcessError(1, "pip")
    no_torch.ui.wheelsButton.click()
    assert "pip ended with exit code 1" in no_torch.ui.setupLabel.text


def test_slicers_own_simpleitk_is_never_replaced(panel: Any, versions: dict[str, str | None]) -> None:
    versions["SimpleITK"] = "2.1"
    panel.look_at_installation()
    assert "SimpleITK>=2.4" in panel.ui.segmentButton.toolTip
    assert not panel.ui.installButton.enabled


def test_an_ensemble_is_verified_before_it_is_taken(panel: Any, tmp_path: Path) -> None:
    before = panel.ui.bundleEdit.text
    slicer.app.answers["QFileDialog.getExistingDirectory"] = str(tmp_path)
    panel.ui.ensembleButton.click()
    assert "is no bundle" in panel.ui.setupLabel.text
    assert panel.ui.bundleEdit.text == before
    good = tmp_path / "good"
    shutil.copytree(bundled_path(), good)
    slicer.app.answers["QFileDialog.getExistingDirectory"] = str(good)
    panel.ui.ensembleButton.click()
    assert panel.ui.bundleEdit.text == str(good)
    assert "is no bundle" not in panel.ui.setupLabel.text
    (good / "member_0.safetensors").write_bytes(b"changed")
    panel.look_at_installation()
    assert "member_0.safetensors is damaged" in panel.ui.setupLabel.text
    assert "member_0.safetensors is damaged" in panel.ui.segmentButton.toolTip


def test_an_ensemble_that_is_not_there_is_said(panel: Any) -> None:
    panel.ui.bundleEdit.text = "/nonexistent"
    assert not panel.ui.segmentButton.enabled
    assert "is no bundle" in panel.ui.segmentButton.toolTip
    assert not panel.ui.setupButton.collapsed
    panel.ui.bundleEdit.text = ""
    assert panel.ui.segmentButton.enabled


def test_diagnostics_say_what_a_bug_report_needs_and_no_name_of_a_scan(panel: Any) -> None:
    panel.ui.copyDiagnosticsButton.click()
    text = slicer.app.clipboard().text()
    for said in ("Slicer", "Python 3", "PyTorch: ", "e3nn ", "SimpleITK ", "Ensemble: ICH compact", "Device: "):
        assert said in text
    assert "CT head" not in text
    assert is_shown(panel.ui.copyDiagnosticsButton)


def test_diagnostics_hold_nothing_of_a_scan_even_if_the_worker_said_it(panel: Any, ct: Any) -> None:
    ct.SetName("Müller^Hans 1950")
    worker = panel.logic.keeper.running()
    worker.last_lines.extend(
        [
            "WARNING: In /build/itkNiftiImageIO.cxx, line 2190: /data/Müller Hans/head.nii.gz has unexpected scales",
            "the volume Müller^Hans 1950 has no name",
            '  File "/home/reader/Slicer/volume.py", line 12, in read',
        ]
    )
    panel.ui.copyDiagnosticsButton.click()
    copied = slicer.app.clipboard().text()
    panel.run.show_problem("the volume Müller^Hans 1950 holds no image.", "\n".join(worker.last_lines))
    panel.ui.copyDiagnosisButton.click()
    for text in (copied, slicer.app.clipboard().text()):
        assert 'File "volume.py", line 12, in read' in text
        assert [word for word in ("Müller", "Hans", "head.nii", "/data", "/home") if word in text] == []
