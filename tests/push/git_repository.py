"""A real git repository, as a forge would have it."""

import os
import subprocess
from pathlib import Path

ZEROS = "0" * 40


class Repository:
    """One with a commit that has a README and one spec."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.write("README.md", "hello\n")
        self.write("runs/old.yaml", "model: {id: owner/old}\n")
        self.start = self.commit()

    def git(self, *arguments: str | bytes) -> str:
        names = {
            f"GIT_{who}_{what}": "ada@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        done = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            capture_output=True,
            env=os.environ | names | quiet,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode(errors="replace").strip()

    def path(self, name: str | bytes) -> Path:
        return self.folder / os.fsdecode(name)

    def write(self, name: str | bytes, text: str) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self, *options: str) -> str:
        """Everything that lies there, as a commit; gives its id."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", "change", *options)
        return self.head()

    def head(self) -> str:
        return self.git("rev-parse", "HEAD")
