"""The Python example of docs/agents.md, run as it stands but for its paths."""

import json
import re
from pathlib import Path

import pytest

from handoffd.agent import AgentName, Draft, Mailbox

PAGE = Path(__file__).parents[3] / "docs" / "agents.md"


@pytest.mark.parametrize(("can_take", "place"), [(True, "archive"), (False, "rejected")])
def test_the_example_claims_ends_and_writes_back(tmp_path: Path, can_take: bool, place: str) -> None:
    (tmp_path / "bob-alice.secret").write_text("s3cret\n")
    (tmp_path / "bob-alice.secret").chmod(0o600)
    Mailbox(tmp_path, AgentName("bob"), {"*": b"s3cret"}).write_handoff(Draft(to="alice", reason="why"))
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    code = (
        found[1].replace("/srv/voice-shared", str(tmp_path)).replace("bob-alice.secret", f"{tmp_path}/bob-alice.secret")
    )
    exec(code.replace("timeout_s=60", "timeout_s=0"), {"can_take": lambda fields: can_take})
    assert len(list((tmp_path / place).glob("*.json"))) == 1
    (back,) = (tmp_path / "handoff").iterdir()
    assert json.loads(back.read_bytes())["to_agent"] == "bob"
