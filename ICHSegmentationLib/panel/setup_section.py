"""The part of the panel that says what is installed, and installs. Imports qt and slicer, not torch.

Nothing is installed but on a click, and after the user was asked.
"""

from __future__ import annotations

import html
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ICHSegmentationLib.bundle import read_manifest
from ICHSegmentationLib.diagnosis import diagnosis
from ICHSegmentationLib.errors import ICHError, InputError, sentence
from ICHSegmentationLib.installation import (
    Installation,
    forget_what_was_looked_up,
    look,
    name_of,
    offline_arguments,
    set_up_lines,
    torch_range,
)
from ICHSegmentationLib.panel.application import application_name, names_in_scene
from ICHSegmentationLib.worker_keeper import WorkerKeeper

POLL_MS = 100
REQUESTER = "ICHSegmentation"


class SetupSection:
    """Torch, device and ensemble; install, also without a network; diagnostics.

    Attributes:
        installation: what was found when it was last looked at.
    """

    def __init__(
        self,
        ui: Any,
        keeper: WorkerKeeper,
        requirements: list[str],
        choose_bundle: Callable[[str], None],
        on_change: Callable[[], None],
    ) -> None:
        """Ties the section to its widgets.

        Args:
            ui: the panel's widgets by name.
            keeper: of the worker, which is asked for its device and ended when packages change.
            requirements: ranges of what the library needs.
            choose_bundle: is told the folder of the ensemble to use.
            on_change: is called when something was installed.
        """
        self.ui, self.keeper, self.requirements = ui, keeper, requirements
        self.choose_bundle, self.on_change = choose_bundle, on_change
        self.problem = ""
        self.bundle: Path | None = None
        self.installation: Installation = look(requirements, None)
        self.timer = qt.QTimer()
        self.timer.setInterval(POLL_MS)
        self.timer.connect("timeout()", self.on_timer)
        for button, act in (
            (ui.installButton, self.install),
            (ui.wheelsButton, self.install_offline),
            (ui.ensembleButton, self.use_ensemble),
            (ui.copyDiagnosticsButton, self.copy_diagnostics),
        ):
            button.connect("clicked()", lambda act=act: self.tried(act))
        ui.setupButton.connect("contentsCollapsed(bool)", self.on_collapsed)

    # ---- what is there

    def look_again(self, bundle: Path | None) -> None:
        """Looks at packages and ensemble; opens the section if something is amiss."""
        self.bundle = bundle
        self.installation = look(self.requirements, bundle)
        if self.installation.why_not:
            self.ui.setupButton.collapsed = False
        self.show()

    def device(self) -> str:
        """What the worker computes on, as far as that is known."""
        worker = self.keeper.worker
        if worker is not None and worker.ready is not None:
            return worker.ready["device"]
        if self.timer.active:
            return _("being asked ...")
        return _("not known yet")

    def on_collapsed(self, is_collapsed: bool) -> None:
        """When the section is opened, the worker is started to be asked for its device."""
        if is_collapsed or self.installation.why_not or self.timer.active:
            return
        try:
            self.keeper.running()
        except ICHError as error:
            self.problem = str(error)
        else:
            self.timer.start()
        self.show()

    def on_timer(self) -> None:
        worker = self.keeper.worker
        if worker is None or worker.ready is not None or not worker.is_running:
            self.timer.stop()
            if worker is not None and worker.ready is None:
                self.problem = _("the program that segments could not be started; Copy diagnostics says more.")
            self.show()

    def show(self) -> None:
        lines = set_up_lines(self.installation, self.device())
        if self.problem:
            lines.append(sentence(self.problem))
        self.ui.setupLabel.text = "<br>".join(html.escape(line) for line in lines)
        self.ui.installButton.enabled = bool(self.installation.to_install)
        self.ui.installButton.toolTip = (
            _("Installs what is missing, after asking") if self.installation.to_install else _("Nothing is missing")
        )
        self.ui.wheelsButton.enabled = bool(self.installation.to_install)

    def copy_diagnostics(self) -> None:
        worker = self.keeper.worker
        slicer.app.clipboard().setText(self.diagnostics([] if worker is None else worker.last_lines))

    def diagnostics(self, details: Iterable[str]) -> str:
        """What a bug report needs: this set-up, and then `details` without what names a scan."""
        return diagnosis(self.installation, self.device(), application_name(), details, names_in_scene())

    # ---- what the user wants

    def tried(self, act: Callable[[], None]) -> None:
        """Does what a button is for; what goes wrong is told in the section."""
        self.problem = ""
        try:
            act()
        except ICHError as error:
            self.problem = str(error)
        except subprocess.CalledProcessError as error:
            self.problem = _(
                "Installing failed: pip ended with exit code {code}; the Python console shows its words."
            ).format(code=error.returncode)
        self.show()

    def install(self) -> None:
        """From the network: torch as the PyTorch extension chooses it, then the rest."""
        wanted = self.installation.to_install
        if not self.is_confirmed(wanted, _("They are downloaded (torch alone can be more than 2 GB).")):
            return
        if "torch" in map(name_of, wanted):
            install_torch(torch_range(wanted))
        if rest := [need for need in wanted if name_of(need) != "torch"]:
            pip_install_ranges(rest)
        self.after_installing()

    def install_offline(self) -> None:
        """From a folder of wheels, without any network."""
        folder = qt.QFileDialog.getExistingDirectory(self.ui.setupButton, _("Folder of wheels"))
        if not folder:
            return
        arguments = offline_arguments(Path(folder), self.installation.to_install)
        if self.is_confirmed(self.installation.to_install, _("They are taken from {folder}.").format(folder=folder)):
            slicer.util.pip_install(arguments)
            self.after_installing()

    def is_confirmed(self, wanted: list[str], where_from: str) -> bool:
        text = _("These packages will be installed into Slicer's Python: {packages}.").format(
            packages=", ".join(wanted)
        )
        return slicer.util.confirmOkCancelDisplay(f"{text} {where_from}", _("Install"))

    def after_installing(self) -> None:
        self.keeper.end()  # the next one loads what is there now
        forget_what_was_looked_up()
        self.look_again(self.bundle)
        self.on_change()

    def use_ensemble(self) -> None:
        """Another ensemble than the bundled one, verified before it is taken."""
        folder = qt.QFileDialog.getExistingDirectory(self.ui.setupButton, _("Folder of an ensemble (with bundle.json)"))
        if folder:
            read_manifest(folder).member_paths()
            self.choose_bundle(folder)


def install_torch(requirement: str) -> None:
    """Installs torch with the PyTorch extension, which picks the build for this machine and asks.

    Raises:
        InputError: the extension is not there, or the user declined.
    """
    try:
        import PyTorchUtils
    except ImportError:
        raise InputError("the extension PyTorch is missing; install it in Slicer's Extensions Manager.") from None
    versions = requirement.removeprefix("torch")
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True, torchVersionRequirement=versions) is None:
        raise InputError("PyTorch was not installed.")


def pip_install_ranges(ranges: list[str]) -> None:
    """Installs packages that the user has agreed to, with what this Slicer has for it."""
    try:
        from packaging.requirements import Requirement
        from slicer.packaging import pip_ensure
    except ImportError:  # before 5.11
        slicer.util.pip_install(ranges)
        return
    pip_ensure([Requirement(need) for need in ranges], prompt_install=False, requester=REQUESTER)
