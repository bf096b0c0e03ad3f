"""`berth check` on folders that are as they should be, and on some that are not."""

import json
import shutil
import subprocess

import pytest

from harness.server import Server
from harness.target import berth_binary


def check(folder, *options):
    done = subprocess.run(
        [berth_binary(), "check", str(folder), *options], capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


def filled(folder, writes=50):
    """A folder that a server has written to, a flush and a checkpoint of the log among it, and was stopped on."""
    server = Server(folder, snapshot_count="20")
    server.start()
    with server.client() as client:
        lease = client.grant(600).ID
        for number in range(writes):
            client.put(b"key/%d" % (number % 7), b"value %d" % number, lease=lease if number % 3 == 0 else 0)
    return server


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two members' folders, each stopped in order."""
    folders = []
    for name in ("one", "other"):
        folder = tmp_path_factory.mktemp("check") / name
        filled(folder).stop()
        folders.append(folder)
    return folders


def copy(source, target):
    shutil.copytree(source, target)
    return target


def test_folders_as_they_should_be(two, tmp_path):
    status, out, err = check(two[0])
    assert (status, err) == (0, "") and "everything is as it should be" in out
    killed = filled(tmp_path / "killed")
    killed.kill()
    status, out, _ = check(tmp_path / "killed", "-w", "json")
    told = json.loads(out)
    assert status == 0 and told["findings"] == [] and told["log_last_index"] >= 50
    # Nothing was changed: the folder starts, and holds what was written.
    killed.start()
    with killed.client() as client:
        assert client.prefix(b"key/").count == 7
    killed.stop()


def test_a_running_server_keeps_its_folder_to_itself(tmp_path):
    server = filled(tmp_path / "data")
    status, _, err = check(tmp_path / "data")
    assert status != 0 and "in use by" in err
    server.stop()


def test_a_folder_without_data_is_not_called_sound(tmp_path):
    (tmp_path / "empty").mkdir()
    status, out, err = check(tmp_path / "empty")
    assert status != 0 and out == "" and "no server was ever started there" in err
    status, _, err = check(tmp_path / "nowhere")
    assert status != 0 and err.count("\n") == 1


def test_a_restored_folder_is_sound_before_its_first_start(tmp_path):
    server = filled(tmp_path / "data")
    url = f"http://{server.address}"
    saved = subprocess.run(
        [berth_binary(), "snapshot", "save", str(tmp_path / "file"), "--endpoints", url], capture_output=True, timeout=60
    )
    server.stop()
    assert saved.returncode == 0, saved.stderr
    for number, more in enumerate([[], ["--bump-revision", "1000"]]):
        target = tmp_path / f"restored-{number}"
        subprocess.run(
            [berth_binary(), "snapshot", "restore", str(tmp_path / "file"), "--data-dir", str(target), *more],
            check=True, capture_output=True, timeout=60,
        )
        status, out, err = check(target)
        assert status == 0, (out, err)


def finding(folder, text):
    status, out, err = check(folder)
    assert status == 1 and text in out and "do not start a server on it" in err, (out, err)
    # A start says no as well, and in one line.
    with pytest.raises(Exception):
        Server(folder).start()


def test_a_log_that_is_gone(two, tmp_path):
    folder = copy(two[0], tmp_path / "data")
    shutil.rmtree(folder / "log")
    finding(folder, "there is no log, but base has applied entry")


def test_another_members_log(two, tmp_path):
    folder = copy(two[0], tmp_path / "data")
    shutil.rmtree(folder / "log")
    copy(two[1] / "log", folder / "log")
    finding(folder, "the log is that of member")


def test_base_older_than_its_log(two, tmp_path):
    early = filled(tmp_path / "data", writes=5)
    early.stop()
    old = copy(tmp_path / "data/base", tmp_path / "old")
    server = Server(tmp_path / "data", snapshot_count="20")
    server.start()
    with server.client() as client:
        for number in range(200):
            client.put(b"more/%d" % number, b"x")
    server.stop()
    shutil.rmtree(tmp_path / "data/base")
    copy(old, tmp_path / "data/base")
    finding(tmp_path / "data", "the store is older than its log")


def test_a_flipped_bit_in_a_page(two, tmp_path):
    folder = copy(two[0], tmp_path / "data")
    path = folder / "base/data.mdb"
    data = bytearray(path.read_bytes())
    place = data.index(b"value 49")
    data[place] ^= 1
    path.write_bytes(data)
    status, out, _ = check(folder)
    assert status == 1 and "checksum" in out, out
