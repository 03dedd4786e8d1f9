"""Jobs by datamodel-code-generator's models, dumped as they are: with null for whatever is not given.

    pydantic_models.py jobs
    pydantic_models.py results < RESULTS
"""

import sys

import job
import result

PHONE = "+84 907 089 782"


def jobs():
    yield job.AntsomiJob(id="pydantic-antsomi", provider="antsomi", query=job.AntsomiQuery(phone=PHONE))
    yield job.OmedaJob(id="pydantic-omeda", provider="omeda", query=job.OmedaQuery(customer_id=12345))
    yield job.KaptureJob(id="pydantic-kapture", provider="kapture", query=job.KaptureQuery(customer_id="191121684"))
    yield job.EgainJob(
        id="pydantic-egain",
        provider="egain",
        query=job.EgainQuery(phone="14082343456102"),
        options=job.EgainOptions(sort="id", order="asc", language="en-US"),
    )
    yield job.PlumeJob(id="pydantic-plume", provider="plume", query=job.PlumeQuery(account_id="acc-1001"))


if sys.argv[1] == "jobs":
    for each in jobs():
        print(each.model_dump_json())
else:
    for line in sys.stdin:
        it = result.LookupResult.model_validate_json(line)
        print(it.job_id, it.status.value, it.customers[0].customer_id)
