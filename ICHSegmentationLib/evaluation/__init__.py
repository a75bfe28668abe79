"""How good a segmentation is: metrics, their statistics, comparisons of systems, the papers' experiments."""
