"""Draw corrupt inputs for all readers and print a table: `python tests/fuzz.py --inputs 200000 --log fuzz.jsonl`.

It runs the fuzz tests with one seed after another, each in a process of its own, so that a crash or a hang of native
code is seen and costs one round. The log holds a line per round: started again, the command goes on with the next seed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TESTS = (
    "tests/data/test_reader_fuzz.py::test_corrupt_files_are_read_or_refused",
    "tests/data/test_image_fuzz.py",
    "tests/faces/test_video_fuzz.py",
    "tests/models/test_checkpoint_fuzz.py",
    "tests/models/test_hostile_weights.py::test_a_hostile_file_gives_finite_answers_or_one_line",
)


def fuzz_round(seed: int, examples: int, seconds: int) -> dict[str, Any]:
    """Run every fuzz test with a seed; return the counts by kind of input, and the output of a failed round."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder, "counts.json")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--hypothesis-seed={seed}"]
        environment = {**os.environ, "QCS_FUZZ_EXAMPLES": str(examples), "QCS_FUZZ_COUNTS": str(counts)}
        try:
            done = subprocess.run(
                [*command, f"--basetemp={folder}/temporary", *TESTS],
                cwd=ROOT, env=environment, timeout=seconds, capture_output=True, text=True, errors="replace",
            )  # fmt: skip
            end, text = ("passed" if done.returncode == 0 else f"status {done.returncode}"), done.stdout + done.stderr
        except subprocess.TimeoutExpired as error:
            end, text = "hang", (error.stdout or b"").decode(errors="replace")
        found = json.loads(counts.read_text()) if counts.exists() else {}
    return {"seed": seed, "end": end, "counts": found, "output": "" if end == "passed" else text[-20_000:]}


def table(rounds: list[dict[str, Any]]) -> str:
    """Return the sums over rounds as text."""
    kinds = sorted({kind for done in rounds for kind in done["counts"]})
    lines = [f"{'input':20} {'inputs':>9} {'refused':>9} {'longest message':>16}"]
    sums = [0, 0, 0]
    for kind in kinds:
        found = [done["counts"][kind] for done in rounds if kind in done["counts"]]
        row = [sum(one["inputs"] for one in found), sum(one["refused"] for one in found)]
        longest = max(one["longest"] for one in found)
        lines.append(f"{kind:20} {row[0]:9,} {row[1]:9,} {longest:16,}")
        sums = [sums[0] + row[0], sums[1] + row[1], max(sums[2], longest)]
    lines.append(f"{'all':20} {sums[0]:9,} {sums[1]:9,} {sums[2]:16,}")
    failed = [f"seed {done['seed']}: {done['end']}" for done in rounds if done["end"] != "passed"]
    return "\n".join([*lines, f"{len(rounds)} rounds, {len(failed)} failed", *failed])


def main() -> int:
    """Run rounds until the log holds enough inputs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="inputs of all kinds together (%(default)s)")
    parser.add_argument(
        "--examples",
        type=int,
        default=1000,
        help="inputs per test and round, a tenth where a network is built (%(default)s)",
    )
    parser.add_argument("--seconds", type=int, default=1800, help="of a round before it counts as hung (%(default)s)")
    parser.add_argument("--log", type=Path, default=Path("fuzz.jsonl"), help="file of finished rounds (%(default)s)")
    given = parser.parse_args()
    rounds = [json.loads(line) for line in given.log.read_text().splitlines()] if given.log.exists() else []
    while sum(one["inputs"] for done in rounds for one in done["counts"].values()) < given.inputs:
        seed = max((done["seed"] for done in rounds), default=0) + 1
        rounds.append(fuzz_round(seed, given.examples, given.seconds))
        with given.log.open("a") as log:
            log.write(json.dumps(rounds[-1]) + "\n")
        if not rounds[-1]["counts"]:
            break  # it would go on for ever
    print(table(rounds))
    return any(done["end"] != "passed" for done in rounds)


if __name__ == "__main__":
    raise SystemExit(main())
