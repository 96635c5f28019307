"""The templates of deploy/ without AWS: their values, and their state machines run by moto's interpreter of the Amazon States Language.

Their tasks and jobs are processes of this machine. What moto leaves out is here: JSONata, which jsonata-python evaluates, and how Fargate and Batch run a
command, try it again and say how it ended.
"""

import concurrent.futures
import json
import re
import subprocess
import time

import boto3
import jsonata
import moto.stepfunctions.parser.asl.jsonata.jsonata as moto_jsonata
from cfnlint.decode import cfn_yaml
from moto import mock_aws
from moto.stepfunctions.parser.api import HistoryEventType, TaskFailedEventDetails
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEvent, FailureEventException
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import StatesErrorNameType
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_batch import StateTaskServiceBatch
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_ecs import StateTaskServiceEcs
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails

PSEUDO = {"AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::AccountId": "999900001111", "AWS::StackName": "cwlake"}


class Template:
    """A CloudFormation template with its parameters: resources have stand-ins for their ARNs and ids."""

    def __init__(self, path, **given):
        self.body = json.loads(json.dumps(cfn_yaml.load(str(path))))
        defaults = {name: p["Default"] for name, p in self.body["Parameters"].items() if "Default" in p}
        self.given = PSEUDO | defaults | given

    def properties(self, name):
        return self.value(self.body["Resources"][name]["Properties"])

    def ref(self, name):
        return self.given[name] if name in self.given else f"arn:aws:none:us-east-1:999900001111:{name}"

    def holds(self, condition):
        ((function, words),) = condition.items()
        if function == "Fn::Not":
            return not self.holds(words[0])
        assert function == "Fn::Equals"
        return self.value(words[0]) == self.value(words[1])

    def value(self, value):
        """What is meant, where functions stand."""
        if isinstance(value, list):
            return [v for v in map(self.value, value) if v is not None]
        if not isinstance(value, dict):
            return value
        ((function, words), *more) = value.items() or [(None, None)]
        if function == "Ref":
            return None if words == "AWS::NoValue" else self.ref(words)
        if function == "Fn::GetAtt":
            return self.ref(words[0])
        if function == "Fn::Sub":
            return re.sub(r"\$\{([\w:]+)}", lambda found: str(self.ref(found[1])), words)
        if function == "Fn::If":
            return self.value(words[1] if self.holds(self.body["Conditions"][words[0]]) else words[2])
        return {key: self.value(v) for key, v in value.items()}

    def definition(self, name):
        machine = self.properties(name)
        text = json.dumps(machine["Definition"])
        for key, value in machine["DefinitionSubstitutions"].items():
            text = text.replace(f"${{{key}}}", str(value))
        return text


class Containers:
    """Runs commands of a container whose entry point is cwlake; `run(words, env)` is a process's exit code, negative when a signal ended it."""

    def __init__(self, template, run):
        self.template, self.run, self.jobs = template, run, 0
        self.pool = concurrent.futures.ThreadPoolExecutor(max_workers=16)

    def ended_with(self, words, env):
        code = self.run(words, env)
        # As a shell counts, and Docker.
        return 128 - code if code < 0 else code

    def fargate_task(self, words):
        """`ecs:runTask`: whether it went well, and what Step Functions is told."""
        (override,) = words["Overrides"]["ContainerOverrides"]
        code = self.ended_with(override["Command"], named(override.get("Environment", [])))
        return code == 0, {"Containers": [{"Name": override["Name"], "ExitCode": code, "LastStatus": "STOPPED"}], "StopCode": "EssentialContainerExited"}

    def batch_job(self, words):
        """`batch:submitJob`: an array's children side by side."""
        self.jobs += 1
        job, size = f"job-{self.jobs}", words.get("ArrayProperties", {}).get("Size")
        override = words["ContainerOverrides"]
        env = named(override.get("Environment", [])) | {"AWS_BATCH_JOB_ID": job}
        if size is None:
            done = [self.tried(override["Command"], env)]
        else:
            child = lambda n: {"AWS_BATCH_JOB_ID": f"{job}:{n}", "AWS_BATCH_JOB_ARRAY_INDEX": str(n), "AWS_BATCH_JOB_ARRAY_SIZE": str(size)}
            done = [self.pool.submit(self.tried, override["Command"], env | child(n)) for n in range(size)]
            done = [one.result() for one in done]
        return not any(done), {"JobId": job, "Status": "FAILED" if any(done) else "SUCCEEDED", "Container": {"ExitCode": done[0]}}

    def tried(self, words, env):
        """The exit code of a job's last attempt."""
        strategy = self.template.properties("Job")["RetryStrategy"]
        for attempt in range(1, strategy["Attempts"] + 1):
            code = self.ended_with(words, env | {"AWS_BATCH_JOB_ATTEMPT": str(attempt)})
            matches = lambda rule: re.fullmatch(rule["OnExitCode"].replace("*", ".*"), str(code))
            # The first that matches decides; without one the job is tried again.
            action = next((rule["Action"] for rule in strategy["EvaluateOnExit"] if matches(rule)), "RETRY")
            if code == 0 or action.upper() == "EXIT":
                break
        return code


def named(environment):
    return {one["Name"]: one["Value"] for one in environment if "Name" in one}


def serve(monkeypatch, service, containers, start):
    """Has an interpreter's service start something in the background, and its `.sync` wait for it."""

    def begin(self, env, resource_runtime_part, normalised_parameters, state_credentials):
        env.stack.append(containers.pool.submit(start, normalised_parameters))

    def wait(self, env, resource_runtime_part, normalised_parameters, state_credentials):
        running = env.stack.pop()

        def ended():
            if not running.done():
                return None
            well, told = running.result()
            if well:
                return told
            details = TaskFailedEventDetails(
                resource=self._get_sfn_resource(), resourceType=self._get_sfn_resource_type(), error="States.TaskFailed", cause=json.dumps(told, separators=(",", ":"))
            )
            name = StatesErrorName(typ=StatesErrorNameType.StatesTaskFailed)
            raise FailureEventException(
                FailureEvent(env=env, error_name=name, event_type=HistoryEventType.TaskFailed, event_details=EventDetails(taskFailedEventDetails=details))
            )

        return ended

    monkeypatch.setattr(service, "_eval_service_task", begin)
    monkeypatch.setattr(service, "_build_sync_resolver", wait)


def execute(monkeypatch, template, run, name, given, seconds=300):
    """How an execution of the template's state machine ended, as `describe_execution` says."""
    containers = Containers(template, run)
    serve(monkeypatch, StateTaskServiceEcs, containers, containers.fargate_task)
    serve(monkeypatch, StateTaskServiceBatch, containers, containers.batch_job)
    evaluate = lambda expression: json.loads(json.dumps(jsonata.Jsonata(expression).evaluate(None)))
    monkeypatch.setattr(moto_jsonata, "_eval_jsonata", evaluate)
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        client = boto3.client("stepfunctions", region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")
        role = "arn:aws:iam::999900001111:role/night"
        machine = client.create_state_machine(name="night", definition=template.definition("Night"), roleArn=role)["stateMachineArn"]
        execution = client.start_execution(stateMachineArn=machine, name=name, input=json.dumps(given))["executionArn"]
        end = time.monotonic() + seconds
        while (told := client.describe_execution(executionArn=execution))["status"] == "RUNNING":
            assert time.monotonic() < end, client.get_execution_history(executionArn=execution)["events"][-10:]
            time.sleep(0.2)
        return told
