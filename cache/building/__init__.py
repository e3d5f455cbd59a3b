"""An extraction under way: the plan, its journal, the writer, parts and their merging."""
