# Slicer packs the extension here; nothing to stand in for.
