"""Writes small DICOM series for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

NAME = "Mustermann^Erika"


def write_series(
    folder: Path,
    hu: np.ndarray,
    origins_lps: np.ndarray,
    row: tuple[float, float, float] = (1, 0, 0),
    column: tuple[float, float, float] = (0, 1, 0),
    pixel_mm: float = 1.0,
    series_uid: str | None = None,
    **tags: object,
) -> list[Path]:
    """One CT image a slice of hu [x, y, z], in order; `tags` are set on all, None removes one."""
    folder.mkdir(parents=True, exist_ok=True)
    series_uid = series_uid or generate_uid()
    paths = []
    for index, origin in enumerate(origins_lps):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{series_uid.replace('.', '')[-6:]}_{index:04d}.dcm"
        image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID = CTImageStorage
        image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        image.SeriesInstanceUID = series_uid
        image.StudyInstanceUID = "1.2.3"
        image.Modality = "CT"
        image.PatientName, image.PatientID = NAME, "4711"
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.SeriesNumber, image.InstanceNumber = 2, index + 1
        image.SeriesDescription, image.ConvolutionKernel = "Head", "STANDARD"
        image.ImagePositionPatient = [f"{v:.6f}" for v in origin]
        image.ImageOrientationPatient = [f"{v:.8f}" for v in (*row, *column)]
        image.PixelSpacing = [pixel_mm, pixel_mm]
        image.SliceThickness = 5.0
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns = hu.shape[1], hu.shape[0]
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.RescaleSlope, image.RescaleIntercept = 1, 0
        image.PixelData = np.ascontiguousarray(hu[:, :, index].T.astype(np.int16)).tobytes()
        for name, value in tags.items():
            if value is None:
                del image[name]
            else:
                setattr(image, name, value)
        image.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def axial_origins(slices: int, gap_mm: float = 5.0) -> np.ndarray:
    return np.stack([np.zeros(slices), np.zeros(slices), np.arange(slices) * gap_mm], axis=1)


def header(**values: object) -> Dataset:
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def write_multiframe(
    path: Path, hu: np.ndarray, origins_lps: np.ndarray, pixel_mm: float = 1.0, placed: bool = True
) -> Path:
    """An enhanced CT: all slices of hu [x, y, z] in one file, in the order given, stored 100 too high."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = EnhancedCTImageStorage, meta.MediaStorageSOPInstanceUID
    image.SeriesInstanceUID, image.Modality = generate_uid(), "CT"
    image.PatientName, image.PatientID = NAME, "4711"
    image.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Columns, image.Rows, image.NumberOfFrames = hu.shape
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    if placed:
        shared = group(
            PlaneOrientationSequence=header(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
            PixelMeasuresSequence=header(PixelSpacing=[pixel_mm, pixel_mm], SliceThickness=5.0),
            PixelValueTransformationSequence=header(RescaleSlope=1, RescaleIntercept=-100),
        )
        image.SharedFunctionalGroupsSequence = Sequence([shared])
        image.PerFrameFunctionalGroupsSequence = Sequence(
            [
                group(PlanePositionSequence=header(ImagePositionPatient=[f"{v:.6f}" for v in origin]))
                for origin in origins_lps
            ]
        )
    image.PixelData = np.ascontiguousarray((hu + 100).astype(np.int16).T).tobytes()
    image.save_as(path, enforce_file_format=True)
    return path


def group(**sequences: Dataset) -> Dataset:
    """A functional group: each of its sequences holds one item."""
    return header(**{name: Sequence([item]) for name, item in sequences.items()})
