"""What a segment of bleed is called: name, colour, codes. And what must be said beside every result."""

from __future__ import annotations

DISCLAIMER = "Research use only, not for clinical use."

ALGORITHM = "ICHSegmentation"
SEGMENT_ID = SEGMENT_NAME = "Hemorrhage"
SEGMENT_COLOR_RGB = (188, 65, 28)  # that of the terminology's entry, 0..255
TYPE_HEMORRHAGE, TYPE_TISSUE = "50960005", "85756007"  # SNOMED CT; the second is Slicer's for a new segment
TERMINOLOGY = (  # an entry of Slicer's General Anatomy list
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^50960005^Hemorrhage~^^"
    "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
)
ALGORITHM_TYPE_TAG = "DICOM.SegmentAlgorithmType"
AUTOMATIC, SEMIAUTOMATIC = "AUTOMATIC", "SEMIAUTOMATIC"  # of DICOM (0062,0008); the second once a hand has changed it
SEGMENT_TAGS = {  # without the algorithm's, DICOM export would call the segment drawn by hand
    "TerminologyEntry": TERMINOLOGY,
    ALGORITHM_TYPE_TAG: AUTOMATIC,
    "DICOM.SegmentAlgorithmName": ALGORITHM,
}
