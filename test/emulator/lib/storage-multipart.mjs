// multipart/form-data as browsers and supabase-js send it: small fields and one
// file, the file streamed on while it arrives.

const MAX_FIELD = 1 << 20

export function boundaryOf(contentType) {
  const found = /boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType)
  return found && (found[1] ?? found[2])
}

function parsePartHeaders(text) {
  const line = (name) => new RegExp(`^${name}:\\s*(.*)$`, 'im').exec(text)?.[1]
  const disposition = line('content-disposition') ?? ''
  return {
    name: /[; ]name="([^"]*)"/i.exec(disposition)?.[1] ?? '',
    isFile: /filename/i.test(disposition),
    type: line('content-type') ?? 'application/octet-stream',
  }
}

export class MultipartReader {
  // onFile(part, fields) is called once; onFileData(chunk) may return a promise.
  constructor(boundary, { onFile, onFileData }) {
    Object.assign(this, { onFile, onFileData, fields: {}, complete: false, part: undefined })
    this.mark = Buffer.from(`\r\n--${boundary}`)
    // A leading CRLF makes the first boundary look like the others.
    this.rest = Buffer.from('\r\n')
  }

  async push(chunk) {
    this.rest = Buffer.concat([this.rest, chunk])
    while (!this.complete && await this.step());
  }

  // One piece of progress; false asks for more bytes.
  async step() {
    return this.inHeaders ? this.readHeaders() : this.readContent()
  }

  readHeaders() {
    if (this.rest.length >= 2 && this.rest.subarray(0, 2).equals(Buffer.from('--'))) {
      this.complete = true
      return false
    }
    const end = this.rest.indexOf('\r\n\r\n')
    if (end < 0) return false
    this.part = { ...parsePartHeaders(this.rest.subarray(0, end).toString()), chunks: [], size: 0 }
    this.rest = this.rest.subarray(end + 4)
    this.inHeaders = false
    if (this.part.isFile) this.onFile(this.part, this.fields)
    return true
  }

  async readContent() {
    const at = this.rest.indexOf(this.mark)
    // Keep a tail that could be the start of the boundary.
    const end = at < 0 ? Math.max(0, this.rest.length - this.mark.length) : at
    await this.take(this.rest.subarray(0, end))
    this.rest = this.rest.subarray(at < 0 ? end : at + this.mark.length)
    if (at < 0) return false
    this.closePart()
    this.inHeaders = true
    return true
  }

  async take(bytes) {
    if (!bytes.length || !this.part) return
    if (this.part.isFile) return this.onFileData(bytes)
    this.part.size += bytes.length
    if (this.part.size <= MAX_FIELD) this.part.chunks.push(Buffer.from(bytes))
  }

  closePart() {
    if (this.part && !this.part.isFile) this.fields[this.part.name] = Buffer.concat(this.part.chunks).toString()
    this.part = undefined
  }
}
