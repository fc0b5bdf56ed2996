// What a person has chosen, kept in the browser: never who they are, nor anything they have seen.

const PREFIX = 'vibevideo.dashboard.'

export function readPref(name: string): string | null {
  try {
    return localStorage.getItem(PREFIX + name)
  } catch {
    return null
  }
}

export function writePref(name: string, value: string): void {
  try {
    localStorage.setItem(PREFIX + name, value)
  } catch {
    // storage is full or forbidden: it holds until the page is closed
  }
}
