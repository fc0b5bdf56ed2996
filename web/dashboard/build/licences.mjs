// Which packages are in the bundle, and under which licences.

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

const ALLOWED = ['MIT', 'BSD-3-Clause', '0BSD']

/** The folder of the package that a module is of, or null for one of ours. */
function folderOf(module) {
  const found = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(module.replace(/^\0/, ''))
  return found?.[1] ?? null
}

async function licenceText(folder) {
  const name = (await readdir(folder)).find((file) => /^licen[cs]e(\.|$)/i.test(file))
  return name ? (await readFile(join(folder, name), 'utf8')).replaceAll('\r', '').trim() : null
}

// Tells who holds the rights; the rest of a licence is the same for many.
function split(text) {
  const holder = text.match(/^.*copyright \(?c?\)?.*$/im)
  return {
    holder: holder ? holder[0].trim() : '',
    terms: text
      .replace(holder?.[0] ?? '', '')
      .replace(/\n{3,}/g, '\n\n')
      .trim(),
  }
}

export async function licences(modules) {
  const folders = [...new Set(modules.map(folderOf).filter(Boolean))].sort()
  return Promise.all(
    folders.map(async (folder) => {
      const { name, version, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))
      if (!ALLOWED.includes(license)) throw new Error(`${name} is under ${license}`)
      const text = await licenceText(folder)
      const whole = { name, version, license, ...split(text ?? '') }
      return asksForNothing(whole) ? { ...whole, terms: '' } : whole
    }),
  )
}

/** 0BSD asks for nothing: the name is enough. */
const asksForNothing = (one) => one.license === '0BSD'

/** One text for each set of terms, below the packages that are under them. */
export function notices(packages) {
  const byTerms = new Map()
  for (const one of packages) {
    // The MIT License (MIT), or MIT License: the terms are the same
    const key = one.terms
      .replace(/^.*licen[cs]e.*\n/i, '')
      .replace(/\s+/g, ' ')
      .trim()
    byTerms.set(key, [...(byTerms.get(key) ?? []), one])
  }
  return [...byTerms.values()]
    .map((group) => {
      const heads = group.map((one) => `${one.name} ${one.version} (${one.license}). ${one.holder}`.trim())
      return [heads.join('\n'), group[0].terms].filter(Boolean).join('\n\n')
    })
    .join('\n\n')
}
