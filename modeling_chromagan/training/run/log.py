"""The authoritative record of a run: JSON lines, of which a resumed run keeps what its checkpoint has seen."""

import json
from pathlib import Path

from ...durable_files import append_line, write_text


class RunLog:
    """Figures of a run by step, one JSON object per line, on the disk as soon as they are written.

    Args:
        path: of the file; made with the first line.
    """

    def __init__(self, path: Path):
        self.path = path

    def write(self, step: int, phase: str, values: dict[str, float]) -> None:
        append_line(self.path, json.dumps({"step": step, "phase": phase} | values))

    def read(self) -> list[dict]:
        """The lines up to the first that is not whole; a kill can leave half of one at the end."""
        if not self.path.is_file():
            return []
        lines = []
        for text in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                break
            if not isinstance(line, dict) or type(line.get("step")) is not int:
                break
            lines.append(line)
        return lines

    def truncate(self, step: int) -> None:
        """Forgets everything after `step`: the resumed run writes it again. Complete or not at all."""
        if self.path.is_file():
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.read() if line["step"] <= step))


__all__ = ["RunLog"]
