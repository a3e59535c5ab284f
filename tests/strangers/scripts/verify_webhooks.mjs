// The Standard Webhooks library of npm: reads secret and calls as JSON, tells of each call whether it holds.

import { readFileSync } from 'node:fs'
import { Webhook, WebhookVerificationError } from 'standardwebhooks'

function holds(secret, call) {
  try {
    new Webhook(secret).verify(call.body, call.headers)
    return true
  } catch (error) {
    if (error instanceof WebhookVerificationError) return false
    throw error
  }
}

const asked = JSON.parse(readFileSync(0, 'utf8'))
console.log(JSON.stringify(asked.calls.map((call) => holds(asked.secret, call))))
