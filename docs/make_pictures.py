"""Draws docs/pictures/*.svg: `python docs/make_pictures.py`.

It owns the pictures' words and places. They load nothing, have no script, carry a title for those who cannot see them,
and follow the reader's choice of dark or light. A test compares the files with what this draws.
"""

from collections.abc import Iterable
from html import escape
from pathlib import Path

FOLDER = Path(__file__).with_name("pictures")

STYLE = """\
  <style>
    svg { font: 15px system-ui, sans-serif; }
    .paper { fill: #ffffff; } text { fill: #1d2733; } .dim { fill: #5b6875; } .code { font: 14px ui-monospace, monospace; }
    .box { fill: #f1f5f9; stroke: #94a3b8; } .ours { fill: #dbeafe; stroke: #3b82f6; } .end { fill: #dcfce7; stroke: #22a34f; }
    .bad { fill: #fee2e2; stroke: #dc4a4a; } .way { stroke: #475569; fill: none; } .tip { fill: #475569; } .head { font-weight: 600; }
    .line { stroke: #cbd5e1; }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #131820; } text { fill: #e2e8f0; } .dim { fill: #9aa7b5; } .box { fill: #1e2733; stroke: #64748b; }
      .ours { fill: #1e3a5f; stroke: #60a5fa; } .end { fill: #14432a; stroke: #4ade80; } .bad { fill: #4c1d1d; stroke: #f87171; }
      .way { stroke: #94a3b8; } .tip { fill: #94a3b8; } .line { stroke: #334155; }
    }
  </style>
  <defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto-start-reverse">
    <path class="tip" d="M0 0L10 5L0 10z"/></marker></defs>"""


