"""aiosmtplib: the asyncio client of other people."""

import asyncio

import aiosmtplib
import jobs


def send(job, raw):
    return asyncio.run(deliver(job, raw))


async def deliver(job, raw):
    options = ["BODY=8BITMIME"] if not raw.isascii() else []
    if job["utf8"]:
        options.append("SMTPUTF8")
    client = aiosmtplib.SMTP(
        hostname=job["host"], port=job["port"], username=job["username"], password=job["password"],
        use_tls=job["tls"] == "implicit", start_tls=job["tls"] == "starttls", tls_context=jobs.context(job),
    )
    async with client:
        refused, reply = await client.sendmail(job["sender"], job["recipients"], raw, mail_options=options)
    if refused:
        raise aiosmtplib.SMTPRecipientsRefused(list(refused.values()))
    return reply


if __name__ == "__main__":
    jobs.run(send)
