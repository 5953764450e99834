"""A request's body, read whole within a size and a time. It knows nothing of what is in it.

The rule that must stay true: no more than the limit and one read is ever in memory, whatever the headers promise.
"""

import asyncio

from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import BaseRequest, RequestPayloadError

from handoffd.hub.refusal import Refused, bad_request, too_large
from handoffd.protocol.reason import Problem


async def read_body(request: BaseRequest, limit_bytes: int, within_s: float) -> bytes:
    """Return the body; empty where the call takes none (limit 0). Raises Refused."""
    if not limit_bytes or not request.body_exists:
        return b""
    if "Content-Encoding" in request.headers:
        raise Refused(Problem.BAD_REQUEST, "Content-Encoding is not taken: the exact bytes count.", closes=True)
    if (request.content_length or 0) > limit_bytes:
        raise too_large(limit_bytes)
    try:
        return await _read(request, limit_bytes, within_s)
    except (RequestPayloadError, HttpProcessingError) as error:
        raise bad_request(f"The body is not framed as HTTP/1.1 says: {error}.") from None


async def _read(request: BaseRequest, limit_bytes: int, within_s: float) -> bytes:
    content = request.content
    if content.is_eof():  # the usual case: it came with the headers
        data = content.read_nowait()
        if len(data) > limit_bytes:
            raise too_large(limit_bytes)
        return data
    await _invite(request)
    try:
        async with asyncio.timeout(within_s):
            return await _collect(request, limit_bytes)
    except TimeoutError:
        detail = f"The body did not come whole within {within_s:g} s."
        raise Refused(Problem.BAD_REQUEST, detail, closes=True) from None


async def _collect(request: BaseRequest, limit_bytes: int) -> bytes:
    parts, size = [], 0
    while part := await request.content.readany():
        parts.append(part)
        size += len(part)
        if size > limit_bytes:
            raise too_large(limit_bytes)
    return b"".join(parts)


async def _invite(request: BaseRequest) -> None:
    """Tell a client that asked to go on with the body (RFC 9110 section 10.1.1)."""
    if request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # else the answer would be taken for begun
