"""Runs the mutants of the copy: one process loads the tests once, and each mutant is a fork of it.

A plugin of pytest (`-p tests.mutation.plugin`, in the copy). All tests run once as the code is, to see which lines each
reaches and how long it takes. Then, for each mutant asked for, the tests that reach the changed statement run in a
process of its own, until one fails.
"""

import gc
import heapq
import json
import mmap
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from types import CodeType, FrameType
from typing import TextIO

import pytest
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.utils.format_utils import mangled_name_from_mutant_name

ASKED = Path("asked.json")
"""The mutants to run: name, file, first and last line of what is changed; in the copy, like the next."""
FARED = Path("fared.jsonl")
"""How each of them fared, a line each as it ends: name, status, the test that killed it."""
SIDE_BY_SIDE = 2
STATUSES = {0: "survived", 1: "killed", 36: "timeout"}
"""By exit code of a mutant's process. Another one means that the change brought the process itself down: killed."""
SURVIVED, KILLED, TIMEOUT = STATUSES
LATE_S, LATE_TIMES = 2.0, 20.0
"""CPU time that a test may take under a mutant: so long, and so many times what it takes without."""
LONGEST_S = 1.0
"""A test that takes more CPU time than this, as the code is, is asked about no mutant."""
MEMORY_BYTES = 4 << 30
MOST_TESTS = 120
"""A mutant that so many tests did not notice, those that differ most in what they reach of its file, lives."""


class Footprints:
    """By which lines of some files a call comes."""

    def __init__(self, files: Set[str]) -> None:
        self._files = files
        self._passed: set[tuple[str, int]] = set()
        self._lines: dict[CodeType, set[tuple[str, int]]] = {}

    def of(self, act: Callable[[], object]) -> set[tuple[str, int]]:
        """Return file and number of the lines."""
        self._passed = set()
        threading.settrace(self._follow)
        sys.settrace(self._follow)
        act()
        sys.settrace(None)
        threading.settrace(None)
        return self._passed

    def _follow(self, frame: FrameType, event: str, _: object) -> Callable[..., object] | None:
        code = frame.f_code
        if code.co_filename not in self._files:
            return None
        self._passed.add((code.co_filename, frame.f_lineno))
        if event == "call":
            if code not in self._lines:
                self._lines[code] = {(code.co_filename, line) for _, _, line in code.co_lines() if line is not None}
            if self._lines[code] <= self._passed:
                return None  # nothing new can come of it
        return self._follow


