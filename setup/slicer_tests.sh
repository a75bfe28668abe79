#!/bin/sh
# Installs what the tests of the Slicer extension need beside Slicer: slicer_tests.sh VENV. Without it they skip.
set -e
venv=$1
# Slicer's own MRML code and Qt; neither has packages for every system. PySide6 6.12.0 miscounts references to None.
"$venv/bin/pip" install --quiet 'slicer-core>=5.11' 'PySide6-Essentials>=6.5,<6.12' || {
    echo "slicer-core or PySide6 cannot be had here: the tests of the Slicer extension will be skipped" >&2
    exit 0
}
# builds the extension as the catalogue would; the test of it skips without
"$venv/bin/pip" install --quiet cmake || echo "cmake cannot be had here: the extension will not be built" >&2
libraries="libglib2.0-0 libxkbcommon0 libfontconfig1 libdbus-1-3 fonts-dejavu-core libegl1 libgl1"
opens='import PySide6.QtUiTools; from PySide6.QtWidgets import QApplication; QApplication([])'
QT_QPA_PLATFORM=offscreen "$venv/bin/python" -c "$opens" 2>/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -qq && apt-get install -qq -y $libraries >/dev/null; } ||
        echo "$libraries cannot be installed: the tests of the Slicer extension will be skipped" >&2
else
    echo "Qt lacks libraries, so the tests of the Slicer extension will be skipped; on Debian: sudo apt install $libraries" >&2
fi
