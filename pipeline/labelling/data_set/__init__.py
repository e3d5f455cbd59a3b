"""The data set that is labelled: its images, the masks and the manifest that are written, its features, exports."""
