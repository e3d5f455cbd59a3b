"""Masks as what they show: a survey of all their pixels, and the values of a part."""
