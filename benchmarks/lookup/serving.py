"""Does a served table take the memory that it says, and how long does a lookup take?

Each table is read in a fresh process; its memory is how much more the process holds than before, after lookups of all
of its values. The values are a table of a million rows, random, since only sizes matter here.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.results import Row
from embedkit.modules.lookup import CodebookLookup, Lookup, LowRankLookup, PlainLookup, QuantizedLookup, RobeLookup

ROWS, DIM, BATCH = 1_000_000, 16, 4096

_MEASURE = """
import json, sys, time
from pathlib import Path
import torch
from embedkit.modules.lookup import PlainLookup, load_lookup

torch.set_num_threads(1)
def held():
    import gc
    gc.collect()
    fields = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return 1024 * int(fields["Rss"].split()[0])

warm = PlainLookup([64], 16)
for _ in range(20):
    warm(torch.randint(64, (4096, 1)))
before = held()
lookup = load_lookup(sys.argv[1])
rows = lookup.num_rows
with torch.inference_mode():
    for start in range(0, rows, 4096):
        lookup(torch.arange(start, min(start + 4096, rows))[:, None])
    after = held()
    ids = torch.randint(rows, (200, 4096, 1))
    started = time.process_time()
    for batch in ids:
        lookup(batch)
    spent = time.process_time() - started
print(json.dumps([after - before, 1e9 * spent / ids.numel()]))
"""


def run(smoke: bool) -> Iterator[Row]:
    """Bytes held over bytes claimed, and nanoseconds an id."""
    rows = 20_000 if smoke else ROWS
    torch.manual_seed(0)
    weight = torch.randn(rows, DIM)
    sizes = [rows]
    makers: dict[str, Callable[[], Lookup]] = {
        "float32": lambda: PlainLookup.from_weight(weight, sizes),
        "int8": lambda: QuantizedLookup.from_weight(weight, sizes, bits=8),
        "int4": lambda: QuantizedLookup.from_weight(weight, sizes, bits=4),
        "low rank, 4": lambda: LowRankLookup.from_weight(weight, sizes, 4),
        "codebook": lambda: CodebookLookup.from_weight(weight, sizes),
        "ROBE, 20 %": lambda: RobeLookup.for_budget(sizes, DIM, 4 * rows * DIM // 5),
    }
    plain = 0.0
    for name, make in list(makers.items())[: 1 if smoke else None]:
        lookup = make()
        with tempfile.TemporaryDirectory() as folder:
            lookup.save(Path(folder) / "table")
            done = subprocess.run(
                [sys.executable, "-c", _MEASURE, str(Path(folder) / "table")],
                capture_output=True,
                text=True,
                check=True,
            )
        held, nanoseconds = json.loads(done.stdout)
        plain = plain or nanoseconds
        about: dict[str, Any] = {
            "method": "served table",
            "variant": f"{name}, {lookup.nbytes:,} bytes",
            "dataset": f"{rows:,} rows",
        }
        yield Row(**about, metric="memory held, x what nbytes says", value=round(held / lookup.nbytes, 3))
        yield Row(**about, metric="ns an id; baseline: float32", value=round(nanoseconds, 1), baseline=round(plain, 1))
