"""docs/journal.md and docs/custody.md section 9: what is told of each story, at every host it passes.

The texts are in tests/vectors/told/; `python -m tests.fakes.told` writes them anew for a change that is meant.
"""

from pathlib import Path

import pytest
from tests.fakes.told import TOLD, expected, told


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in TOLD.items() for name in names])
def test_journals_records_and_directories_tell_the_story_as_before(in_memory: Path, kind: str, name: str) -> None:
    assert told(kind, name, in_memory) == expected(kind)[name]
