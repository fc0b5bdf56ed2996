#!/usr/bin/env node
// Runs the unit tests with node's test runner, those in TypeScript after building them.

import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const folder = await mkdtemp(join(tmpdir(), 'vibevideo-web-'))
try {
  const all = (await readdir(`${ROOT}test`)).filter((name) => /\.test\.(ts|mjs)$/.test(name))
  const tests = all.filter((name) => name.endsWith('.ts'))
  await build({
    configFile: false,
    root: ROOT,
    logLevel: 'warn',
    build: {
      ssr: true,
      outDir: folder,
      emptyOutDir: false,
      minify: false,
      rolldownOptions: { input: tests.map((name) => `${ROOT}test/${name}`), output: { entryFileNames: '[name].mjs' } },
    },
  })
  const ready = (name) => (name.endsWith('.mjs') ? `${ROOT}test/${name}` : join(folder, name.replace(/ts$/, 'mjs')))
  // another language than a developer's own, so that no test leans on that
  const env = { ...process.env, TZ: 'Europe/Vienna', LC_ALL: 'en_GB.UTF-8' }
  process.exitCode = spawnSync(process.execPath, ['--test', ...all.map(ready)], { stdio: 'inherit', env }).status ?? 1
} finally {
  await rm(folder, { recursive: true })
}
