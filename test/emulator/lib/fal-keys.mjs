// API keys: a plain one for the queue, and one of scope ADMIN, which may do that
// too, for what is billed (fal.ai/docs …/documentation/setting-up/authentication).

const BAD_KEY = "Invalid Key Authorization header format. Expected '<key_id>:<key_secret>'.";
const NO_USER = 'No user found for Key ID and Secret';

function keyIn(header) {
  return /^key +([^:\s]+:[^:\s]+)$/i.exec(header ?? '')?.[1];
}

/** Null for a good key, else the text of the 401. No keys set: any is accepted. */
export function checkKey(header, { keys, adminKeys }) {
  const key = keyIn(header);
  if (key === undefined) return BAD_KEY;
  return keys.length === 0 || keys.includes(key) || adminKeys.includes(key) ? null : NO_USER;
}

/** Where no key is set at all, any is an admin's. */
export function isAdmin(header, { keys, adminKeys }) {
  return adminKeys.includes(keyIn(header)) || (keys.length === 0 && adminKeys.length === 0);
}
