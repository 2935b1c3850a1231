"""The authoritative record of a run: JSON lines, of which a resumed run keeps what its checkpoint has seen."""

import json
import os
from pathlib import Path


class RunLog:
    """Figures of a run by step, one JSON object per line, on the disk as soon as they are written.

    Args:
        path: of the file; made with the first line.
    """

    def __init__(self, path: Path):
        self.path = path

    def write(self, step: int, phase: str, values: dict[str, float]) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "phase": phase} | values) + "\n")

    def read(self) -> list[dict]:
        """All whole lines; a kill can leave half of one at the end."""
        if not self.path.is_file():
            return []
        lines = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
        return lines

    def truncate(self, step: int) -> None:
        """Forgets everything after `step`: the resumed run writes it again. Complete or not at all."""
        if not self.path.is_file():
            return
        kept = [json.dumps(line) + "\n" for line in self.read() if line["step"] <= step]
        partial = self.path.with_name(f".partial-{self.path.name}")
        with open(partial, "w", encoding="utf-8") as file:
            file.writelines(kept)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)
