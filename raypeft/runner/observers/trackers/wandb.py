"""Weights & Biases: a project for each sweep, a run for each trial.

The key is that of `wandb login` or WANDB_API_KEY; WANDB_PROJECT, WANDB_ENTITY and WANDB_MODE=offline work as always.
Where the server does not answer, runs are kept as with WANDB_MODE=offline, for `wandb sync`.
"""

from __future__ import annotations

import netrc
import os
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from raypeft.results.statuses import is_fault
from raypeft.runner.observers.trackers.backend import ReportedSweep, Run
from raypeft.secrets import hidden_in_message, without_password

FAILED = 1
"""The exit code by which W&B marks a run as failed."""
ANSWER_SECONDS = 4.0
"""How long a server may take to answer at all. W&B itself would wait for minutes, also at the end of the process."""
FINISH_SECONDS = 4.0
"""How long the end of a run waits for its data to be uploaded."""


class WeightsAndBiases:
    def __init__(self, sweep: ReportedSweep, say: Callable[[str], None]) -> None:
        # Its reports of errors to its makers hold up the end of the process where a server is silent.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self.sweep, self.say = sweep, say
        settings = wandb.setup().settings
        self.mode: Any = None
        """None: as WANDB_MODE says, which is online by default."""
        if settings.mode != "online":
            return
        if not answers(settings.base_url):
            self._go_offline(f"{without_password(settings.base_url)} does not answer")
        elif not (settings.api_key or settings.identity_token_file or has_login(settings.base_url)):
            # W&B would ask for it, amid our own lines.
            self._go_offline("no key is known (wandb login)")

    def _go_offline(self, why: str) -> None:
        self.mode = "offline"
        folder = os.path.join(os.environ.get("WANDB_DIR") or ".", "wandb")  # noqa: PTH118 - as W&B writes it
        self.say(f"warning: wandb: {why}; runs are kept on this machine from here on. "
                 f"To upload them: wandb sync {folder}/*run-*")  # fmt: skip

    def begin(self, run: Run) -> None:
        from wandb.errors import CommError

        try:
            run.handle = self._init(run)
        except CommError as error:
            if self.mode == "offline":
                raise
            reason = " ".join(hidden_in_message(str(error)).split())[:160]
            self._go_offline(f"the server does not take a run ({reason})")
            run.handle = self._init(run, "-kept")  # W&B still holds the first id for the run that failed

    def _init(self, run: Run, suffix: str = "") -> Any:
        import wandb

        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", self.sweep.name),
            id=self.sweep.run_id(run.trial) + suffix,
            name=f"{run.label} {run.trial}",
            group=self.sweep.name,
            notes=self.sweep.note,
            config={**run.params, "trial": run.trial, **self.sweep.links},
            resume="allow",
            mode=self.mode,
            reinit="create_new",  # several trials run at the same time
            settings=wandb.Settings(
                console="off",
                silent=True,
                init_timeout=ANSWER_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
            ),
        )

    def log(self, run: Run, step: int, values: Mapping[str, float]) -> None:
        run.handle.log(dict(values), step=step)

    def end(self, run: Run, status: str, scores: Mapping[str, float]) -> None:
        run.handle.summary.update({"status": status, **{f"result/{name}": value for name, value in scores.items()}})
        self._finish(run, FAILED if is_fault(status) else 0)

    def interrupt(self, run: Run) -> None:
        self._finish(run, FAILED)

    def _finish(self, run: Run, exit_code: int) -> None:
        try:
            run.handle.finish(exit_code=exit_code)
        except TimeoutError:
            if self.mode != "offline":
                self._go_offline(f"the server did not take a run's data within {FINISH_SECONDS:g} s")

    def close(self) -> None:
        """Nothing: each run is finished at its trial's end."""


def has_login(url: str) -> bool:
    """Whether `wandb login` has stored a key for a server; W&B's own servers share one."""
    try:
        hosts = netrc.netrc(os.environ.get("NETRC")).hosts
        return urlsplit(url).netloc in hosts or (".wandb.ai" in url and "api.wandb.ai" in hosts)
    except (OSError, netrc.NetrcParseError):
        return False


def answers(url: str) -> bool:
    """Whether a server is there, whatever it says."""
    try:
        with urlopen(url, timeout=ANSWER_SECONDS):  # noqa: S310 - W&B itself goes there
            return True
    except HTTPError:
        return True
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # W&B has settings of its own for certificates
    except (OSError, ValueError):
        return False


BACKEND = WeightsAndBiases
