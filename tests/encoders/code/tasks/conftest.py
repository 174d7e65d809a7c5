import sysconfig
from pathlib import Path

import pytest

from embedkit.encoders.code.functions import find_functions


@pytest.fixture(scope="session")
def library():
    """Functions of some modules of the standard library."""
    root = Path(sysconfig.get_paths()["stdlib"])
    names = ("argparse.py", "statistics.py", "tarfile.py")
    return [
        function
        for name in names
        for function in find_functions((root / name).read_text(encoding="utf-8"), distribution="stdlib", path=name)
    ]
