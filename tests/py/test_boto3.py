"""boto3 reads the emulator over JSON; the pipeline reads it over CBOR. Both must see the same numbers."""

import datetime

import duckdb
from conftest import client

WORLD = """seed = 9
now = "2026-11-21T02:00:00Z"
[[account]]
id = "999900001111"
[[account]]
id = "111122223333"
instances = 25
[[account.role]]
name = "Reader"
trust = ["999900001111"]
external_id = "ext-1"
"""

CONFIG = """version = 1
[destination]
url = "lake"
[run]
lookback_days = 0
[[account]]
id = "111122223333"
role_name = "Reader"
external_id = "ext-1"
regions = ["us-east-1"]
[[metrics]]
namespace = "AWS/EC2"
metrics = ["CPUUtilization"]
discover = "ec2"
statistics = ["Average"]
period = 3600
unit = "Percent"
"""


def test_a_day_of_cpu_is_the_same_through_boto3(emulator, export, tmp_path):
    running = emulator(WORLD)
    given = client(running.url, "sts").assume_role(
        RoleArn="arn:aws:iam::111122223333:role/Reader", RoleSessionName="peer", ExternalId="ext-1"
    )["Credentials"]
    session = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    pages = client(running.url, "ec2", *session).get_paginator("describe_instances").paginate(
        PaginationConfig={"PageSize": 7}
    )
    ids = [i["InstanceId"] for p in pages for r in p["Reservations"] for i in r["Instances"]]
    assert len(ids) == len(set(ids)) == 25

    cloudwatch = client(running.url, "cloudwatch", *session)
    utc = datetime.timezone.utc
    expected = {}
    for instance in ids:
        answer = cloudwatch.get_metric_data(
            MetricDataQueries=[
                {
                    "Id": "m1",
                    "MetricStat": {
                        "Metric": {
                            "Namespace": "AWS/EC2",
                            "MetricName": "CPUUtilization",
                            "Dimensions": [{"Name": "InstanceId", "Value": instance}],
                        },
                        "Period": 3600,
                        "Stat": "Average",
                        "Unit": "Percent",
                    },
                }
            ],
            StartTime=datetime.datetime(2026, 11, 20, tzinfo=utc),
            EndTime=datetime.datetime(2026, 11, 21, tzinfo=utc),
        )
        result = answer["MetricDataResults"][0]
        for time, value in zip(result["Timestamps"], result["Values"], strict=True):
            expected[(f"InstanceId={instance}", int(time.timestamp()))] = value.hex()

    report = export(CONFIG, running.env())
    unit = report["units"][0]
    # Stopped instances are asked as well and have nothing: 25 asked, 23 returned.
    assert (unit["series_asked"], unit["series_returned"]) == (25, 23)
    rows = duckdb.execute(
        f"SELECT dimensions_key, epoch(ts)::BIGINT, value FROM '{tmp_path}/lake/metrics/**/*.parquet'"
    ).fetchall()
    assert {(key, ts): value.hex() for key, ts, value in rows} == expected
    assert len(expected) == 23 * 24


def test_boto3_puts_and_reads_back_over_json(emulator):
    running = emulator(WORLD.replace('now = "2026-11-21T02:00:00Z"\n', ""))
    cloudwatch = client(running.url, "cloudwatch", "111122223333")
    now = datetime.datetime.now(datetime.timezone.utc).replace(second=0, microsecond=0)
    values = [0.1 * n for n in range(140)]
    cloudwatch.put_metric_data(
        Namespace="App", MetricData=[{"MetricName": "m", "Timestamp": now, "Values": values, "Unit": "Count"}]
    )
    listed = cloudwatch.list_metrics(Namespace="App")["Metrics"]
    assert [m["MetricName"] for m in listed] == ["m"]

    def ask(stat):
        stat = {"Metric": {"Namespace": "App", "MetricName": "m"}, "Period": 60, "Stat": stat}
        window = {"StartTime": now - datetime.timedelta(hours=1), "EndTime": now + datetime.timedelta(minutes=1)}
        return cloudwatch.get_metric_data(MetricDataQueries=[{"Id": "a", "MetricStat": stat}], **window)

    assert ask("SampleCount")["MetricDataResults"][0]["Values"] == [140.0]
    assert ask("Maximum")["MetricDataResults"][0]["Values"] == [max(values)]


def test_boto3_reads_an_error_as_aws_words_it(emulator):
    running = emulator(WORLD)
    cloudwatch = client(running.url, "cloudwatch", "111122223333")
    try:
        cloudwatch.get_metric_data(MetricDataQueries=[], StartTime=0, EndTime=60)
        raise AssertionError("refused by AWS")
    except cloudwatch.exceptions.ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert error.response["Error"]["Code"] in ("ValidationError", "ValidationException")


def test_an_ended_session_is_refused(emulator):
    running = emulator(WORLD + "session_secs = 0\n")
    given = client(running.url, "sts").assume_role(
        RoleArn="arn:aws:iam::111122223333:role/Reader", RoleSessionName="late", ExternalId="ext-1"
    )["Credentials"]
    session = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    cloudwatch = client(running.url, "cloudwatch", *session)
    try:
        cloudwatch.list_metrics()
        raise AssertionError("refused by AWS")
    except cloudwatch.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "ExpiredToken"
