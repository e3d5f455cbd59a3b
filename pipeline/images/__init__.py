"""Files to arrays: PNG, JPEG, TIFF, DICOM, NIfTI; intensities, resizing, tiling, stain normalisation."""
