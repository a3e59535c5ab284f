"""aiosmtplib, five sessions at once that are used again: the job's letter to each of its recipients apart."""

import asyncio

import aiosmtplib
import jobs


def send(job, raw):
    return asyncio.run(share(job, raw))


async def share(job, raw):
    replies = await asyncio.gather(*(session(job, raw, job["recipients"][start::5]) for start in range(5)))
    return f"{len(set().union(*replies))} different replies"


async def session(job, raw, recipients):
    client = aiosmtplib.SMTP(
        hostname=job["host"], port=job["port"], username=job["username"], password=job["password"],
        use_tls=job["tls"] == "implicit", start_tls=job["tls"] == "starttls", tls_context=jobs.context(job),
    )
    async with client:
        return {(await client.sendmail(job["sender"], [recipient], raw))[1] for recipient in recipients}


if __name__ == "__main__":
    jobs.run(send)
