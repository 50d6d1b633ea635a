"""The API server of the cluster, as far as kubectl asks it for what the scripts do; and what a pod answers over HTTP.

A pod is known by the key that its caller sends (its own name), or by its name in the path of the API server's proxy.
"""

from __future__ import annotations

import json
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.cluster.patches import Conflict, apply_json_patch, merge
from tests.fakes.cluster.state import LATENCY_EDGES, Cluster, Object, Pod

RESOURCES = {
    "/api/v1": [("pods", "Pod")],
    "/apis/apps/v1": [("deployments", "Deployment"), ("deployments/scale", "Scale"), ("replicasets", "ReplicaSet")],
    "/apis/gateway.networking.k8s.io/v1": [("httproutes", "HTTPRoute"), ("grpcroutes", "GRPCRoute")],
    "/apis/authorization.k8s.io/v1": [("selfsubjectaccessreviews", "SelfSubjectAccessReview")],
}
KINDS = {name: kind for resources in RESOURCES.values() for name, kind in resources}
VERBS = ["get", "list", "watch", "patch", "update", "create"]
MODEL = "digits"


class Refusal(Exception):
    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class Api(BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class calls it so)
        """Nothing."""

    def do_GET(self) -> None:
        self._answer("get")

    def do_PATCH(self) -> None:
        self._answer("patch")

    def do_PUT(self) -> None:
        self._answer("patch")

    def do_POST(self) -> None:
        self._answer("create")

    def _answer(self, verb: str) -> None:
        url = urlsplit(self.path)
        body = self._body()
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            with self.cluster.changed:
                if key:
                    self._send(*pod_says(self.cluster.pods[key], url.path, body))
                    return
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                watched = query.get("watch") in ("true", "1")
                document = None if watched else self._document(verb, url.path, query, body)
            if watched:
                self._watch(query)
            elif isinstance(document, bytes):
                self._send(200, document)
            else:
                self._send(200, json.dumps(document).encode())
        except Refusal as refusal:
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": refusal.reason}
            self._send(refusal.code, json.dumps(status | {"message": str(refusal), "code": refusal.code}).encode())

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size + 2)[:-2])
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, code: int, body: bytes, length: int = 0) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if length:
            self.send_header("Inference-Header-Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def _document(self, verb: str, path: str, query: dict[str, str], body: bytes) -> Any:
        if path == "/version":
            return {"major": "1", "minor": "32", "gitVersion": "v1.32.0"}
        if path.endswith("selfsubjectaccessreviews"):
            return self._review(body)
        parts = path.strip("/").split("/")
        if "namespaces" not in parts:
            return _discovery(path)
        if parts[-2] == "namespaces":  # kubectl wants to know whether it is there when something in it is not
            return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": parts[-1]}}
        _, kind, *rest = parts[parts.index("namespaces") + 1 :]
        if "proxy" in rest:
            self._allow("get pods/proxy")
            return pod_says(self.cluster.pods[rest[0].partition(":")[0]], "/" + "/".join(rest[2:]), b"")[1]
        if rest:
            return self._one(verb, kind, rest, body)
        return self._list(kind, query)

    def _allow(self, right: str) -> None:
        if right in self.cluster.denied:
            raise Refusal(403, "Forbidden", f'User "somebody" cannot {right}')

    def _review(self, body: bytes) -> Object:
        """kubectl sends protobuf, in which the words stand as they are."""
        right = "create pods/exec" if b"exec" in body else "get pods/proxy"
        kind = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": {}}
        return kind | {"status": {"allowed": right not in self.cluster.denied}}

    def _list(self, kind: str, query: dict[str, str]) -> Object:
        self._allow(f"list {kind}")
        cluster = self.cluster
        if kind in ("httproutes", "grpcroutes") and not cluster.routes:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        found = {
            "deployments": lambda: [cluster.deployment(name) for name in cluster.deployments],
            "replicasets": lambda: list(cluster.replica_sets.values()),
            "pods": lambda: [pod.document(cluster.namespace) for pod in cluster.pods.values()],
            "httproutes": lambda: [one for one in cluster.routes.values() if one["kind"] == "HTTPRoute"],
            "grpcroutes": lambda: [one for one in cluster.routes.values() if one["kind"] == "GRPCRoute"],
        }[kind]()
        wanted = dict(item.split("=") for item in query.get("labelSelector", "").split(",") if item)
        name = query.get("fieldSelector", "").removeprefix("metadata.name=")
        chosen = [
            one
            for one in found
            if wanted.items() <= one["metadata"].get("labels", {}).items() and name in ("", one["metadata"]["name"])
        ]
        groups = (group for group, resources in RESOURCES.items() if kind in dict(resources))
        return {
            "kind": KINDS[kind] + "List",
            "apiVersion": next(group.removeprefix("/apis/").removeprefix("/api/") for group in groups),
            "metadata": {"resourceVersion": str(cluster.clock)},
            "items": chosen,
        }

    def _one(self, verb: str, kind: str, rest: list[str], body: bytes) -> Object:
        name, *of = rest
        self._allow(f"{verb} {'/'.join([kind, *of])}")
        if kind.endswith("routes"):
            if verb == "patch":
                self.cluster.routes[name] = _json_patched(self.cluster.routes[name], json.loads(body))
            return self.cluster.routes[name]
        if name not in self.cluster.deployments:
            raise Refusal(404, "NotFound", f'{kind} "{name}" not found')
        if verb == "patch":
            self._patch(name, json.loads(body), scale=of == ["scale"])
        shown = self.cluster.deployment(name)
        return _scale(shown) if of == ["scale"] else shown

    def _patch(self, name: str, patch: Any, *, scale: bool) -> None:
        before = self.cluster.deployment(name)
        if scale:
            patch = {"spec": {"replicas": patch["spec"]["replicas"]}}
        changed = _json_patched(before, patch) if isinstance(patch, list) else merge(before, patch)
        self.cluster.replace(name, changed)

    def _watch(self, query: dict[str, str]) -> None:
        """Deployments, whenever something changes, and now and then: time alone makes pods ready."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        name = query.get("fieldSelector", "").removeprefix("metadata.name=")
        try:
            while True:
                with self.cluster.changed:
                    self.cluster.changed.wait(0.1)
                    event = {"type": "MODIFIED", "object": self.cluster.deployment(name)}
                self.wfile.write(json.dumps(event).encode() + b"\n")
                self.wfile.flush()
        except OSError:
            return


def _json_patched(before: Object, patch: list[Any]) -> Object:
    try:
        changed: Object = apply_json_patch(before, patch)
    except Conflict as conflict:
        raise Refusal(422, "Invalid", f"the server rejected our request: testing {conflict} failed") from None
    return changed


def _discovery(path: str) -> Object:
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        versions = [path.removeprefix("/apis/") for path in RESOURCES if path.startswith("/apis/")]
        entries = [{"groupVersion": version, "version": "v1"} for version in versions]
        groups = [
            {"name": one["groupVersion"].partition("/")[0], "versions": [one], "preferredVersion": one}
            for one in entries
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if path not in RESOURCES:
        raise Refusal(404, "NotFound", "the server could not find the requested resource")
    resources = [{"name": name, "kind": kind, "namespaced": True, "verbs": VERBS} for name, kind in RESOURCES[path]]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": path.removeprefix("/apis/").removeprefix("/api/"),
        "resources": resources,
    }


def _scale(deployment: Object) -> Object:
    spec = {"replicas": deployment["spec"]["replicas"]}
    return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": deployment["metadata"], "spec": spec}


# --- a pod ---------------------------------------------------------------------------------------------------------


def pod_says(pod: Pod, path: str, body: bytes) -> tuple[int, bytes, int]:
    image = pod.image
    if path == "/metrics":
        return 200, exposition(pod).encode(), 0
    if path == "/v2/health/ready":
        return (200 if pod.ready else 503), b"{}", 0
    if path.endswith("/config"):
        told = {"version": image.version, "digest": image.digest, "precision": "fp32"}
        parameters = {name: {"string_value": value} for name, value in told.items()}
        return 200, json.dumps({"name": MODEL, "input": [{"name": "x"}], "parameters": parameters}).encode(), 0
    data = struct.pack("<f", image.answer)
    output = {"name": image.output, "datatype": "FP32", "shape": [1, 1], "parameters": {"binary_data_size": 4}}
    head = json.dumps({"model_name": MODEL, "model_version": image.version, "outputs": [output]}).encode()
    return 200, head + data, len(head)


def exposition(pod: Pod) -> str:
    """Of a pod that has had its image's rate of requests since it began; with a member of an ensemble beside it."""
    image = pod.image
    total = int(image.rate * pod.age)
    of = f'model="{MODEL}",version="{image.version}",protocol="http"'
    parts = {"error": int(total * image.errors), "client_error": int(total * image.refused)}
    parts["ok"] = total - sum(parts.values())
    lines = [f'modelyard_requests_total{{{of},outcome="{name}"}} {count}.0' for name, count in parts.items()]
    member = of.replace('"http"', '"ensemble"')
    lines.append(f'modelyard_requests_total{{{member},outcome="error"}} {10 * total}.0')
    for edge in (*LATENCY_EDGES, float("inf")):
        below = total if image.latency <= edge else 0
        shown = "+Inf" if edge == float("inf") else edge
        lines.append(f'modelyard_request_duration_seconds_bucket{{le="{shown}",{of}}} {below}.0')
    version = f'model="{MODEL}",version="{image.version}"'
    lines.append(f'modelyard_model_info{{backend="onnxruntime-cpu",digest="{image.digest[:12]}",{version}}} 1.0')
    lines.append(f"modelyard_model_default{{{version}}} 1.0")
    lines.append(f"modelyard_model_ready{{{version}}} {float(pod.ready)}")
    return "\n".join(lines) + "\n"


def serve(cluster: Cluster) -> ThreadingHTTPServer:
    """A server on a free port; `shutdown` and `server_close` end it."""
    handler = type("ApiOf", (Api,), {"cluster": cluster})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    time.sleep(0)
    return server
