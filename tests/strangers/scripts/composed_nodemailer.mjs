// nodemailer composes and sends; what it composed is written beside, to be compared with what arrives.

import { readFileSync, writeFileSync } from 'node:fs'
import nodemailer from 'nodemailer'
import { run } from './jobs.mjs'

function letter(job) {
  return {
    from: `Ein Fremder <${job.sender}>`,
    to: job.recipients,
    subject: 'Grüße, composed',
    text: 'Grüße aus Köln.\n.\n..\nEnde',
    html: '<p>Grüße</p>',
    date: new Date('2026-11-26T10:00:00Z'),
    messageId: `<composed@${job.sender.split('@')[1]}>`,
    baseBoundary: 'edge',
    attachments: [{ filename: 'noise.bin', content: Buffer.alloc(50_000, 'noise') }],
  }
}

await run(async (job) => {
  const rendered = await nodemailer
    .createTransport({ streamTransport: true, buffer: true, newline: 'windows' })
    .sendMail(letter(job))
  const message = rendered.message
  writeFileSync(job.path, message.subarray(-2).toString() === '\r\n' ? message : Buffer.concat([message, Buffer.from('\r\n')]))
  const transport = nodemailer.createTransport({
    host: job.host, port: job.port, secure: job.tls === 'implicit', requireTLS: job.tls === 'starttls',
    tls: { ca: readFileSync(job.ca) }, auth: { user: job.username, pass: job.password },
  })
  return (await transport.sendMail(letter(job))).response
})
