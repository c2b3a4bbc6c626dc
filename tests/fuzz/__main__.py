"""Coverage-guided fuzzing of a target by atheris: ``python -m tests.fuzz TARGET [OPTION…]``.

Options are libFuzzer's, such as ``-max_total_time=600`` or ``-runs=100000``. It begins with the
corpus of the repository, in a folder of its own that is named at the start, and leaves there what
it finds. ``--corpus=FOLDER`` goes on with such a folder; with ``--keep`` beside it the inputs of
the folder become the repository's corpus. See docs/fuzzing.md.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

TARGETS = frozenset(
    {
        "smtp_server",
        "smtp_client",
        "smtp_pair",
        "http_server",
        "http_client",
        "http_pair",
        "capture_file",
    }
)
MAX_LEN = 96
"""Bytes of an input; they stand for a session that is many times as long."""


def main(arguments: list[str]) -> None:
    """Run one target."""
    options = [each for each in arguments if each.startswith("-")]
    names = [each for each in arguments if not each.startswith("-")]
    if len(names) != 1 or names[0] not in TARGETS:
        sys.exit(__doc__)
    # Branches only: comparisons take as long again, and words serve better than guesses.
    with atheris.import_hook.HookManager({"netserve"}, set(), True, trace_dataflow=False):
        # What is to be instrumented, and no more: each line of it costs.
        if names[0].startswith("http_"):
            import netserve.http.h1
        elif names[0] == "capture_file":
            import netserve.capture.decode.report
            import netserve.capture.reading.opening
        else:
            import netserve.mail.client.machine
            import netserve.mail.server.machine  # noqa: F401 - both are imported for that alone
    from tests.fuzz import coding, targets

    target = targets.find(names[0])
    given = [each.removeprefix("--corpus=") for each in options if each.startswith("--corpus=")]
    folder = Path(given[0] if given else tempfile.mkdtemp(prefix=f"fuzz-{names[0]}-"))
    if "--keep" in options:
        coding.write_corpus(names[0], [path.read_bytes() for path in folder.iterdir()])
        return
    folder.mkdir(exist_ok=True)
    for data in [*target.seeds(), *coding.read_corpus(names[0])]:
        (folder / hashlib.sha256(data).hexdigest()[:40]).write_bytes(data)
    print(f"the corpus is in {folder}")
    libfuzzer = [each for each in options if not each.startswith("--")]
    if not any(each.startswith("-max_len=") for each in libfuzzer):
        libfuzzer.append(f"-max_len={MAX_LEN}")
    command = [sys.argv[0], *libfuzzer, "-print_final_stats=1", str(folder)]
    atheris.Setup(command, target.run_one, enable_python_coverage=True)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
