"""The Kubernetes manifests: valid by Kubernetes' own schemas and by those of the Dask operator."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from harvest.config import ClusterConfig, load_config, parse_config
from harvest.errors import ExitCode
from tests import conftest
from tests.conftest import SQL_GENERATED
from tests.lab import Lab

FOLDER = Path(__file__).parent.parent / "configs" / "kubernetes"
VERSION = "1.34"
OPERATOR = "kubernetes.dask.org/v1"


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(FOLDER.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            yield f"{path.stem}-{document['kind']}", document


DOCUMENTS = dict(documents())


def operator_schema(kind: str) -> dict[str, Any]:
    """Return what the operator's own definition says of a kind, and nothing beyond it allowed."""
    spec = find_spec("dask_kubernetes")
    assert spec is not None
    assert spec.origin is not None
    charts = Path(spec.origin).parent / "operator" / "deployment" / "helm"
    path = charts / "dask-kubernetes-operator" / "crds" / f"{kind.lower()}.yaml"
    (version,) = yaml.safe_load(path.read_text())["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    named = {"apiVersion": {"type": "string"}, "kind": {"enum": [kind]}}
    schema["properties"] |= {**named, "metadata": {"type": "object"}}
    found: dict[str, Any] = closed(schema)
    return found


def closed(schema: Any) -> Any:
    """Refuse what a schema does not name, as ``kubectl apply`` does."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(each) for name, each in schema.items()}
    if found.pop("x-kubernetes-int-or-string", False):
        found["type"] = ["integer", "string"]
        found.pop("anyOf", None)
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


def validate(document: dict[str, Any]) -> None:
    if document["apiVersion"] == OPERATOR:
        jsonschema.validate(document, operator_schema(document["kind"]))
    else:
        kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_manifests_are_valid(name: str) -> None:
    validate(DOCUMENTS[name])


def pod(document: dict[str, Any]) -> dict[str, Any]:
    spec = document["spec"]
    spec = spec.get("jobTemplate", document)["spec"] if "jobTemplate" in spec else spec
    found: dict[str, Any] = spec["job"]["spec"] if "job" in spec else spec["template"]["spec"]
    return found


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "a key that is misspelt": lambda pod: pod.update(contaners=[]),
    "a key of a container that is misspelt": lambda pod: pod["containers"][0].update(imagee="x"),
    "a wrong type": lambda pod: pod["containers"][0].update(args="run"),
    "what is required is missing": lambda pod: pod["containers"][0].pop("name"),
    "a volume of no kind": lambda pod: pod["volumes"][0].update(configmap={}),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ["job-Job", "cronjob-CronJob", "daskjob-DaskJob"])
def test_wrong_manifests_are_not(name: str, wrong: str) -> None:
    document = copy.deepcopy(DOCUMENTS[name])
    WRONG[wrong](pod(document))
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
        validate(document)


def test_a_wrong_worker_is_not() -> None:
    document = copy.deepcopy(DOCUMENTS["daskjob-DaskJob"])
    document["spec"]["cluster"]["spec"]["worker"]["replicas"] = "many"
    with pytest.raises(jsonschema.ValidationError):
        validate(document)


def test_the_configs_in_them_are_right(tmp_path: Path) -> None:
    for name in ("job-ConfigMap", "daskjob-ConfigMap"):
        data = DOCUMENTS[name]["data"]
        config = parse_config(data["harvest.yaml"])
        # final files of a pod are gone with it
        assert config.output.url.startswith("s3://")
    (tmp_path / "c").write_text(data["harvest.yaml"])
    (tmp_path / "k").write_text(data["cluster.yaml"])
    address = load_config(tmp_path / "c", tmp_path / "k").cluster.address
    service = DOCUMENTS["daskjob-DaskJob"]["metadata"]["name"]
    assert address == f"tcp://{service}-scheduler.default.svc:8786"


def test_pods_are_tried_again_only_where_that_can_help() -> None:
    for name in ("job-Job", "cronjob-CronJob"):
        text = json.dumps(DOCUMENTS[name])
        (values,) = re.findall(r'"operator": "In", "values": \[([\d, ]+)\]', text)
        ends = {ExitCode.WRONG_USE, ExitCode.TOO_MANY_ERRORS, ExitCode.BUG}
        assert {int(value) for value in values.split(",")} == set(map(int, ends))


def test_all_pods_have_one_image() -> None:
    images = re.findall(r'"image": "([^"]+)"', json.dumps(list(DOCUMENTS.values())))
    assert len(set(images)) == 1
    assert f"-t {images[0]} " in (FOLDER / "Dockerfile").read_text()


def test_the_containers_entry_point(lab: Lab, tmp_path: Path) -> None:
    """As the image and the manifest say, but for the folder of the config."""
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    (program,) = json.loads(entry)
    (container,) = pod(DOCUMENTS["job-Job"])["containers"]
    content = {
        "cohort": {"sql": f"{SQL_GENERATED} AND Modality = 'MR'", "index": str(lab.index)},
        "source": conftest.source_of(lab),
        "output": str(tmp_path / "out"),
    }
    (tmp_path / "harvest.yaml").write_text(yaml.safe_dump(content))
    words = [word.replace("/config", str(tmp_path)) for word in container["args"]]
    env = conftest.environment(PYTHONPATH=str(FOLDER.parents[1]), HOME=str(tmp_path))
    ended = subprocess.run(
        [Path(sys.executable).parent / program, *words],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert (ended.returncode, conftest.messages(ended)) == (0, "")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["errors"] == {}


def test_a_kubernetes_cluster_class_can_be_named() -> None:
    content = {
        "class": "dask_kubernetes.operator.KubeCluster",
        "options": {"name": "harvest", "image": "harvest:0.1.0"},
        "scale": {"workers": 16},
        "allow_insecure": True,
    }
    assert ClusterConfig.model_validate(content).most_workers == 16
