// Builds dist/: ES modules with lit in them, so that a page needs no bundler, and
// their types.  index.js and react.js import core.js, which holds the client that
// was set and the watches they share.

import { build } from 'esbuild'
import { execFileSync } from 'node:child_process'
import { appendFileSync, copyFileSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const here = (name) => fileURLToPath(new URL(name, import.meta.url))

const keepCore = {
  name: 'core stays a module of its own',
  setup: ({ onResolve }) => onResolve({ filter: /^\.\/core\.js$/ }, () => ({ path: './core.js', external: true })),
}

/** Without comments, line breaks, and blanks where CSS needs none. */
const smallerStyles = {
  name: 'small styles',
  setup: ({ onLoad }) => onLoad({ filter: /src\/styles\.ts$/ }, async ({ path }) => ({
    loader: 'ts',
    contents: (await readFile(path, 'utf8')).replace(/`([^`]*)`/, (_, text) => `\`${
      text.replace(/\/\*.*?\*\//gs, '').replace(/\s+/g, ' ').replace(/ ?([{};,]) ?/g, '$1').replace(/: /g, ':').replace(/;}/g, '}').trim()}\``),
  })),
}

/** Templates without the indentation of the source; blanks between words stay. */
const smallerTemplates = {
  name: 'small templates',
  setup: ({ onLoad }) => onLoad({ filter: /src\/element\.ts$/ }, async ({ path }) => ({
    loader: 'ts', contents: (await readFile(path, 'utf8')).replace(/>\n +</g, '><').replace(/\}\n +\$\{/g, '}${').replace(/\n {6,}(?=[\w@.?-]+=)/g, ' '),
  })),
}

rmSync(here('dist'), { recursive: true, force: true })
execFileSync(process.execPath, [fileURLToPath(import.meta.resolve('typescript/bin/tsc')), '-p', here('.')], { stdio: 'inherit' })
for (const name of readdirSync(here('dist'))) {
  if (/^(element|styles|server)\.d\.ts$/.test(name)) rmSync(here(`dist/${name}`))
}

const common = { bundle: true, format: 'esm', target: 'es2022', minify: true, outdir: here('dist'), legalComments: 'external', logLevel: 'warning' }
await build({ ...common, entryPoints: [here('src/core.ts')] })
await build({ ...common, entryPoints: [here('src/index.ts')], plugins: [keepCore, smallerStyles, smallerTemplates], inject: [here('src/server.ts')], conditions: ['browser'] })
appendFileSync(here('dist/index.js.LEGAL.txt'), `\n${readFileSync(new URL('../LICENSE', import.meta.resolve('lit-html')), 'utf8')}`)
await build({ ...common, entryPoints: [here('src/react.ts')], plugins: [keepCore], external: ['react'], banner: { js: "'use client';" } })
// not in the package: a page in React
await build({ ...common, entryPoints: [here('dev/react.tsx')], outdir: here('dev/built'), legalComments: 'none', jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"development"' } })
copyFileSync(here('../../LICENSE'), here('LICENSE'))
