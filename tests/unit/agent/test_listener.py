import json
import threading
from collections.abc import Callable
from pathlib import Path

from tests.unit.agent.conftest import World, eventually

from handoffd.agent import Mailbox
from handoffd.agent.command import Command
from handoffd.agent.listener import Listener, Work
from handoffd.agent.wake import Wake


def work(world: World, script: str | None = None, *, state: Path | None = None, timeout_s: float | None = None) -> Work:
    command = None if script is None else Command(["/bin/sh", "-c", script], timeout_s)
    return Work(world.clock, command, state)


def once(world: World, doing: Work, wake: Wake) -> bool | None:
    return Listener(world.mailbox("alice"), doing, wake, once=True).run()


def reason(world: World) -> str:
    (path,) = (world.root / "rejected").glob("*.reason")
    return path.read_text().strip()


def test_exit_0_completes(world: World, wake: Wake, tmp_path: Path) -> None:
    data = world.send().path.read_bytes()
    assert once(world, work(world, f"cat > {tmp_path}/got"), wake) is True
    assert (tmp_path / "got").read_bytes() == data
    assert (len(world.names("archive")), world.names("claimed")) == (1, [])


def test_another_exit_code_rejects_with_the_words(world: World, wake: Wake) -> None:
    world.send()
    assert once(world, work(world, "echo no line free >&2; exit 1"), wake) is False
    assert reason(world) == "exit 1: no line free"
    assert (world.names("archive"), world.names("claimed")) == ([], [])


def test_a_claim_that_the_command_removed_ends_no_listener(world: World, wake: Wake, tmp_path: Path) -> None:
    script = f"test -e {tmp_path}/ran || {{ touch {tmp_path}/ran; rm {world.root}/claimed/.*.listen; }}"
    world.send()
    world.send()
    stop_when(wake, lambda: world.names("archive"))
    Listener(world.mailbox("alice"), work(world, script), wake).run()
    assert ["gone" in ended.words for ended in world.ended] == [True, False]
    assert world.names("claimed") == []


def test_a_time_out_rejects(world: World, wake: Wake) -> None:
    world.send()
    assert once(world, work(world, "sleep 60", timeout_s=0.2), wake) is False
    assert reason(world).startswith("timed_out")


def test_the_command_learns_what_it_is_about(world: World, wake: Wake, tmp_path: Path) -> None:
    written = world.send()
    said = f'echo "$HANDOFF_ID $HANDOFF_TID $HANDOFF_FROM $HANDOFF_TO" > {tmp_path}/got'
    assert once(world, work(world, f'{said}; cat "$HANDOFF_FILE" > {tmp_path}/file'), wake) is True
    envelope = written.envelope
    assert (tmp_path / "got").read_text().split() == [envelope.handoff_id, envelope.tid, "bob", "alice"]
    assert json.loads((tmp_path / "file").read_bytes())["handoff_id"] == envelope.handoff_id


def test_a_bootstrap_alone_completes_the_handoff(world: World, wake: Wake, tmp_path: Path) -> None:
    written = world.send()
    assert once(world, work(world, state=tmp_path), wake) is True
    assert (tmp_path / "handoffs" / f"{written.envelope.handoff_id}.json").exists()
    assert len(world.names("archive")) == 1


def test_the_bootstrap_is_there_before_the_command_runs(world: World, wake: Wake, tmp_path: Path) -> None:
    world.send()
    assert once(world, work(world, f"test -e {tmp_path}/handoffs/$HANDOFF_ID.json", state=tmp_path), wake) is True


def test_a_refused_handoff_leaves_no_bootstrap(world: World, wake: Wake, tmp_path: Path) -> None:
    world.send()
    assert once(world, work(world, "exit 1", state=tmp_path), wake) is False
    assert list((tmp_path / "handoffs").iterdir()) == []


def test_a_second_handoff_of_one_id_waits_for_no_bootstrap(world: World, wake: Wake, tmp_path: Path) -> None:
    for text in ("one", "two"):
        world.send(reason=text, caller_hash="b275013166a65f69")
        once(world, work(world, state=tmp_path), wake)
    assert reason(world).startswith("bootstrap_unread")
    (path,) = (tmp_path / "handoffs").iterdir()
    assert json.loads(path.read_bytes())["reason"] == "one"


def test_a_claim_of_a_dead_listener_is_rejected_and_not_run(world: World, wake: Wake, tmp_path: Path) -> None:
    world.send()
    claim = world.mailbox("alice").claim_next()
    assert claim is not None
    claim.hold.release()
    world.send(reason="the next one")
    once(world, work(world, f"cat >> {tmp_path}/ran"), wake)
    assert json.loads((tmp_path / "ran").read_bytes())["reason"] == "the next one"
    assert reason(world).startswith("listener_interrupted")


def test_the_bootstrap_of_a_dead_listener_is_withdrawn(world: World, wake: Wake, tmp_path: Path) -> None:
    world.send(caller_hash="b275013166a65f69")
    claim = world.mailbox("alice").claim_next()
    assert claim is not None
    work(world, state=tmp_path).do(claim, wake)
    claim.hold.release()
    stop_when(wake, lambda: world.names("rejected"))
    Listener(world.mailbox("alice"), work(world, state=tmp_path), wake).run()
    assert list((tmp_path / "handoffs").iterdir()) == []


def test_a_claim_whose_command_outlived_its_listener_is_left_until_that_ends(
    world: World, wake: Wake, tmp_path: Path
) -> None:
    world.send()
    claim = world.mailbox("alice").claim_next()
    assert claim is not None
    mailbox = world.mailbox("alice")
    thread = run_in_background(mailbox, work(world, "true"), wake)
    world.send(reason="the next one")
    eventually(lambda: len(world.names("archive")) == 1)
    assert world.names("rejected") == []
    claim.hold.release()
    eventually(lambda: len(world.names("rejected")) == 2)
    wake.stop()
    thread.join()


def test_a_stop_rejects_what_is_being_done_and_ends(world: World, wake: Wake, tmp_path: Path) -> None:
    world.send()
    stop_when(wake, (tmp_path / "ready").exists)
    assert Listener(world.mailbox("alice"), work(world, f"touch {tmp_path}/ready; sleep 60"), wake).run() is False
    assert reason(world) == "listener_interrupted: the listener was stopped"


def test_what_was_claimed_as_the_stop_came_is_not_begun(world: World, wake: Wake, tmp_path: Path) -> None:
    world.send()
    claim = world.mailbox("alice").claim_next()
    assert claim is not None
    wake.stop()
    words = work(world, f"touch {tmp_path}/ran", state=tmp_path).do(claim, wake)
    assert words == "listener_interrupted: the listener was stopped"
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "handoffs").exists()


def test_a_bootstrap_that_cannot_be_written_rejects_with_why(world: World, wake: Wake, tmp_path: Path) -> None:
    world.send()
    assert once(world, work(world, "true", state=tmp_path / "gone"), wake) is False
    assert reason(world) == f"bootstrap_failed: {tmp_path}/gone/handoffs: No such file or directory"


def test_a_stop_while_waiting_ends_with_nothing(world: World, wake: Wake) -> None:
    wake.stop()
    assert once(world, work(world, "true"), wake) is None


def run_in_background(mailbox: Mailbox, doing: Work, wake: Wake) -> threading.Thread:
    thread = threading.Thread(target=Listener(mailbox, doing, wake).run)
    thread.start()
    return thread


def stop_when(wake: Wake, holds: Callable[[], object]) -> None:
    def stop() -> None:
        eventually(holds)
        wake.stop()

    threading.Thread(target=stop).start()
