"""Data sets of labelled scans: nnU-Net's raw layout, read and written."""
