"""Jobs by quicktype's classes in Python.

    quicktype_classes.py jobs
    quicktype_classes.py results < RESULTS
"""

import json
import sys

import job
import result

JOBS = {
    "antsomi": job.Query(phone="+84 907 089 782"),
    "omeda": job.Query(customer_id=12345),
    "kapture": job.Query(customer_id="191121684"),
    "egain": job.Query(phone="14082343456102"),
    "plume": job.Query(account_id="acc-1001"),
}

if sys.argv[1] == "jobs":
    for provider, query in JOBS.items():
        each = job.LookupJob(id=f"quicktype-python-{provider}", provider=provider, query=query, lane=job.Lane.BULK)
        print(json.dumps(job.lookup_job_to_dict(each)))
else:
    for line in sys.stdin:
        it = result.lookup_result_from_dict(json.loads(line))
        print(it.job_id, it.status.value, it.customers[0].customer_id)
