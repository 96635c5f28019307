"""An export split over an Indexed Job, by Kubernetes' own API server and job controller, from the manifests of deploy/kubernetes as they are.

Opt-in: CWLAKE_TEST_KUBERNETES is a folder with kube-apiserver, kube-controller-manager and etcd (see kubernetes.py); pods are processes of this machine.
"""

import datetime
import os
import re
import subprocess
import threading

import fleet
import kubernetes_validate
import pytest
import yaml
from aws_proxy import AwsProxy
from conftest import PROGRAM, ROOT, Emulator, clean_env, local_tree, run_program, s3_tree
from kubernetes import ControlPlane, Namespace, Node, ended, exit_code, index_of, tries_before

DEPLOY = ROOT / "deploy" / "kubernetes"
control_plane = pytest.mark.skipif(not os.environ.get("CWLAKE_TEST_KUBERNETES"), reason="set CWLAKE_TEST_KUBERNETES to the folder of the control plane")

REGIONS = ["us-east-1", "eu-west-1"]
NAMES = ["config", "export", "gather", "nightly"]
# Enough for each of four shards to have some.
TEAMS = 15
DAY = "2026-11-20"
# The manifest's, in the bucket of whoever deploys it.
URL = 'url = "s3://BUCKET/cloudwatch"'
# The same again would end the same.
FOR_GOOD = [2, 3, 4, 6, 8]


def manifests(name):
    return list(yaml.safe_load_all((DEPLOY / f"{name}.yaml").read_text()))


def configuration():
    return next(m for m in manifests("config") if m["kind"] == "ConfigMap")["data"]["cwlake.toml"]


def place(change):
    """The manifest's configuration in another place, where an outage is called one soon."""
    assert URL in configuration()
    return configuration().replace(URL, change) + "[limits]\nattempts = 2\n"


def in_folder(folder):
    return place(f'url = "{folder / "lake"}"')


