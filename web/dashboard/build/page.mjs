// The one file: its script and its style sheet are known by their hashes, and nothing else may run.

import { createHash } from 'node:crypto'

const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

// Where the database serves the page, its header says the same and more; this holds also where a file is opened.
function policy(script, style) {
  return [
    "default-src 'none'",
    `script-src ${hash(script)}`,
    `style-src ${hash(style)}`,
    'connect-src *',
    'img-src * data:',
    'media-src *',
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
    'trusted-types lit-html',
  ].join('; ')
}

/** Whatever would end the element early, or make a parser look for another one, stops the build. */
function checkInline(name, text) {
  const found = /<\/(script|style)|<script|<!--[^?]/i.exec(text)
  if (found) throw new Error(`the ${name} has "${found[0]}" in it`)
}

export function page(script, style, notices) {
  checkInline('script', script.replaceAll('<!--?', ''))
  checkInline('style sheet', style)
  if (notices.includes('--')) throw new Error('the notices would end their comment')
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy(script, style)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<title>vibevideo</title>
<link rel="icon" href="data:,">
<style>${style}</style>
<script type="module">${script}</script>
</head>
<body>
<vv-app></vv-app>
<noscript>This page needs JavaScript. The same can be seen with psql: see console.sql.</noscript>
</body>
</html>
<!--
${notices}
-->
`
}
