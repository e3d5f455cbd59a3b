from pathlib import Path

import pytest

from textdiff.errors import ConfigError
from textdiff.pipeline.config.data import CheckConfig


@pytest.mark.parametrize("window", [(-160, 240), (-32768, 65535), (0, 1), None])
def test_windows_may_lie_below_zero(window):
    assert CheckConfig(Path("data"), window).window == window


@pytest.mark.parametrize("window", [(240, -160), (5, 5), (-32769, 0), (0, 65536)])
def test_windows_out_of_range_are_refused(window):
    said = f"--window got {window[0]},{window[1]}; expected LOW,HIGH with -32768 <= LOW < HIGH <= 65535"
    with pytest.raises(ConfigError, match=said):
        CheckConfig(Path("data"), window)
