// Which media type an answer has: what the client accepts, by q and order, and
// what the function can give.

import { ApiError } from './rest-errors.mjs'

const OBJECT = 'application/vnd.pgrst.object+json'
const ARRAY = 'application/vnd.pgrst.array+json'
const JSON_TYPE = 'application/json'
// of these, parameters in Accept count for nothing
const KNOWN = new Set([JSON_TYPE, 'text/csv', 'text/plain', 'text/xml', 'application/octet-stream'])

/** The types of an Accept header, the most wanted first. */
function parseAccept(header) {
  return header.split(',').map((item, order) => {
    const [type, ...parameters] = item.split(';').map((part) => part.trim())
    const q = Number(parameters.find((p) => /^q=/i.test(p))?.slice(2) ?? 1)
    const rest = parameters.filter((p) => !/^q=/i.test(p))
    return { type: KNOWN.has(type) ? type : [type, ...rest].join(';'), q, order }
  }).sort((a, b) => b.q - a.q || a.order - b.order).map(({ type }) => type)
}

const BUILT_IN = {
  [JSON_TYPE]: { form: 'json', type: `${JSON_TYPE}; charset=utf-8` },
  '*/*': { form: 'json', type: `${JSON_TYPE}; charset=utf-8` },
  'text/csv': { form: 'csv', type: 'text/csv; charset=utf-8' },
}
for (const [type, form] of [[OBJECT, 'object'], [ARRAY, 'json']]) {
  BUILT_IN[type] = { form, type: `${type}; charset=utf-8` }
  BUILT_IN[`${type};nulls=stripped`] = { form, strip: true, type: `${type};nulls=stripped; charset=utf-8` }
}

const ofDomain = (media) => ({ form: 'raw', type: media === '*/*' ? 'application/octet-stream' : media === 'text/plain' || media === 'text/csv' ? `${media}; charset=utf-8` : media })

/** media: the domain that a function returns, if its name is a media type. */
export function negotiate(accept, media) {
  if (media === '*/*') return ofDomain(media)
  const wanted = parseAccept(accept ?? '*/*')
  for (const type of wanted) {
    if (type === media) return ofDomain(media)
    if (Object.hasOwn(BUILT_IN, type)) return BUILT_IN[type]
  }
  throw new ApiError(406, 'PGRST107', `None of these media types are available: ${wanted.join(', ')}`)
}
