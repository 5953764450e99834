"""The trivial agent of the long run: claims what is published for it and archives it, for ever.

python -m benchmarks.agent ROOT      prints `ready`
"""

import json
import sys
from pathlib import Path

from benchmarks.arrival import Arrivals
from benchmarks.payload import claim_and_archive

WAIT_S = 1.0


def serve(root: Path) -> None:
    """Claim and archive until ended. Events that were dropped are made up for by a listing."""
    with Arrivals(root / "handoff") as arrivals:
        print("ready", flush=True)
        while True:
            _, names = arrivals.wait(WAIT_S)
            for name in names or [path.name for path in (root / "handoff").glob("[!.]*.json")]:
                _end(root, name)


def _end(root: Path, name: str) -> None:
    try:
        payload = json.loads((root / "handoff" / name).read_bytes())
        claim_and_archive(root, name, payload["handoff_id"])
    except FileNotFoundError:
        pass  # listed and told: it was the other one that came first


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
