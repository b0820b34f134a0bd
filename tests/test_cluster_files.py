"""The files in cluster/: as Ray's launcher reads them, as the shell does, and by some of what KubeRay asks for."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from raypeft.sweep import make_parser

FOLDER = Path(__file__).parents[1] / "cluster"


LAUNCHED = ["ray-aws.yaml", "ray-on-premise.yaml"]


def prepared(name: str) -> dict[str, Any]:
    """A file of Ray's launcher as `ray up` has it before it asks the provider for anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((FOLDER / name).read_text()))
    validate_config(config)
    return config


@pytest.mark.parametrize("name", LAUNCHED)
def test_rays_launcher_accepts_the_file(name: str) -> None:
    config = prepared(name)
    workers = [kind["min_workers"] for kind in config["available_node_types"].values()]
    assert max(workers) >= 1, "a sweep that starts on a cluster without cards trains on CPUs"


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_head_that_rays_launcher_starts_starts_the_workers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.autoscaler._private import commands

    said: list[str] = []
    monkeypatch.setattr(commands.cli_logger, "warning", lambda text, *_: said.append(text))
    commands.warn_about_bad_start_command(prepared(name)["head_start_ray_commands"])
    assert not said


def test_the_cards_on_aws_are_spot_instances() -> None:
    card = prepared("ray-aws.yaml")["available_node_types"]["a10g"]
    assert card["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / "kuberay-rayjob.yaml").read_text()))


def test_the_rayjob_has_what_kuberay_requires() -> None:
    claim, job = manifests()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    known = {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit", "rayClusterSpec"}
    assert job["spec"].keys() <= known
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        assert "rayStartParams" in group and all(isinstance(each, str) for each in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert all(group["replicas"] >= group["minReplicas"] >= 1 for group in cluster["workerGroupSpecs"])


def test_the_rays_of_the_rayjob_and_of_the_constraints_are_one() -> None:
    pinned = re.search(r"^ray==(.*)$", (FOLDER.parent / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned and manifests()[1]["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]


def test_the_script_for_slurm_is_a_script() -> None:
    subprocess.run(["bash", "-n", str(FOLDER / "slurm.sh")], check=True)
    text = (FOLDER / "slurm.sh").read_text()
    hours = float(re.search(r"HOURS:-([\d.]+)", text)[1])  # type: ignore[index]
    limit = int(re.search(r"--time=(\d+):00:00", text)[1])  # type: ignore[index]
    assert limit - 1 < hours < limit, "raypeft must stop by itself before SLURM ends the job"


def commands() -> list[str]:
    """The sweeps that the files run, as one line each."""
    job = [manifests()[1]["spec"]["entrypoint"]]
    launcher = [line for name in ("ray-aws.yaml", "ray-on-premise.yaml")
                for line in re.findall(r'--screen "(raypeft [^"]+)"', (FOLDER / name).read_text())]  # fmt: skip
    slurm = re.findall(r"python -m (raypeft\.sweep .*)", (FOLDER / "slurm.sh").read_text())
    return [*job, *launcher, *slurm]


def test_the_sweeps_that_the_files_run_are_commands_of_raypeft() -> None:
    assert len(commands()) == 4
    for line in commands():
        words = shlex.split(line)
        given = words[1:] if words[0] == "raypeft.sweep" else words[2:]
        options = make_parser().parse_intermixed_args(given)
        assert options.address and options.results
