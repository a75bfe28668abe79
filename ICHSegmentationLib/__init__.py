"""Segmentation of intracranial hemorrhage on head CT. Importing this package reads no file and needs no torch."""
