// Child processes of a world: each has a log in the world's folder, says in one line
// of JSON when it is ready, and ends with its standard input, however we end.

import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const EMULATORS = fileURLToPath(new URL('../../emulator/', import.meta.url))

export class Processes {
  constructor(folder) {
    this.folder = folder
    this.children = []
  }

  /** Starts test/emulator/NAME.mjs; what it said of itself, and control(method, path, body). */
  async emulator(name, args) {
    const log = `${this.folder}/${name}.log`
    const out = openSync(log, 'a')
    const child = spawn(process.execPath, [`${EMULATORS}${name}.mjs`, '--exit-with-stdin', ...args], { stdio: ['pipe', 'pipe', out], cwd: this.folder })
    closeSync(out)
    this.children.push(child)
    const lines = createInterface(child.stdout)
    const [line] = await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => [])])
    if (!line) throw new Error(`${name}.mjs did not start:\n${readFileSync(log, 'utf8')}`)
    const ready = JSON.parse(line)
    const control = async (method, path, body) => {
      const answer = await fetch(`${ready.url}/_ctl/${path}`, { method, body: body && JSON.stringify(body) })
      if (!answer.ok) throw new Error(`${name}: ${method} ${path}: ${answer.status} ${await answer.text()}`)
      return answer.json()
    }
    return { ...ready, control }
  }

  async stop() {
    await Promise.all(this.children.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.stdin.end()
      const timer = setTimeout(() => child.kill('SIGKILL'), 5000)
      await ended
      clearTimeout(timer)
    }))
    this.children = []
  }
}
