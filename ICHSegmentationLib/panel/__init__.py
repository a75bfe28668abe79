"""The Slicer side: what the panel, its sections and its logic do with Slicer. Imports slicer and qt, not torch."""