def drawing(title: str, width: int, height: int, parts: Iterable[str]) -> str:
    """Return a whole picture."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title">',
            f'  <title id="title">{escape(title)}</title>',
            STYLE,
            f'  <rect class="paper" width="{width}" height="{height}" rx="10"/>',
            *(f"  {part}" for part in parts),
            "</svg>\n",
        ]
    )


def word(x: int, y: int, text: str, kind: str = "", at: str = "start") -> str:
    """Return one line of text; `at` is start, middle or end."""
    return f'<text x="{x}" y="{y}" text-anchor="{at}" class="{kind}">{escape(text)}</text>'


def box(x: int, y: int, width: int, height: int, lines: Iterable[str], kind: str = "box", code: bool = False) -> str:
    """Return a box with lines of text in its middle."""
    texts = list(lines)
    first = y + height // 2 + 5 - 9 * (len(texts) - 1)
    said = "".join(
        word(x + width // 2, first + 18 * index, text, "code" if code else "", "middle")
        for index, text in enumerate(texts)
    )
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>{said}'


def way(*points: tuple[int, int], dashed: bool = False, both: bool = False) -> str:
    """Return an arrow through points."""
    path = "M" + "L".join(f"{x} {y}" for x, y in points)
    dashes = ' stroke-dasharray="5 5"' if dashed else ""
    start = ' marker-start="url(#tip)"' if both else ""
    return f'<path class="way" d="{path}" stroke-width="1.8"{dashes}{start} marker-end="url(#tip)"/>'


def handover() -> str:
    """One handoff on its way."""
    bob, alice = 190, 690
    parts = [
        word(bob, 34, "bob-vm", "head", "middle"),
        word(alice, 34, "alice-vm", "head", "middle"),
        '<path class="line" d="M440 20V560" stroke-width="2" stroke-dasharray="3 7"/>',
        word(440, 578, "TLS 1.3, pinned certificates, a token each way", "dim", "middle"),
        box(60, 56, 260, 46, ["1  bob writes handoff/X.json"]),
        way((bob, 102), (bob, 136)),
        box(60, 138, 260, 62, ["2  his daemon takes it: a rename", "into relay/outbox, flushed"], "ours"),
        way((320, 170), (558, 226)),
        word(446, 176, "3  the exact bytes", "dim", "middle"),
        box(560, 204, 260, 62, ["4  payload and receipt on disk,", "flushed: stored"], "ours"),
        way((alice, 266), (alice, 296)),
        box(560, 298, 260, 46, ["5  published: in handoff/"], "ours"),
        way((558, 316), (322, 290)),
        word(440, 290, "6  stored, published", "dim", "middle"),
        box(60, 262, 260, 46, ["7  out of doubt: alice-vm has it"], "ours"),
        way((alice, 344), (alice, 376)),
        box(560, 378, 260, 46, ["8  alice renames it: claimed/"]),
        way((558, 402), (322, 402)),
        word(440, 392, "9  claimed", "dim", "middle"),
        box(60, 378, 260, 46, ["10  a copy in claimed/X.json"], "ours"),
        way((alice, 424), (alice, 466)),
        box(560, 468, 260, 62, ["11  alice is done: archive/,", "with the final transcript"], "end"),
        way((558, 500), (322, 500)),
        word(440, 490, "12  completed, her bytes", "dim", "middle"),
        box(60, 468, 260, 62, ["13  archive/: her bytes,", "and his as .original"], "end"),
    ]
    return drawing("One handoff from bob on bob-vm to alice on alice-vm and its outcome back", 880, 596, parts)


def states() -> str:
    """The states of a handoff."""
    line = ["queued", "stored", "published", "claimed", "completed"]
    parts = []
    for index, state in enumerate(line):
        x = 24 + index * 172
        parts.append(box(x, 60, 128, 46, [state], "end" if state == "completed" else "ours", code=True))
        if index:
            parts.append(way((x - 44, 83), (x - 2, 83)))
    ends = [
        (24, "expired"),
        (180, "revoked"),
        (336, "refused"),
        (492, "rejected"),
        (648, "uncertain"),
        (760, "unknown"),
    ]
    parts += [
        box(x, 186, 104 if name in ("uncertain", "unknown") else 128, 46, [name], "bad", code=True) for x, name in ends
    ]
    parts += [
        way((88, 106), (88, 146), (556, 146), (556, 184)),
        way((88, 146), (88, 184)),
        way((244, 146), (244, 184)),
        way((400, 146), (400, 184)),
        way((556, 146), (700, 146), (700, 184)),
        way((700, 146), (812, 146), (812, 184)),
        way((604, 106), (604, 146), dashed=True),
        way((432, 106), (432, 146), dashed=True),
        way((260, 106), (260, 146), dashed=True),
        word(24, 40, "States only rise; a final one never changes.", "dim"),
        word(24, 266, "not delivered, and nobody can get it", "dim"),
        word(620, 266, "nobody can know, and it says so", "dim"),
    ]
    return drawing(
        "The states of a handoff: queued, stored, published, claimed, completed, and six other ends", 888, 288, parts
    )


def trust() -> str:
    """Who holds which secret."""
    parts = [
        word(190, 34, "bob-vm", "head", "middle"),
        word(690, 34, "alice-vm", "head", "middle"),
        box(60, 56, 260, 62, ["agent bob", "holds the pair secret"]),
        box(560, 56, 260, 62, ["agent alice", "holds the pair secret"]),
        way((322, 78), (558, 78), both=True, dashed=True),
        word(440, 68, "HMAC: who wrote it", "dim", "middle"),
        way((190, 120), (190, 172), both=True),
        way((690, 120), (690, 172), both=True),
        word(440, 152, "file permissions, or an agent token", "dim", "middle"),
        box(60, 176, 260, 62, ["handoffd", "own key; alice-vm's certificate"], "ours"),
        box(560, 176, 260, 62, ["handoffd", "own key; bob-vm's certificate"], "ours"),
        way((322, 207), (558, 207), both=True),
        word(440, 198, "TLS 1.3, pinned both ways,", "dim", "middle"),
        word(440, 228, "and a bearer token each way", "dim", "middle"),
    ]
    return drawing(
        "Agents share a secret that daemons never see; daemons know each other by pinned certificates", 880, 264, parts
    )


def parts() -> str:
    """What one daemon is made of."""
    drawn = [
        '<rect class="box" x="210" y="40" width="470" height="300" rx="12"/>',
        word(230, 66, "one daemon", "head"),
        box(250, 90, 130, 56, ["watch"], "ours"),
        box(460, 90, 190, 110, ["custody", "one thread: every", "rename, every flush"], "ours"),
        box(250, 180, 130, 56, ["hub"], "ours"),
        box(460, 252, 190, 60, ["journal", "for people only"], "ours"),
        box(250, 262, 130, 56, ["link"], "ours"),
        way((382, 118), (458, 118)),
        way((382, 208), (458, 180), both=True),
        way((382, 282), (480, 202), both=True),
        way((600, 202), (600, 250)),
        box(20, 90, 140, 56, ["agents: files"]),
        box(20, 180, 140, 56, ["agents: HTTP", "operator: socket"]),
        box(20, 262, 140, 56, ["peers' daemons"]),
        way((162, 118), (248, 118)),
        way((162, 208), (248, 208), both=True),
        way((162, 290), (248, 290), both=True),
        way((162, 276), (248, 222), both=True),
        box(730, 100, 130, 90, ["shared root", "and relay/:", "the only truth"], "end"),
        way((652, 145), (728, 145), both=True),
    ]
    return drawing("Watch, hub and link around custody, which alone touches the directories", 880, 364, drawn)


PICTURES = {"handover": handover, "states": states, "trust": trust, "parts": parts}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw(), encoding="utf-8")
