"""What stands in the cluster, and what a controller makes of a changed Deployment.

A change of a Deployment's template gives a new ReplicaSet (or brings an old one back, under a new number) and new pods,
and leaves the old pods as draining, listed with a deletionTimestamp. How a pod behaves is said by its image.
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]

REVISION = "deployment.kubernetes.io/revision"
EARLIER = "deployment.kubernetes.io/revision-history"
NEVER = 3600.0
LATENCY_EDGES = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)


@dataclass
class Image:
    """How the pods of an image behave."""

    version: str
    digest: str
    ready_seconds: float = 0.2
    too_late: bool = False
    """The controller says that the rollout exceeded its progress deadline."""
    waits_for: str = ""
    """Why a container does not start: ImagePullBackOff."""
    rate: float = 200.0
    errors: float = 0.0
    refused: float = 0.0
    latency: float = 0.004
    """Seconds of every request."""
    answer: float = 1.0
    """What the model answers to golden rows."""
    output: str = "y"
    restarts_after: float = NEVER
    unready_after: float = NEVER


@dataclass
class Pod:
    name: str
    replica_set: str
    labels: dict[str, str]
    image: Image
    began: float = field(default_factory=time.monotonic)
    leaving: bool = False

    @property
    def age(self) -> float:
        return time.monotonic() - self.began

    @property
    def ready(self) -> bool:
        image = self.image
        return not image.too_late and image.ready_seconds <= self.age < image.unready_after

    def document(self, namespace: str) -> Object:
        metadata: Object = {"name": self.name, "namespace": namespace, "labels": self.labels}
        if self.leaving:
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        state: Object = {"running": {}}
        if self.image.waits_for:
            state = {"waiting": {"reason": self.image.waits_for, "message": "Back-off\npulling"}}
        status = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if self.ready else "False"}],
            "containerStatuses": [
                {"name": "proxy", "restartCount": 7},
                {"name": "server", "restartCount": int(self.age > self.image.restarts_after), "state": state},
            ],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status}


class Cluster:
    """`images`: behaviour by name. Everything under one lock; `changed` wakes those who watch."""

    def __init__(self, namespace: str, images: dict[str, Image]) -> None:
        self.namespace, self.images = namespace, images
        self.deployments: dict[str, Object] = {}
        self.replica_sets: dict[str, Object] = {}
        self.pods: dict[str, Pod] = {}
        self.routes: dict[str, Object] = {}
        self.denied: set[str] = set()
        """Rights that nobody has: "patch deployments", "create pods/exec"."""
        self.changed = threading.Condition(threading.RLock())
        self.clock = 1

    def deploy(self, name: str, image: str, replicas: int = 2, annotations: dict[str, str] | None = None) -> None:
        """What `kubectl apply` does. It stands at once."""
        labels = {"app.kubernetes.io/name": name.rsplit("-", 1)[0], "modelyard.dev/track": name.rsplit("-", 1)[1]}
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "proxy", "image": "proxy:1"}, {"name": "server", "image": image}]},
        }
        metadata = {"name": name, "namespace": self.namespace, "annotations": dict(annotations or {})}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        self.adopt({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})

    def adopt(self, document: Object) -> None:
        """A rendered Deployment or route, as `kubectl apply` would bring it."""
        name = document["metadata"]["name"]
        if document["kind"] != "Deployment":
            self.routes[name] = document
            return
        document = copy.deepcopy(document)
        document["metadata"] |= {"generation": 1, "uid": f"uid-{name}"}
        document["metadata"].setdefault("annotations", {})
        document["spec"].setdefault("replicas", 1)
        with self.changed:
            self.deployments[name] = document
            self.reconcile(name)
            self.age_all()

    def age_all(self) -> None:
        """As if all pods had served for ten minutes."""
        for pod in self.pods.values():
            pod.began -= 600.0

    def replace(self, name: str, document: Object) -> None:
        before = self.deployments[name]
        document["metadata"]["generation"] = before["metadata"]["generation"] + (before["spec"] != document["spec"])
        self.deployments[name] = document
        self.reconcile(name)

    def reconcile(self, name: str) -> None:
        """The controller: called with the lock, after every change."""
        deployment = self.deployments[name]
        current = self._replica_set(deployment)
        annotations = {key: value for key, value in deployment["metadata"]["annotations"].items() if key != REVISION}
        current["metadata"]["annotations"] |= annotations
        deployment["metadata"]["annotations"][REVISION] = current["metadata"]["annotations"][REVISION]
        own = current["metadata"]["name"]
        image = self.image_of(deployment)
        for pod in [pod for pod in self.pods.values() if pod.replica_set.startswith(f"{name}-")]:
            if pod.leaving:
                del self.pods[pod.name]
            pod.leaving = pod.replica_set != own
        alive = [pod for pod in self.pods.values() if pod.replica_set == own and not pod.leaving]
        for pod in alive[deployment["spec"]["replicas"] :]:
            pod.leaving = True
        for _ in range(len(alive), deployment["spec"]["replicas"]):
            self.clock += 1
            fresh = f"{own}-p{self.clock:04d}"
            self.pods[fresh] = Pod(fresh, own, current["spec"]["template"]["metadata"]["labels"], image)
        self.touch()

    def image_of(self, deployment: Object) -> Image:
        containers = deployment["spec"]["template"]["spec"]["containers"]
        return self.images[next(one["image"] for one in containers if one["name"] == "server")]

    def touch(self) -> None:
        self.clock += 1
        self.changed.notify_all()

    def deployment(self, name: str) -> Object:
        """As the API shows it: its status is that of the pods now."""
        document = copy.deepcopy(self.deployments[name])
        own = self._replica_set(self.deployments[name])["metadata"]["name"]
        wanted = document["spec"]["replicas"]
        pods = [pod for pod in self.pods.values() if pod.replica_set == own and not pod.leaving]
        ready = min(sum(pod.ready for pod in pods), wanted)
        reason = "ProgressDeadlineExceeded" if any(pod.image.too_late for pod in pods) else "ReplicaSetUpdated"
        document["metadata"]["resourceVersion"] = str(self.clock)
        document["status"] = {
            "observedGeneration": document["metadata"]["generation"],
            "replicas": wanted,
            "updatedReplicas": min(len(pods), wanted),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "conditions": [{"type": "Progressing", "status": "True", "reason": reason}],
        }
        return document

    def _replica_set(self, deployment: Object) -> Object:
        """The one of the Deployment's template; made, or brought back under a new number."""
        name, template = deployment["metadata"]["name"], deployment["spec"]["template"]
        hashed = _hash(template)
        own = {key: one for key, one in self.replica_sets.items() if key.startswith(f"{name}-")}
        newest = max((int(one["metadata"]["annotations"][REVISION]) for one in own.values()), default=0)
        found = own.get(f"{name}-{hashed}")
        if found is None:
            found = self.replica_sets[f"{name}-{hashed}"] = _new_replica_set(deployment, hashed, self.namespace)
            found["metadata"]["annotations"][REVISION] = str(newest + 1)
        annotations = found["metadata"]["annotations"]
        if int(annotations[REVISION]) < newest:
            annotations[EARLIER] = ",".join(filter(None, [annotations.get(EARLIER, ""), annotations[REVISION]]))
            annotations[REVISION] = str(newest + 1)
        return found


def _hash(template: Object) -> str:
    """Of what the scripts change; kubectl sends a template back with empty fields that it came without."""
    metadata = template["metadata"]
    labels = {key: value for key, value in metadata["labels"].items() if key != "pod-template-hash"}
    images = [one["image"] for one in template["spec"]["containers"]]
    text = json.dumps([labels, metadata.get("annotations") or {}, images], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _new_replica_set(deployment: Object, hashed: str, namespace: str) -> Object:
    template = copy.deepcopy(deployment["spec"]["template"])
    template["metadata"]["labels"]["pod-template-hash"] = hashed
    name = deployment["metadata"]["name"]
    metadata = {
        "name": f"{name}-{hashed}",
        "namespace": namespace,
        "labels": template["metadata"]["labels"],
        "annotations": {},
        "uid": f"uid-{hashed}",
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": f"uid-{name}", "controller": True}
        ],
    }
    spec = {"replicas": 0, "selector": {"matchLabels": template["metadata"]["labels"]}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}
