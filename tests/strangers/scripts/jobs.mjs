// The jobs that a JavaScript client gets on standard input, and how it answers: one line of JSON per job.

import { readFileSync } from 'node:fs'

/** Calls `send(job, raw)` for each job; it gives what it would show its user, or throws. */
export async function run(send) {
  for (const job of JSON.parse(readFileSync(0, 'utf8'))) {
    let answer
    try {
      answer = { ok: true, text: String(await send(job, readFileSync(job.path))) }
    } catch (error) {
      answer = { ok: false, text: `${error.name}: ${error.message}` }
    }
    process.stdout.write(JSON.stringify(answer) + '\n')
  }
}
