"""Labels drawn in the browser: the session, the strokes, the learner, the page."""
