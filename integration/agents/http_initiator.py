#!/usr/bin/env python3
"""An agent without a shared directory hands a caller over: it posts the signed payload to its hub.

Owns one request. Standard library only. Prints the answer as one JSON line: `status` and `body`.

    http_initiator.py --hub http://127.0.0.1:8787 --token-file bob.token --payload payload.json
"""

import argparse
import contextlib
import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

REQUEST_S = 10.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Post one handoff to a hub.")
    parser.add_argument("--hub", required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--payload", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    where = urlsplit(options.hub)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=REQUEST_S)
    token = options.token_file.read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    # A hub may refuse before it has read the whole body; its answer is there all the same.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request("POST", "/api/v1/handoffs/start", options.payload.read_bytes(), headers)
    answer = connection.getresponse()
    print(json.dumps({"status": answer.status, "body": json.loads(answer.read() or b"null")}))


if __name__ == "__main__":
    main()
