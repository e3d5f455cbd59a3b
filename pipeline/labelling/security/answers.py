"""Answers to what is refused: the parts of the message as JSON, which the page shows."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from ....errors import LabelError, Refusal

STATUS: dict[Refusal, int] = {
    "invalid": 400,
    "unknown visitor": 401,
    "forbidden": 403,
    "absent": 404,
    "conflict": 409,
    "too large": 413,
    "failure": 500,
}


def refusal(error: LabelError) -> Response:
    """The answer that says why."""
    parts = {"what": error.what, "got": error.got, "expected": error.expected, "do": error.do}
    return JSONResponse({"error": parts}, STATUS[error.refusal])
