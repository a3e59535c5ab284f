// nodemailer with a raw message: it dots and sends, and asks for SMTPUTF8 by itself.

import { readFileSync } from 'node:fs'
import nodemailer from 'nodemailer'
import { run } from './jobs.mjs'

await run(async (job, raw) => {
  const transport = nodemailer.createTransport({
    host: job.host,
    port: job.port,
    secure: job.tls === 'implicit',
    requireTLS: job.tls === 'starttls',
    tls: { ca: readFileSync(job.ca) },
    auth: { user: job.username, pass: job.password },
  })
  const envelope = { from: job.sender, to: job.recipients, use8BitMime: !/^[\x00-\x7f]*$/.test(raw.toString('latin1')) }
  const info = await transport.sendMail({ envelope, raw })
  if (info.rejected.length > 0) {
    throw new Error(`rejected: ${info.rejected}: ${info.rejectedErrors.map((error) => error.message)}`)
  }
  return info.response
})
