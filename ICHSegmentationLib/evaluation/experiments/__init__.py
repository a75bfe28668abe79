"""The papers' arguments for equivariance, each an experiment: measured in one function, drawn in another."""
