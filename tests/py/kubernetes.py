"""A Kubernetes control plane on loopback (etcd, kube-apiserver, kube-controller-manager with its controllers of jobs), and a stand-in for its nodes.

CWLAKE_TEST_KUBERNETES names a folder with the three programs. etcd is in Debian (`apt-get download etcd-server`, `dpkg -x`); the other two are built from
their Go modules, in a folder with a `go.mod` of its own:

    go mod init control-plane && go mod edit -require k8s.io/kubernetes@v1.36.3 && go mod download k8s.io/kubernetes
    for m in $(sed -n 's|^.\\(k8s.io/[a-z-]*\\) => ./staging.*|\\1|p' "$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)/go.mod"); do
        go mod edit -replace $m=$m@v0.36.3
    done
    go get k8s.io/kubernetes/cmd/kube-apiserver@v1.36.3 k8s.io/kubernetes/cmd/kube-controller-manager@v1.36.3
    go build -o FOLDER/ k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager    # 11 CPU minutes, 3 GB
"""

import contextlib
import datetime
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

TOKEN = "of-the-tests"
# Where objects of a kind are, within a namespace.
KINDS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def instant():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Refused(Exception):
    """What the API server said of a request: its status and reason (`Invalid`, `Forbidden`), its message."""

    def __init__(self, status, reason, message):
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason = status, reason


class Api:
    """The API server as its administrator sees it."""

    def __init__(self, url, authority):
        self.url, self.trust = url, ssl.create_default_context(cafile=authority)

    def send(self, method, path, body=None, kind="application/json"):
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.trust) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            told = error.read()
            said = json.loads(told) if told.startswith(b"{") else {"message": told.decode(errors="replace")}
            raise Refused(error.code, said.get("reason"), said.get("message")) from None

    def ask(self, *asked):
        return json.loads(self.send(*asked))

    def merge(self, path, change):
        return self.ask("PATCH", path, change, "application/merge-patch+json")


class Namespace:
    """A namespace that takes only pods of the `restricted` security standard, so that the API server itself judges the manifests."""

    def __init__(self, api, name):
        self.api, self.name = api, name
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        api.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})

    def path(self, kind, name=None):
        return KINDS[kind].format(self.name) + (f"/{name}" if name else "")

    def create(self, manifest):
        """Unknown and repeated fields are errors."""
        return self.api.ask("POST", self.path(manifest["kind"]) + "?fieldValidation=Strict", manifest)

    def get(self, kind, name):
        return self.api.ask("GET", self.path(kind, name))

    def list(self, kind):
        return self.api.ask("GET", self.path(kind))["items"]

    def pods(self, job, index=None):
        """The pods of a job, or of one index of it, in the order of their tries."""
        label = "batch.kubernetes.io/job-name"
        mine = [p for p in self.list("Pod") if p["metadata"]["labels"][label] == job and index in (None, index_of(p))]
        return sorted(mine, key=lambda p: (index_of(p), tries_before(p), p["metadata"]["creationTimestamp"]))

    def evict(self, pod):
        name = pod["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        self.api.ask("POST", self.path("Pod", name) + "/eviction", eviction)


def index_of(pod):
    """Its completion index; none of a job that is not indexed."""
    found = pod["metadata"].get("annotations", {}).get("batch.kubernetes.io/job-completion-index")
    return None if found is None else int(found)


def tries_before(pod):
    """How many pods of its index failed before, as the job controller counts them."""
    return int(pod["metadata"].get("annotations", {}).get("batch.kubernetes.io/job-index-failure-count", 0))


def exit_code(pod):
    """None while it runs."""
    for status in pod["status"].get("containerStatuses", []):
        if ended := status["state"].get("terminated"):
            return ended["exitCode"]
    return None


def ended(job):
    """`Complete` or `Failed`, with the reason, of a job that came to its end."""
    for condition in job["status"].get("conditions", []):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return condition["type"], condition.get("reason")
    return None


class ControlPlane:
    """The three servers, in processes of their own below `workdir`, as a context manager; `api` asks them."""

    def __init__(self, programs, workdir):
        self.programs, self.work = pathlib.Path(programs), pathlib.Path(workdir)
        self.processes = []

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        etcd, peer, secure = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.launch(
            "etcd", f"--data-dir={self.work}/data", f"--listen-client-urls=http://{etcd}", f"--advertise-client-urls=http://{etcd}",
            f"--listen-peer-urls=http://{peer}", f"--initial-advertise-peer-urls=http://{peer}", f"--initial-cluster=default=http://{peer}",
        )  # fmt: skip
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        (self.work / "accounts.key").write_bytes(key.private_bytes(*form))
        (self.work / "tokens.csv").write_text(f"{TOKEN},tests,tests,system:masters\n")
        host, port = secure.split(":")
        self.launch(
            "kube-apiserver", f"--etcd-servers=http://{etcd}", f"--bind-address={host}", f"--advertise-address={host}", f"--secure-port={port}",
            f"--cert-dir={self.work}/certificates", f"--token-auth-file={self.work}/tokens.csv", "--authorization-mode=AlwaysAllow",
            "--anonymous-auth=false", "--service-account-issuer=https://tests", f"--service-account-key-file={self.work}/accounts.key",
            f"--service-account-signing-key-file={self.work}/accounts.key", "--service-cluster-ip-range=10.0.0.0/24",
            # It would tell the others of its kind where it is: there are none, and the address may not be loopback.
            "--endpoint-reconciler-type=none",
        )  # fmt: skip
        authority = self.work / "certificates" / "apiserver.crt"
        self.until("kube-apiserver", authority.exists)
        self.api = Api(f"https://{secure}", authority)
        self.until("kube-apiserver", self.ready)
        access = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": {"server": f"https://{secure}", "certificate-authority": str(authority)}}],
            "users": [{"name": "tests", "user": {"token": TOKEN}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "tests"}}],
            "current-context": "it",
        }
        (self.work / "access").write_text(yaml.safe_dump(access))
        self.launch(
            "kube-controller-manager", f"--kubeconfig={self.work}/access", "--bind-address=127.0.0.1", f"--secure-port={free_port()}",
            f"--cert-dir={self.work}/certificates", "--leader-elect=false", "--controllers=job-controller,cronjob-controller",
        )  # fmt: skip

    def launch(self, name, *flags):
        log = (self.work / f"{name}.log").open("w")
        # Proxies of whoever runs the tests are not for loopback.
        env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        process = subprocess.Popen([self.programs / name, *flags], stdout=log, stderr=log, env=env, cwd=self.work)
        self.processes.append((name, process, log))

    def ready(self):
        try:
            return self.api.send("GET", "/readyz") == b"ok"
        except (OSError, Refused):
            return False

    def until(self, name, true, seconds=120):
        end = time.monotonic() + seconds
        while not true():
            self.check()
            assert time.monotonic() < end, f"{name} does not get ready:\n{self.tail(name)}"
            time.sleep(0.1)

    def check(self):
        for name, process, _ in self.processes:
            assert process.poll() is None, f"{name} ended:\n{self.tail(name)}"

    def tail(self, name):
        return (self.work / f"{name}.log").read_text()[-3000:]

    def stop(self):
        # The last one started leans on the others.
        for _, process, log in reversed(self.processes):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()


