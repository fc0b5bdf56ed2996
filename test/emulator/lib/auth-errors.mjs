// Errors as GoTrue sends them: to a client that names API version 2024-01-01 or a
// later one {code, message}, to others {code, error_code, msg}
// (internal/api/errors.go, internal/api/apierrors).

export class AuthError extends Error {
  constructor(status, code, message) {
    super(message)
    Object.assign(this, { status, code })
  }
}

const VERSION = '2024-01-01'

function wantsVersion(header) {
  return /^\d{4}-\d{2}-\d{2}$/.test(header ?? '') && header >= VERSION
}

export function sendError(request, response, error) {
  if (!(error instanceof AuthError)) console.error(error)
  const { status, code, message } = error instanceof AuthError ? error
    : new AuthError(500, 'unexpected_failure', 'Unexpected failure, please check server logs for more information')
  const newer = wantsVersion(request.headers['x-supabase-api-version'])
  const body = newer ? { code, message } : { code: status, error_code: code, msg: message }
  response.writeHead(status, { 'content-type': 'application/json', 'x-sb-error-code': code,
    ...(newer ? { 'x-supabase-api-version': VERSION } : {}) }).end(JSON.stringify(body))
}
