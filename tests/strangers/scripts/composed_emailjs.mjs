// emailjs composes and sends; what it composed is written beside, to be compared with what arrives.

import { readFileSync, writeFileSync } from 'node:fs'
import { Message, SMTPClient } from 'emailjs'
import { run } from './jobs.mjs'

// Boundaries come from Math.random: the same numbers twice give the same message twice.
function withSameNumbers(act) {
  let state = 1
  Math.random = () => (state = (state * 48271) % 2147483647) / 2147483647
  return act()
}

function compose(job) {
  return new Message({
    from: `Ein Fremder <${job.sender}>`,
    to: job.recipients.join(', '),
    subject: 'Grüße, composed',
    // It neither doubles dots nor mends line ends, so the text does both itself.
    text: 'Grüße aus Köln.\r\n\r\nEnde',
    date: 'Thu, 26 Nov 2026 10:00:00 +0000',
    'message-id': `<composed@${job.sender.split('@')[1]}>`,
    attachment: [
      { data: '<p>Grüße</p>', alternative: true },
      { data: Buffer.alloc(50_000, 'noise').toString('base64'), encoded: true, name: 'noise.bin', type: 'application/octet-stream' },
    ],
  })
}

await run(async (job) => {
  const tls = { ca: readFileSync(job.ca) }
  const client = new SMTPClient({
    user: job.username, password: job.password, host: job.host, port: job.port,
    ssl: job.tls === 'implicit' ? tls : false, tls: job.tls === 'starttls' ? tls : false,
  })
  // It writes CRLF and a dot after whatever it composed.
  writeFileSync(job.path, (await withSameNumbers(() => compose(job).readAsync())) + '\r\n')
  try {
    await withSameNumbers(() => client.sendAsync(compose(job)))
    return 'sent'
  } finally {
    client.smtp.close()
  }
})
