// nodemailer's pool: the job's letter to each of its recipients apart, in five sessions that are used again.

import { readFileSync } from 'node:fs'
import nodemailer from 'nodemailer'
import { run } from './jobs.mjs'

await run(async (job, raw) => {
  const transport = nodemailer.createTransport({
    pool: true, maxConnections: 5, maxMessages: 30,
    host: job.host, port: job.port, secure: job.tls === 'implicit', requireTLS: job.tls === 'starttls',
    tls: { ca: readFileSync(job.ca) }, auth: { user: job.username, pass: job.password },
  })
  const sent = job.recipients.map((to) => transport.sendMail({ envelope: { from: job.sender, to: [to] }, raw }))
  const replies = (await Promise.all(sent)).map((info) => info.response)
  transport.close()
  return `${new Set(replies).size} different replies`
})
