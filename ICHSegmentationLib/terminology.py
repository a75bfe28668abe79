"""What a segment of bleed is called: name, colour, codes. And what must be said beside every result."""

from __future__ import annotations

DISCLAIMER = "Research use only, not for clinical use."

ALGORITHM = "ICHSegmentation"
SEGMENT_ID = SEGMENT_NAME = "Hemorrhage"
SEGMENT_COLOR_RGB = (188, 65, 28)  # that of the terminology's entry, 0..255
TERMINOLOGY = (  # an entry of Slicer's General Anatomy list
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^50960005^Hemorrhage~^^"
    "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
)
SEGMENT_TAGS = {  # without the algorithm's, DICOM export would call the segment drawn by hand
    "TerminologyEntry": TERMINOLOGY,
    "DICOM.SegmentAlgorithmType": "AUTOMATIC",
    "DICOM.SegmentAlgorithmName": ALGORITHM,
}
