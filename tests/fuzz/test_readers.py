"""Whatever a file holds, its reader gives a result or one clear line: no traceback, no hang, no flood of memory.

``LONGTAIL_FUZZ=30000`` tries so many damaged files over all readers, ``LONGTAIL_FUZZ_SEED=1`` others. A failure names
the number of the mutation; it alone is read again by ``fuzz(name, folder, count=1, first=NUMBER)``.
"""

from __future__ import annotations

import os

import pytest

from fuzz.harness import fuzz
from fuzz.readers import READERS

MUTATIONS = int(os.environ.get("LONGTAIL_FUZZ", "0"))
SEED = int(os.environ.get("LONGTAIL_FUZZ_SEED", "0"))


@pytest.mark.parametrize("name", READERS)
def test_a_file_never_ends_in_a_traceback(name, tmp_path):
    share = READERS[name].share
    count = round(MUTATIONS * share / sum(reader.share for reader in READERS.values())) if MUTATIONS else share
    outcome = fuzz(name, tmp_path, count=count, seed=SEED)
    print(f"{name}: {outcome.read} read, {outcome.refused} refused in {outcome.seconds:.1f} s of the processor")
    assert not outcome.failures, "\n" + "\n".join(outcome.failures)
    assert outcome.read + outcome.refused == count
    assert outcome.refused > count / 20 if READERS[name].refuses else outcome.refused == 0  # most damage shows
