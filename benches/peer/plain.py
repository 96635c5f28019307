"""The exporter one writes in an afternoon: boto3, a thread pool, a list of dicts, pyarrow. One day, every account given, one file each.

    plain.py ENDPOINT DAY OUT ACCOUNT...
"""

import datetime
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
import pyarrow as pa
import pyarrow.parquet as pq

endpoint, day, out, *accounts = sys.argv[1:]
start = datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.timezone.utc)
end = start + datetime.timedelta(days=1)
period = 300


def client(account):
    sts = boto3.client("sts", endpoint_url=endpoint, region_name="us-east-1")
    role = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/Reader", RoleSessionName="peer")["Credentials"]
    return boto3.client(
        "cloudwatch",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=role["AccessKeyId"],
        aws_secret_access_key=role["SecretAccessKey"],
        aws_session_token=role["SessionToken"],
    )


def points(cloudwatch, account, metrics):
    queries = [
        {"Id": f"q{n}", "MetricStat": {"Metric": metric, "Period": period, "Stat": "Average"}} for n, metric in enumerate(metrics)
    ]
    rows = []
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=start, EndTime=end, ScanBy="TimestampAscending"
    )
    for page in pages:
        for result in page["MetricDataResults"]:
            metric = metrics[int(result["Id"][1:])]
            dimensions = [(d["Name"], d["Value"]) for d in metric["Dimensions"]]
            key = ",".join(f"{name}={value}" for name, value in dimensions)
            for ts, value in zip(result["Timestamps"], result["Values"]):
                rows.append(
                    {
                        "ts": ts,
                        "account_id": account,
                        "region": "us-east-1",
                        "namespace": metric["Namespace"],
                        "metric_name": metric["MetricName"],
                        "dimensions": dimensions,
                        "dimensions_key": key,
                        "stat": "Average",
                        "period": period,
                        "value": value,
                    }
                )
    return rows


schema = pa.schema(
    {
        "ts": pa.timestamp("us", "UTC"),
        "account_id": pa.string(),
        "region": pa.string(),
        "namespace": pa.string(),
        "metric_name": pa.string(),
        "dimensions": pa.map_(pa.string(), pa.string()),
        "dimensions_key": pa.string(),
        "stat": pa.string(),
        "period": pa.int32(),
        "value": pa.float64(),
    }
)
for account in accounts:
    cloudwatch = client(account)
    metrics = [m for page in cloudwatch.get_paginator("list_metrics").paginate() for m in page["Metrics"]]
    batches = [metrics[n : n + 350] for n in range(0, len(metrics), 350)]
    with ThreadPoolExecutor(4) as pool:
        rows = [row for batch in pool.map(lambda b: points(cloudwatch, account, b), batches) for row in batch]
    folder = pathlib.Path(out) / f"dt={day}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"{account}.parquet", compression="zstd")