class Node:
    """Scheduler, kubelet and container runtime of one namespace, in a thread: every pod is bound, run and reported.

    A container is a process of this machine with the pod's command, arguments and environment (values, ConfigMaps, fields of the pod), ended by SIGTERM and,
    when its grace is over, by SIGKILL. `images` says what an image starts. A volume (ConfigMap or emptyDir) is a folder of the pod; since
    nothing is mounted, its path is put for the mount's wherever that is named: in arguments, the environment and files of ConfigMaps. The root of the file
    system and the home are an empty folder, `root(pod)`. `extra(pod)` is environment that is not in the manifest, as webhooks of a cloud add.
    Not here: users, resources, probes, other volumes, init containers, more than one container.
    """

    def __init__(self, namespace, folder, images, extra=lambda pod: {}):
        self.namespace, self.folder, self.images, self.extra = namespace, pathlib.Path(folder), images, extra
        self.containers, self.fault, self.over = {}, None, threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(timeout=60)
        for container in self.containers.values():
            container.process.kill()
            container.process.wait()
            container.log.close()

    def work(self):
        try:
            while not self.over.wait(0.1):
                for pod in self.namespace.list("Pod"):
                    self.look_after(pod)
        except BaseException as fault:  # noqa: BLE001 - told to whoever waits
            self.fault = fault

    def look_after(self, pod):
        name, container = pod["metadata"]["name"], self.containers.get(pod["metadata"]["uid"])
        going = pod["metadata"].get("deletionTimestamp")
        if not pod["spec"].get("nodeName"):
            self.bind(name)
        elif pod["status"]["phase"] in ("Succeeded", "Failed"):
            if going:
                self.forget(name)
        elif container is None:
            container = self.containers[pod["metadata"]["uid"]] = Container(self, pod)
            self.report(name, container.running())
        elif container.process.poll() is not None:
            self.report(name, container.result())
        elif going:
            container.stop(pod["spec"]["terminationGracePeriodSeconds"])

    def bind(self, name):
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": "here"}}
        with gone_is_fine():
            self.namespace.api.ask("POST", self.namespace.path("Pod", name) + "/binding", binding)

    def report(self, name, status):
        with gone_is_fine():
            self.namespace.api.merge(self.namespace.path("Pod", name) + "/status", {"status": status})

    def forget(self, name):
        """A pod that is deleted stays until its node says that nothing of it runs."""
        with gone_is_fine():
            self.namespace.api.ask("DELETE", self.namespace.path("Pod", name), {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})

    def container(self, pod):
        return self.containers[pod["metadata"]["uid"]]

    def until(self, true, seconds=120):
        """Waits; what is waited for is given back."""
        end = time.monotonic() + seconds
        while not (found := true()):
            if self.fault:
                raise self.fault
            assert time.monotonic() < end, "waited in vain\n" + "\n".join(c.story() for c in self.containers.values())
            time.sleep(0.1)
        return found

    def finished(self, job, seconds=240):
        """The job, once it is `Complete` or `Failed`."""
        return self.until(lambda: (now := self.namespace.get("Job", job)) and ended(now) and now, seconds)


