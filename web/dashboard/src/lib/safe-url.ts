// Addresses from the database are other people's words: only http and https become links.

/** The address, normalised, if a browser may follow it; else null. */
export function safeUrl(text: string | null | undefined): string | null {
  if (!text) return null
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return null
  }
  return url.protocol === 'https:' || url.protocol === 'http:' ? url.href : null
}
