"""The systems of the five papers behind one interface: each trains on nnU-Net v2 raw data and predicts a volume."""