@contextlib.contextmanager
def gone_is_fine():
    """The pod was deleted meanwhile, or changed: it is looked at again."""
    try:
        yield
    except Refused as refused:
        if refused.status not in (404, 409):
            raise


class Container:
    """The one container of a pod, as a process."""

    def __init__(self, node, pod):
        (spec,) = pod["spec"]["containers"]
        assert pod["spec"]["restartPolicy"] == "Never" and not pod["spec"].get("initContainers")
        self.pod, self.spec, self.since, self.stopping = pod, spec, instant(), None
        self.folder = node.folder / pod["metadata"]["name"]
        self.root = self.folder / "root"
        self.root.mkdir(parents=True)
        self.mounts = self.volumes(node.namespace)
        # As in an image without a shell, with a root that cannot be written and no folder for temporary files.
        env = {"PATH": os.defpath, "HOSTNAME": pod["spec"].get("hostname", pod["metadata"]["name"]), "HOME": str(self.root), "TMPDIR": "/nonexistent"}
        self.env = env = env | self.environment(node.namespace) | node.extra(pod)
        words = (spec.get("command") or node.images[spec["image"]]) + spec.get("args", [])
        self.words = [str(words[0]), *(self.mounted(expanded(word, env)) for word in words[1:])]
        self.log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(self.words, env=env, cwd=self.root, stdout=self.log, stderr=self.log)

    def volumes(self, namespace):
        """Makes the folders; gives the folder for each mount's path."""
        mounts = {m["name"]: m["mountPath"] for m in self.spec.get("volumeMounts", [])}
        where = {path: str(self.folder / name) for name, path in mounts.items()}
        for volume in self.pod["spec"].get("volumes", []):
            (folder := self.folder / volume["name"]).mkdir()
            assert "configMap" in volume or "emptyDir" in volume, volume
            if "configMap" in volume:
                for name, text in namespace.get("ConfigMap", volume["configMap"]["name"])["data"].items():
                    (folder / name).write_text(mounted(text, where))
        return where

    def mounted(self, text):
        return mounted(text, self.mounts)

    def environment(self, namespace):
        env = {}
        for entry in self.spec.get("env", []):
            source = entry.get("valueFrom", {})
            if field := source.get("fieldRef"):
                value = field_of(self.pod, field["fieldPath"])
            elif key := source.get("configMapKeyRef"):
                value = namespace.get("ConfigMap", key["name"])["data"][key["key"]]
            else:
                assert not source, source
                value = expanded(entry.get("value", ""), env)
            env[entry["name"]] = self.mounted(value)
        return env

    def stop(self, grace):
        if self.stopping is None:
            self.stopping = time.monotonic()
            self.process.terminate()
        elif time.monotonic() > self.stopping + grace:
            self.process.kill()

    def running(self):
        return {"phase": "Running", "startTime": self.since, "containerStatuses": [self.status({"running": {"startedAt": self.since}}, True)]}

    def result(self):
        code = self.process.returncode
        code = 128 - code if code < 0 else code
        state = {"exitCode": code, "reason": "Error" if code else "Completed", "startedAt": self.since, "finishedAt": instant()}
        if code and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            state["message"] = self.told()[-2048:]
        return {"phase": "Failed" if code else "Succeeded", "containerStatuses": [self.status({"terminated": state}, False)]}

    def status(self, state, ready):
        return {"name": self.spec["name"], "image": self.spec["image"], "imageID": "", "restartCount": 0, "ready": ready, "started": ready, "state": state}

    def told(self):
        return (self.folder / "log").read_text(errors="replace")

    def story(self):
        return f"{self.pod['metadata']['name']}: {self.words} {self.process.poll()}\n{self.told()[-1000:]}"


def mounted(text, mounts):
    """Puts a folder of this machine for each mount's path."""
    for path in sorted(mounts, key=len, reverse=True):
        text = re.sub(rf"(?<![\w/.-]){re.escape(path)}(?![\w.-])", lambda _, to=mounts[path]: to, text)
    return text


def expanded(text, env):
    """`$(NAME)` is the variable's value if there is one, `$$` is `$`."""
    value = lambda found: "$" if found[0] == "$$" else env.get(found[1], found[0])
    return re.sub(r"\$\$|\$\(([\w.-]+)\)", value, text)


def field_of(pod, path):
    """`metadata.labels['x']`, `metadata.name` …, or nothing, as the downward API has it."""
    if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return pod["metadata"].get(found[1], {}).get(found[2], "")
    value = pod
    for key in path.split("."):
        value = value[key]
    return value
