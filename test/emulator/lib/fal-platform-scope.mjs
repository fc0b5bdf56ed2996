// Whose key a route of the platform API needs.
import { checkKey, isAdmin } from './fal-keys.mjs';
import { PlatformError } from './fal-platform-query.mjs';

export const ANYBODY = 0; // a key may be left out, but not be wrong
export const USER = 1;
export const ADMIN = 2;

export function checkScope(context, header, scope) {
  if (scope === ANYBODY && header === undefined) return;
  const refused = checkKey(header, context);
  if (refused) throw new PlatformError(401, 'authorization_error', refused);
  if (scope === ADMIN && !isAdmin(header, context)) throw new PlatformError(403, 'authorization_error', 'This endpoint requires an API key of scope ADMIN');
}
