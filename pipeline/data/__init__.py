"""The user's data set: layouts, tables, classes, inspection, pseudonyms."""
