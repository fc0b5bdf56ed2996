// Writes ../registry/vibe-video.json, an item of a shadcn registry: the element's
// source, for people who copy code.  With --check it only compares.

import { readFileSync, writeFileSync } from 'node:fs'

const PLACE = new URL('../registry/vibe-video.json', import.meta.url)
const FILES = ['core.ts', 'labels.ts', 'styles.ts', 'element.ts', 'index.ts', 'react.ts']
const { description, devDependencies } = JSON.parse(readFileSync(new URL('package.json', import.meta.url)))

// Not every bundler takes ./core.js for core.ts.
const content = (name) => readFileSync(new URL(`src/${name}`, import.meta.url), 'utf8').replace(/(from '\.\/\w+)\.js'/g, "$1'")

const item = {
  $schema: 'https://ui.shadcn.com/schema/registry-item.json',
  name: 'vibe-video',
  type: 'registry:component',
  title: 'vibe-video',
  description,
  dependencies: [`lit@^${devDependencies.lit}`],
  css: {
    '@layer base': {
      'vibe-video': {
        '--vibe-video-accent': 'var(--primary)',
        '--vibe-video-on-accent': 'var(--primary-foreground)',
        '--vibe-video-surface': 'var(--card)',
        '--vibe-video-text': 'var(--card-foreground)',
        '--vibe-video-muted': 'var(--muted-foreground)',
        '--vibe-video-border': 'var(--border)',
        '--vibe-video-danger': 'var(--destructive)',
        '--vibe-video-radius': 'var(--radius)',
      },
    },
  },
  files: FILES.map((name) => ({
    path: `element/src/${name}`, type: 'registry:component', target: `components/vibe-video/${name}`,
    content: name === 'react.ts' ? `'use client'\n\n${content(name)}` : content(name),
  })),
}

const text = `${JSON.stringify(item, null, 2)}\n`
if (process.argv.includes('--check')) {
  if (readFileSync(PLACE, 'utf8') !== text) throw new Error('web/registry/vibe-video.json is not what node web/element/registry.mjs makes of the source')
} else {
  writeFileSync(PLACE, text)
}