def tables(tree):
    return {key: content for key, content in tree.items() if not key.startswith("_cwlake/")}


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with ControlPlane(os.environ["CWLAKE_TEST_KUBERNETES"], tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    accounts = [fleet.account(fleet.CALLER, name="management", regions=REGIONS, instances=2)]
    accounts += [fleet.account(fleet.account_id(n), name=f"team-{n}", regions=REGIONS, instances=2) for n in range(TEAMS)]
    running = Emulator(fleet.world(accounts), tmp_path_factory.mktemp("aws"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def unsharded(aws, tmp_path_factory):
    """The tables of one run on one machine."""
    folder = tmp_path_factory.mktemp("unsharded")
    (folder / "cwlake.toml").write_text(in_folder(folder))
    run_program(folder, aws.env(), "export", "--quiet", "--date", DAY)
    found = tables(local_tree(folder / "lake"))
    assert len(found) >= (TEAMS + 1) * len(REGIONS)
    return found


class Cluster:
    """A namespace with its node. `trouble[index, tries]` is added to the environment of a shard's try, beside what every pod is given of AWS."""

    def __init__(self, plane, aws, name, folder):
        self.aws, self.folder, self.trouble = aws, folder, {}
        self.space = Namespace(plane.api, name)
        (image,) = {self.template(m)["spec"]["containers"][0]["image"] for n in NAMES[1:] for m in manifests(n)}
        self.node = Node(self.space, folder / "pods", {image: [PROGRAM]}, self.environment)

    @staticmethod
    def template(manifest):
        spec = manifest["spec"]
        return (spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec)["template"]

    def environment(self, pod):
        return self.aws.env() | self.trouble.get((index_of(pod), tries_before(pod)), {})

    def configure(self, text):
        for manifest in manifests("config"):
            if manifest["kind"] == "ConfigMap":
                manifest["data"]["cwlake.toml"] = text
            self.space.create(manifest)

    def create(self, name):
        """The job of a manifest, by its name."""
        (manifest,) = manifests(name)
        return self.space.create(manifest)["metadata"]["name"]

    def late(self, manifest):
        """The first job, by its name, of a CronJob that last started two days ago: it is late, and starts at once."""
        name = manifest["metadata"]["name"]
        manifest["spec"]["suspend"] = True
        self.space.create(manifest)
        ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=2)
        path = self.space.path("CronJob", name)
        self.space.api.merge(path + "/status", {"status": {"lastScheduleTime": f"{ago:%Y-%m-%dT%H:%M:%SZ}"}})
        self.space.api.merge(path, {"spec": {"suspend": False}})
        started = lambda: [j["metadata"]["name"] for j in self.space.list("Job") if re.fullmatch(rf"{name}-\d+", j["metadata"]["name"])]
        return self.node.until(started)[0]

    def codes(self, job):
        """The exit codes of each index's pods; None runs."""
        pods = self.space.pods(job)
        return {i: [exit_code(p) for p in pods if index_of(p) == i] for i in {index_of(p) for p in pods}}

    def gather(self):
        job = self.create("gather")
        state = ended(self.node.finished(job))
        return state, self.codes(job)[None]

    def wrote_only_where_it_may(self):
        """The container's root cannot be written: whatever is not of the lake or the spool would fail there."""
        return all(not any(c.root.iterdir()) for c in self.node.containers.values())


@pytest.fixture
def cluster(plane, aws, tmp_path, request):
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:63].strip("-")
    made = Cluster(plane, aws, name, tmp_path)
    with made.node:
        yield made
    plane.check()


class Held:
    """What a run with `env` asks of AWS stops being answered, somewhere in the middle; `held` is set from then on."""

    def __init__(self, aws, after):
        self.left, self.held = after, threading.Event()
        self.proxy = AwsProxy(aws.url, self.hook)
        self.env = {"AWS_ENDPOINT_URL": self.proxy.url}

    def hook(self, operation, _):
        if operation != "GetMetricData":
            return None
        self.left -= 1
        if self.left >= 0:
            return None
        self.held.set()
        return "hang"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proxy.stop()


def test_manifests_are_valid():
    for name in NAMES:
        for manifest in manifests(name):
            kubernetes_validate.validate(manifest, "1.36", strict=True)


def test_manifests_agree():
    (export,), (gather,), nightly = map(manifests, NAMES[1:])
    night, morning = (n["spec"]["jobTemplate"]["spec"] for n in nightly)
    jobs = [export["spec"], gather["spec"], night, morning]
    (shards, _, nightly_shards, _) = containers = [job["template"]["spec"]["containers"][0] for job in jobs]
    assert all(job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == FOR_GOOD for job in jobs)
    assert export["spec"]["podFailurePolicy"] == night["podFailurePolicy"] and gather["spec"]["podFailurePolicy"] == morning["podFailurePolicy"]
    for job, container in ((export["spec"], shards), (night, nightly_shards)):
        assert {"name": "CWLAKE_SHARDS", "value": str(job["completions"])} in container["env"]
    args = [container.pop("args") for container in containers]
    assert args[0] == args[2][:3] + ["--date", DAY] + args[2][3:] and args[1] == args[3] + ["--group", export["metadata"]["name"]]
    # Every night's group has the name of its days.
    assert shards["env"].pop()["name"] == "CWLAKE_GROUP"
    assert export["spec"]["template"] == night["template"] and gather["spec"]["template"] == morning["template"]


def test_the_deployed_configuration_is_valid(tmp_path):
    (tmp_path / "cwlake.toml").write_text(configuration().replace("BUCKET", "example-lake"))
    run_program(tmp_path, {}, "check")


@control_plane
@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_a_killed_shard_is_tried_again_and_nothing_differs(cluster, unsharded, s3_server, tmp_path, where):
    if where == "folder":
        cluster.configure(in_folder(tmp_path))
        tree = lambda: local_tree(tmp_path / "lake")
    else:
        bucket = s3_server.bucket("kubernetes")
        cluster.configure(place(f'url = "s3://{bucket}/lake"\nendpoint_url = "{s3_server.url}"\npath_style = true\nregion = "us-east-1"'))
        tree = lambda: s3_tree(s3_server.client(), bucket, "lake")
    with Held(cluster.aws, after=1) as held:
        cluster.trouble[1, 0] = held.env
        job = cluster.create("export")
        cluster.node.until(held.held.is_set)
        (pod,) = cluster.space.pods(job, 1)
        cluster.node.container(pod).process.kill()
        done = cluster.node.finished(job)
    assert ended(done)[0] == "Complete" and done["status"]["completedIndexes"] == "0-3"
    assert cluster.codes(job) == {0: [0], 1: [137, 0], 2: [0], 3: [0]}
    assert cluster.gather() == (("Complete", "CompletionsReached"), [0])
    assert tables(tree()) == unsharded
    assert cluster.wrote_only_where_it_may()


@control_plane
def test_a_shard_that_cannot_succeed_is_not_tried_again(cluster, aws, unsharded, tmp_path):
    cluster.configure(in_folder(tmp_path))
    cluster.trouble[2, 0] = {"CWLAKE_MAX_SPEND_USD": "much"}
    job = cluster.create("export")
    done = cluster.node.finished(job)
    assert ended(done) == ("Failed", "FailedIndexes")
    assert (done["status"]["completedIndexes"], done["status"]["failedIndexes"]) == ("0,1,3", "2")
    assert cluster.codes(job) == {0: [0], 1: [0], 2: [2], 3: [0]}
    # The log's last lines are in the pod's status.
    (pod,) = cluster.space.pods(job, 2)
    assert "--max-spend" in pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"]

    gather = cluster.create("gather")
    (pod,) = cluster.node.until(lambda: [p for p in cluster.space.pods(gather) if exit_code(p) is not None])
    assert exit_code(pod) == 5
    assert "3/4" in cluster.node.container(pod).told(), cluster.node.container(pod).told()
    # Made up for by hand, the missing shard is found by the next try.
    (tmp_path / "cwlake.toml").write_text(in_folder(tmp_path))
    shard = {"JOB_COMPLETION_INDEX": "2", "CWLAKE_SHARDS": "4", "CWLAKE_GROUP": job}
    run_program(tmp_path, aws.env() | shard, "export", "--quiet", "--date", DAY)
    assert ended(cluster.node.finished(gather))[0] == "Complete"
    assert cluster.codes(gather) == {None: [5, 0]}
    assert tables(local_tree(tmp_path / "lake")) == unsharded


@control_plane
def test_a_shard_that_finds_nobody_is_tried_again(cluster, unsharded, tmp_path):
    cluster.configure(in_folder(tmp_path))
    # Nobody listens there.
    cluster.trouble[1, 0] = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    job = cluster.create("export")
    assert ended(cluster.node.finished(job))[0] == "Complete"
    assert cluster.codes(job) == {0: [0], 1: [5, 0], 2: [0], 3: [0]}
    assert cluster.gather()[1] == [0]
    assert tables(local_tree(tmp_path / "lake")) == unsharded


@control_plane
def test_shards_that_find_another_run_are_tried_again(cluster, unsharded, tmp_path):
    cluster.configure(in_folder(tmp_path))
    (tmp_path / "cwlake.toml").write_text(in_folder(tmp_path))
    words = ["export", "--quiet", "--date", DAY, "--config", tmp_path / "cwlake.toml"]
    with Held(cluster.aws, after=0) as held:
        other = subprocess.Popen([PROGRAM, *words], env=clean_env(**cluster.aws.env() | held.env))
        assert held.held.wait(60)
        job = cluster.create("export")
        cluster.node.until(lambda: cluster.codes(job) == {i: [7] for i in range(4)})
        other.kill()
        other.wait()
    assert ended(cluster.node.finished(job))[0] == "Complete"
    assert cluster.codes(job) == {i: [7, 0] for i in range(4)}
    assert cluster.gather()[1] == [0]
    assert tables(local_tree(tmp_path / "lake")) == unsharded


@control_plane
def test_an_evicted_shard_ends_in_time_and_costs_no_try(cluster, unsharded, tmp_path):
    cluster.configure(in_folder(tmp_path))
    with Held(cluster.aws, after=1) as held:
        cluster.trouble[3, 0] = held.env
        job = cluster.create("export")
        cluster.node.until(held.held.is_set)
        (pod,) = cluster.space.pods(job, 3)
        cluster.trouble.clear()
        cluster.space.evict(pod)
        done = cluster.node.finished(job)
    assert cluster.node.container(pod).process.returncode == 143
    # The next try of the index is its first.
    assert [tries_before(p) for p in cluster.space.pods(job, 3)][-1] == 0
    assert ended(done)[0] == "Complete"
    assert cluster.gather()[1] == [0]
    assert tables(local_tree(tmp_path / "lake")) == unsharded


@control_plane
def test_every_night_is_exported_and_gathered(cluster, tmp_path):
    cluster.configure(in_folder(tmp_path))
    codes = []
    for manifest in manifests("nightly"):
        job = cluster.late(manifest)
        assert ended(cluster.node.finished(job))[0] == "Complete"
        codes.append(cluster.codes(job))
    assert codes == [{i: [0] for i in range(4)}, {None: [0]}]
