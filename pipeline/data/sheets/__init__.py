"""Files of tables as sheets of text: workbooks as they are shown, CSV in its dialects."""
