"""OME-Zarr images (NGFF): metadata, which are believed in nothing, and planes."""
