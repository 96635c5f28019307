"""The same exporter after a week of tuning: requests signed by botocore and sent by urllib3, JSON decoded by the C parser, columns built
run by run with dictionary arrays, rows sorted as DuckDB likes them.

    tuned.py ENDPOINT DAY OUT ACCOUNT...
"""

import datetime
import json
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

endpoint, day, out, *accounts = sys.argv[1:]
start = int(datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.timezone.utc).timestamp())
end = start + 86_400
period = 300
http = urllib3.PoolManager(maxsize=8)
sts = boto3.client("sts", endpoint_url=endpoint, region_name="us-east-1")


def call(credentials, operation, body):
    body = json.dumps(body)
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"GraniteServiceVersion20100801.{operation}"}
    request = AWSRequest("POST", endpoint, data=body, headers=headers)
    SigV4Auth(credentials, "monitoring", "us-east-1").add_auth(request)
    answer = http.request("POST", endpoint, body=body, headers=dict(request.headers.items()))
    assert answer.status == 200, answer.data
    return json.loads(answer.data)


def points(credentials, batch):
    """Per metric, its timestamps and values."""
    queries = [
        {"Id": f"q{n}", "MetricStat": {"Metric": metric, "Period": period, "Stat": "Average"}} for n, metric in enumerate(batch)
    ]
    body = {"MetricDataQueries": queries, "StartTime": start, "EndTime": end, "ScanBy": "TimestampAscending"}
    times, values = [[] for _ in batch], [[] for _ in batch]
    while True:
        page = call(credentials, "GetMetricData", body)
        for result in page["MetricDataResults"]:
            n = int(result["Id"][1:])
            times[n].append(np.array(result["Timestamps"], dtype="i8"))
            values[n].append(np.array(result["Values"], dtype="f8"))
        if not page.get("NextToken"):
            return [(np.concatenate(t), np.concatenate(v)) for t, v in zip(times, values)]
        body["NextToken"] = page["NextToken"]


def key(metric):
    return ",".join(f"{d['Name']}={d['Value']}" for d in metric["Dimensions"])


def column(values, lengths):
    """A dictionary column: each value as often as its run is long."""
    distinct = list(dict.fromkeys(values))
    place = {value: n for n, value in enumerate(distinct)}
    indices = np.repeat(np.array([place[v] for v in values], dtype="i4"), lengths)
    return pa.DictionaryArray.from_arrays(indices, pa.array(distinct))


for account in accounts:
    role = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/Reader", RoleSessionName="peer")["Credentials"]
    credentials = Credentials(role["AccessKeyId"], role["SecretAccessKey"], role["SessionToken"])
    metrics, body = [], {}
    while True:
        page = call(credentials, "ListMetrics", body)
        metrics += page["Metrics"]
        if not page.get("NextToken"):
            break
        body["NextToken"] = page["NextToken"]
    metrics.sort(key=lambda m: (m["Namespace"], m["MetricName"], key(m)))
    batches = [metrics[n : n + 350] for n in range(0, len(metrics), 350)]
    with ThreadPoolExecutor(4) as pool:
        runs = [run for batch in pool.map(lambda b: points(credentials, b), batches) for run in batch]
    lengths = np.array([len(t) for t, _ in runs])
    rows = int(lengths.sum())
    dimensions = pa.array([[(d["Name"], d["Value"]) for d in m["Dimensions"]] for m in metrics], pa.map_(pa.string(), pa.string()))
    table = pa.table(
        {
            "ts": pa.array(np.concatenate([t for t, _ in runs]) * 1_000_000).cast(pa.timestamp("us", "UTC")),
            "account_id": column([account] * len(metrics), lengths),
            "region": column(["us-east-1"] * len(metrics), lengths),
            "namespace": column([m["Namespace"] for m in metrics], lengths),
            "metric_name": column([m["MetricName"] for m in metrics], lengths),
            "dimensions": dimensions.take(pa.array(np.repeat(np.arange(len(metrics)), lengths))),
            "dimensions_key": column([key(m) for m in metrics], lengths),
            "stat": column(["Average"] * len(metrics), lengths),
            "period": pa.array(np.full(rows, period, dtype="i4")),
            "value": pa.array(np.concatenate([v for _, v in runs])),
        }
    )
    folder = pathlib.Path(out) / f"dt={day}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / f"{account}.parquet", compression="zstd")
