// The API gateway of a Supabase project in front of PostgREST: takes its prefix
// off and wants a key, in the header apikey or the query, which it leaves there
// (supabase/supabase docker/volumes/api: kong.yml, envoy/lds.template.yaml, of
// September 2026). An open route wants none.

const PREFIX = '/rest/v1/'

const refusal = (status, reason, headers, text) => ({
  status, reason, body: Buffer.from(text), headers: [...headers, ['Content-Length', Buffer.byteLength(text)]] })

const JSON_TYPE = ['Content-Type', 'application/json; charset=utf-8']

// Kong 2.8 and Envoy's script, by kind
const UNKEYED = {
  kong: (key) => refusal(401, 'Unauthorized', key ? [JSON_TYPE] : [JSON_TYPE, ['WWW-Authenticate', 'Key realm="kong"']],
    JSON.stringify({ message: key ? 'Invalid authentication credentials' : 'No API key found in request' })),
  envoy: () => refusal(401, 'Unauthorized', [['Content-Type', 'text/plain']], 'Unauthorized'),
}

const UNROUTED = {
  kong: () => refusal(404, 'Not Found', [JSON_TYPE], JSON.stringify({ message: 'no Route matched with those values' })),
  envoy: () => refusal(404, 'Not Found', [], ''),
}

function withHeaders(request, target, headers) {
  return { ...request, target, headers, header: (name) => headers.find(([n]) => n === name)?.[1] }
}

/** An sb_ key becomes the JWT it stands for; a caller's own token stays. */
function authorized(headers, key, { keys, publishableKey }) {
  const own = headers.find(([name]) => name === 'authorization')?.[1]
  if (own !== undefined && !own.startsWith('Bearer sb_')) return headers
  const jwt = key === publishableKey ? keys.anon_jwt : key
  return [...headers.filter(([name]) => name !== 'authorization'), ['authorization', `Bearer ${jwt}`]]
}

export function passGateway(request, gateway, handle) {
  const [path, query] = request.target.split(/(?=\?)/)
  const { headers } = request
  if (gateway.open[path]) return handle(withHeaders(request, gateway.open[path] + (query ?? ''), headers))
  if (!path.startsWith(PREFIX)) return UNROUTED[gateway.kind]()
  const key = request.header('apikey') ?? new URLSearchParams(query ?? '').get('apikey')
  const { keys, publishableKey } = gateway
  if (![publishableKey, keys.anon_jwt, keys.service_jwt].includes(key)) return UNKEYED[gateway.kind](key)
  return handle(withHeaders(request, path.slice(PREFIX.length - 1) + (query ?? ''), authorized(headers, key, gateway)))
}
