"""Measure `qcs predict` on a video of moving faces whose people, places and expressions are known.

`python -m benchmarks.live --data FOLDER --work FOLDER --output benchmarks/live.json`

It makes the video (see `benchmarks.moving_faces`), predicts and annotates it once from start to end, and once more
without the filter, killed in the middle and resumed. It measures frames per second, memory over time, how well people
keep their numbers, label changes per minute with and without the filter, and what the interruption changed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.moving_faces import RATE, write

KILLED_AT = 0.4  # of the frames
EVERY = 5.0  # seconds between samples of the memory

Record = dict[str, Any]


def predict(clip: Path, output: Path, *options: str, kill_at: int | None = None) -> Record:
    """Run `qcs predict` on the clip; return its times and memory. It is killed once so many lines are written."""
    begin, first = time.perf_counter(), 0.0
    samples: list[Record] = []
    command = [sys.executable, "-m", "qcs", "predict", str(clip), "--output", str(output), *options]
    before, lines = _lines(output), 0
    with (output.with_suffix(".log")).open("w") as log, subprocess.Popen(command, stdout=log) as process:
        while process.poll() is None:
            time.sleep(0.25)
            lines = _lines(output)
            if lines > before and not first:
                first, before = time.perf_counter(), lines
            now = time.perf_counter() - begin
            if now >= EVERY * len(samples):
                samples.append({"seconds": round(now, 1), "frames": lines, "megabytes": _memory(process.pid)})
            if kill_at is not None and lines >= kill_at:
                process.send_signal(signal.SIGKILL)
    end = time.perf_counter()
    last = output.with_suffix(".log").read_text().splitlines()
    said = next((line for line in reversed(last) if "frames/s" in line), "")
    return {
        "seconds": round(end - begin, 1),
        "frames_per_second": round((_lines(output) - before) / max(end - first, 1e-9), 1),
        "status": process.returncode,
        "milliseconds": stages(said),
        "memory": samples,
    }


def stages(said: str) -> dict[str, float]:
    """Return the milliseconds of each stage from the line that the command prints at its end.

    Example:
        >>> stages("9 frames at 40.1 frames/s; milliseconds per run: waiting 0.1, detection 24.6; no filter")
        {'waiting': 0.1, 'detection': 24.6}
    """
    listed = said.partition("milliseconds per run: ")[2].partition(";")[0]
    return {name: float(value) for name, _, value in (each.rpartition(" ") for each in listed.split(", ")) if name}


def hits(truth: list[Record], results: list[Record]) -> list[tuple[Record, Record | None]]:
    """Return each visible face of the truth with the face found there, or None; both with their frame and seconds.

    A face is found if the center of its box is within 0.4 widths of the center of the true box.
    """
    found = []
    for known, result in zip(truth, results, strict=False):
        for face in known["faces"]:
            if face["visible"]:
                own = {**face, "seconds": known["seconds"], "scene": known["scene"], "frame": result["frame"]}
                found.append((own, _nearest(face["box"], result["faces"])))
    return found


def ids(pairs: list[tuple[Record, Record | None]]) -> Record:
    """Return how well people keep their numbers.

    A person of a scene is kept if all frames in which it is found have one number. A switch is a frame whose number
    differs from the one before of the same person. A mix-up is a number that two people of a scene have had.
    """
    numbers: dict[tuple[int, str], list[int]] = {}
    for own, found in pairs:
        if found is not None:
            numbers.setdefault((own["scene"], own["person"]), []).append(found["track"])
    holders: dict[tuple[int, int], set[str]] = {}
    for (scene, person), each in numbers.items():
        for number in each:
            holders.setdefault((scene, number), set()).add(person)
    common = [Counter(each).most_common(1)[0][1] for each in numbers.values()]
    return {
        "people": len({(own["scene"], own["person"]) for own, _ in pairs}),
        "kept": sum(len(set(each)) == 1 for each in numbers.values()),
        "switches": sum(a != b for each in numbers.values() for a, b in itertools.pairwise(each)),
        "mix_ups": sum(len(people) > 1 for people in holders.values()),
        "faces_found": round(sum(found is not None for _, found in pairs) / max(len(pairs), 1), 4),
        "faces_with_main_number": round(sum(common) / max(sum(map(len, numbers.values())), 1), 4),
    }


def labels(pairs: list[tuple[Record, Record | None]]) -> Record:
    """Return label changes per minute of a face, the true ones and those found, and the share of right labels."""
    true: dict[tuple[int, str], list[str]] = {}
    given: dict[tuple[int, str], list[str]] = {}
    right = count = 0
    for own, found in pairs:
        if found is not None:
            true.setdefault((own["scene"], own["person"]), []).append(own["label"])
            given.setdefault((own["scene"], own["person"]), []).append(found["label"])
            right, count = right + (NAMES.get(own["label"], own["label"]) == found["label"]), count + 1
    minutes = count / RATE / 60

    def changes(rows: dict[tuple[int, str], list[str]]) -> float:
        total = sum(a != b for each in rows.values() for a, b in itertools.pairwise(each))
        return round(total / max(minutes, 1e-9), 1)

    return {
        "changes_per_minute": changes(given),
        "true_changes_per_minute": changes(true),
        "right": round(right / max(count, 1), 4),
    }


NAMES = {"happiness": "happy", "sadness": "sad"}
"""Names of muxspace that the shipped network calls otherwise."""


def differences(whole: list[Record], resumed: list[Record]) -> Record:
    """Return what an interruption changed: frames missing or twice, and numbers of faces that differ."""
    frames = Counter(each["frame"] for each in resumed)
    other = sum(_numbers(a) != _numbers(b) for a, b in zip(whole, resumed, strict=False))
    return {
        "frames": len(resumed),
        "missing": sum(each["frame"] not in frames for each in whole),
        "twice": sum(count > 1 for count in frames.values()),
        "frames_with_other_numbers": other,
    }


def measure(data: Path, work: Path, minutes: float) -> Record:
    """Make the video, predict it in both ways and return all figures."""
    started, load = datetime.now().astimezone().isoformat(timespec="minutes"), os.getloadavg()
    clip, known = work / "clip.mp4", work / "truth.jsonl"
    if not known.exists() or _lines(known) != round(60 * minutes * RATE):
        write(work, data / "photos", data / "muxspace", 60 * minutes)
    for old in work.glob("*.jsonl"):
        if old != known:
            old.unlink()
    filtered, raw = work / "filtered.jsonl", work / "raw.jsonl"
    run = predict(clip, filtered, "--annotate", str(work / "drawn"))
    killed = predict(clip, raw, "--delay", "0", kill_at=round(KILLED_AT * _lines(known)))
    at = _lines(raw)
    resumed = predict(clip, raw, "--delay", "0", "--resume")
    truth, with_filter, without = _read(known), _read(filtered), _read(raw)
    pairs = hits(truth, with_filter)
    memory = [sample["megabytes"] for sample in run["memory"] if sample["frames"] > 100]
    return {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load_before": [round(value, 2) for value in load],
            "started": started,
            "packages": {name: version(name) for name in ("torch", "onnxruntime", "opencv-python-headless", "numpy")},
        },
        "video": {"minutes": minutes, "frames": len(truth), "size": [640, 480], "frames_per_second": RATE},
        "speed": {name: run[name] for name in ("seconds", "frames_per_second", "status", "milliseconds")},
        "memory": {
            "first": memory[0] if memory else None,
            "largest": max(memory, default=None),
            "last": memory[-1] if memory else None,
            "samples": run["memory"][:: max(1, len(run["memory"]) // 40)],
        },
        "ids": ids(pairs),
        "labels": {"filter, half-life 0.3 s": labels(pairs), "no filter": labels(hits(truth, without))},
        "interruption": {
            "killed_after": at,
            "status": [killed["status"], resumed["status"]],
            **differences(with_filter, without),
        },
    }


def _nearest(box: list[float], faces: list[Record]) -> Record | None:
    center, width = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), box[2] - box[0]

    def way(face: Record) -> float:
        left, top, right, bottom = face["box"]
        return float(((left + right) / 2 - center[0]) ** 2 + ((top + bottom) / 2 - center[1]) ** 2) ** 0.5

    near = min(faces, key=way, default=None)
    return near if near is not None and way(near) < 0.4 * width else None


def _numbers(record: Record) -> list[int]:
    return sorted(face["track"] for face in record["faces"])


def _read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _memory(process: int) -> float:
    """Return the resident memory of a process in megabytes; 0 if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return next((round(int(line.split()[1]) / 1024, 1) for line in status.splitlines() if "VmRSS" in line), 0.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/ and muxspace/")
    parser.add_argument("--work", type=Path, required=True, help="folder for the video and the results")
    parser.add_argument("--minutes", type=float, default=10.0, help="length; a whole number of scenes of 20 s")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/live.json"), help="file to write")
    options = parser.parse_args()
    figures = measure(options.data, options.work, options.minutes)
    options.output.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps({name: each for name, each in figures.items() if name != "memory"}, indent=1))
