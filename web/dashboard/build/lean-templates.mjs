// Line breaks, indentation and quotes in templates are for their readers: a browser needs one space, and no quotes
// around what is one word.

import { parseAst } from 'vite'

function collect(node, found) {
  if (!node || typeof node !== 'object') return
  if (Array.isArray(node)) {
    for (const one of node) collect(one, found)
    return
  }
  if (node.type === 'TaggedTemplateExpression' && ['html', 'svg'].includes(node.tag.name))
    found.push(...node.quasi.quasis)
  for (const key of Object.keys(node)) if (key !== 'type') collect(node[key], found)
}

const leaner = (text) => text.replace(/\s*\n\s*/g, ' ').replace(/( [\w-]+=)"([\w.-]+)"(?=[ >])/g, '$1$2')

export function leanTemplates() {
  return {
    name: 'lean-templates',
    enforce: 'pre',
    transform(code, id) {
      if (!/\/src\/.*\.ts$/.test(id)) return null
      const quasis = []
      collect(parseAst(code, { lang: 'ts' }).body, quasis)
      let lean = code
      for (const { start, end } of quasis.sort((a, b) => b.start - a.start))
        lean = lean.slice(0, start) + leaner(lean.slice(start, end)) + lean.slice(end)
      return { code: lean, map: null }
    },
  }
}