class Swarm:
    """The tests, what they reach, and the mutants that are running."""

    def __init__(self, session: pytest.Session) -> None:
        self.session = session
        self.took: list[float] = []
        """CPU time of each test, by its place in `session.items`."""
        self.reach: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
        """Which tests reach a line of a file."""
        self.rank: dict[str, dict[int, int]] = {}
        """By file, its tests' order, each coming by as many lines of it as may be that those before it did not."""
        self.killers: defaultdict[str, list[int]] = defaultdict(list)
        """Which of them killed a mutant of that function, the last one first."""
        self.scratch = Path(tempfile.mkdtemp(prefix="mutants-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
        self.running: dict[int, tuple[str, mmap.mmap]] = {}

    def learn(self, files: Set[str]) -> None:
        """Run every test once without a mutant, and note which lines of these files it comes by."""
        set_mutant_under_test("none")
        footprints = Footprints(files)
        for place, item in enumerate(self.session.items):
            began = time.process_time()
            for line in footprints.of(
                lambda item=item: item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            ):
                self.reach[line].add(place)
            self.took.append(time.process_time() - began)
        if self.session.testsfailed:
            raise pytest.UsageError("the tests fail already without a mutant")
        for file in files:
            inside = {line: tests for line, tests in self.reach.items() if line[0] == file}
            self.rank[file] = {test: number for number, test in enumerate(diverse(inside, self.took))}

    def run(self, mutants: Sequence[tuple[str, str, int, int]]) -> None:
        """Run the mutants and write down how each fared."""
        gc.freeze()
        with FARED.open("a") as fared:
            for number, (mutant, file, first, last) in enumerate(mutants):
                reaching = {test for line in range(first, last + 1) for test in self.reach[file, line]}
                tests = self.order(mutant, file, {test for test in reaching if self.took[test] <= LONGEST_S})
                if not tests:
                    fared.write(json.dumps([mutant, "no tests", ""]) + "\n")
                    continue
                if len(self.running) == SIDE_BY_SIDE:
                    self.reap(fared)
                self.start(mutant, tests)
                if number % 100 == 0:
                    print(f"{number}/{len(mutants)}", file=sys.stderr, flush=True)
            while self.running:
                self.reap(fared)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def order(self, mutant: str, file: str, tests: Set[int]) -> list[int]:
        """Return the tests to run: what killed others of this function, then those that differ most in this file."""
        known = [test for test in self.killers[mangled_name_from_mutant_name(mutant)] if test in tests]
        return list(dict.fromkeys([*known, *sorted(tests, key=self.rank[file].__getitem__)]))[:MOST_TESTS]

    def start(self, mutant: str, tests: Sequence[int]) -> None:
        seen = mmap.mmap(-1, 8)
        pid = os.fork()
        if pid == 0:
            try:
                self.live(mutant, tests, seen)
            finally:
                os._exit(KILLED)
        self.running[pid] = mutant, seen

    def live(self, mutant: str, tests: Sequence[int], seen: mmap.mmap) -> None:
        """Run the tests in this process, a fork, and end it as the first failure says."""
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        place = self.scratch / str(os.getpid())
        place.mkdir()
        self.session.config._tmp_path_factory._basetemp = place
        self.session.config.pluginmanager.register(FirstFailure(), "first-failure")
        signal.signal(signal.SIGPROF, lambda *_: os._exit(TIMEOUT))
        set_mutant_under_test(mutant)
        for test in tests:
            seen[:8] = test.to_bytes(8, "little")
            signal.setitimer(signal.ITIMER_PROF, LATE_S + LATE_TIMES * self.took[test])
            item = self.session.items[test]
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        os._exit(SURVIVED)

    def reap(self, fared: TextIO) -> None:
        pid, status = os.wait()
        mutant, seen = self.running.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        last = int.from_bytes(seen[:8], "little")
        if code not in (SURVIVED, TIMEOUT):
            killers = self.killers[mangled_name_from_mutant_name(mutant)]
            killers[:] = [last, *(place for place in killers if place != last)]
        by = "" if code == SURVIVED else self.session.items[last].nodeid
        fared.write(json.dumps([mutant, STATUSES.get(code, "killed"), by]) + "\n")
        fared.flush()
        shutil.rmtree(self.scratch / str(pid), ignore_errors=True)


def diverse(reach: Mapping[tuple[str, int], Set[int]], took: Sequence[float]) -> list[int]:
    """Return the tests so that few at the beginning come by every line, then again few of the others, and so on."""
    lines: defaultdict[int, set[tuple[str, int]]] = defaultdict(set)
    for line, tests in reach.items():
        for test in tests:
            lines[test].add(line)
    order: list[int] = []
    left = set(lines)
    while left:
        new = set().union(*(lines[test] for test in left))
        heap = [(-len(lines[test]) / took[test], test) for test in left]
        heapq.heapify(heap)
        while heap:
            _, test = heapq.heappop(heap)
            gain = len(lines[test] & new) / took[test]
            if gain and heap and -gain > heap[0][0]:
                heapq.heappush(heap, (-gain, test))
            elif gain:
                order.append(test)
                left.remove(test)
                new -= lines[test]
    return order


class FirstFailure:
    """Ends the process at the first failure, before pytest describes it at length."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
            os._exit(KILLED)


def pytest_runtestloop(session: pytest.Session) -> bool:
    swarm = Swarm(session)
    mutants = json.loads(ASKED.read_text())
    swarm.learn({file for _, file, _, _ in mutants})
    swarm.run(mutants)
    return True
