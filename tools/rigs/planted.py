"""The rig put to the test: each planted fault must be noticed, and a run without one must find nothing."""

import shutil
import time

from harness.client import Client

from . import kill, proxy

ROUNDS = 6  # Until a fault has had its chance and been noticed.


def run(rig):
    rig.client = Client
    for number, fault in enumerate([None, *proxy.FAULTS], 1):
        through_proxy(rig, number, fault)
    for number, (name, restore) in enumerate(FOLDERS, 100):
        tampered_folder(rig, number, name, restore)


def through_proxy(rig, number, fault):
    name = fault.__doc__ if fault else "No fault, through the proxy."
    between = proxy.Proxy(fault and fault(), seed=rig.seed)
    rig.on_exit(between.close)
    story = kill.Story(rig, number, address=between.address)
    found = None
    for round in range(ROUNDS):
        if not story.server.is_running():
            story.start()
        between.connect(story.server.address)
        story.workload.start(between.address)
        time.sleep(1.5)
        story.server.kill()
        story.workload.stop()
        story.start()
        between.connect(story.server.address)
        found = story.check()
        if found or (fault is None and round == 1):
            break
    story.server.kill()
    between.close()
    shutil.rmtree(story.folder)
    judge(rig, name, found, fault and fault.noticed, between.planted)


def judge(rig, name, found, wanted, planted=1):
    """`wanted`: words that must be among what was found, or None when nothing may be."""
    texts = found.texts if found else []
    telling = next((text for text in texts if wanted and wanted in text), None)
    if telling:
        rig.ok(f"{name} Noticed: {telling[:160]}")
    elif wanted and not planted:
        rig.fail(f"{name} It never got a chance")
    elif wanted:
        rig.fail(f"{name} Not noticed", found)
    else:
        rig.judge(f"{name} Nothing found", found)


# Folders from which something acknowledged was taken


def whole(story, copy):
    """The whole folder as it was a round before."""
    shutil.rmtree(story.server.data_dir)
    shutil.copytree(copy, story.server.data_dir)


FOLDERS = [("The folder of a round before is put back.", whole)]


def tampered_folder(rig, number, name, restore):
    story = kill.Story(rig, number)
    story.start()
    story.run("at random")
    story.start()
    problems = story.check()
    if problems:
        rig.fail(f"{name} Before that:", problems)
        return
    story.server.kill()
    copy = story.folder / "copy"
    shutil.copytree(story.server.data_dir, copy)
    story.start()
    story.run("at random")
    restore(story, copy)
    story.start()
    found = story.check()
    story.server.kill()
    shutil.rmtree(story.folder)
    judge(rig, name, found, "had been told")
