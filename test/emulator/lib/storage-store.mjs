// What the emulator keeps: buckets and object rows in memory, bytes in files
// named after the version. A row appears only when its bytes are complete.

import { createHash, randomUUID } from 'node:crypto'
import { closeSync, copyFileSync, createReadStream, linkSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { errors } from './storage-http.mjs'

const HEAD_BYTES = 64 * 1024

// Incoming bytes: hashed as they pass, never held as a whole. Writing
// is synchronous: into the page cache that is several times faster than a write
// stream, and no chunk is read before the last one is written.
class Sink {
  constructor(file) {
    this.version = randomUUID()
    this.size = 0
    this.sha256 = createHash('sha256')
    this.md5 = createHash('md5')
    this.head = []
    this.headSize = 0
    this.file = file?.(this.version)
    this.fd = this.file && openSync(this.file, 'wx')
  }

  write(chunk) {
    // A reset of the emulator may drop a sink that is still being written.
    if (this.dropped) return
    this.size += chunk.length
    this.sha256.update(chunk)
    this.md5.update(chunk)
    if (this.file) writeAll(this.fd, chunk)
    else this.keepHead(chunk)
  }

  keepHead(chunk) {
    if (this.headSize >= HEAD_BYTES) return
    const part = Buffer.from(chunk.subarray(0, HEAD_BYTES - this.headSize))
    this.head.push(part)
    this.headSize += part.length
  }

  finish() {
    this.close()
    return {
      version: this.version, file: this.file, size: this.size,
      head: this.file ? undefined : Buffer.concat(this.head),
      sha256: this.sha256.digest('hex'), md5: this.md5.digest('hex'),
    }
  }

  close() {
    if (this.fd !== undefined) closeSync(this.fd)
    this.fd = undefined
  }

  drop() {
    this.dropped = true
    this.close()
    if (this.file) rmSync(this.file, { force: true })
  }
}

function shareFile(from, to) {
  try {
    linkSync(from, to)
  } catch {
    copyFileSync(from, to)
  }
}

function writeAll(fd, chunk) {
  for (let at = 0; at < chunk.length;) at += writeSync(fd, chunk, at)
}

export class Store {
  constructor(dir, discard) {
    Object.assign(this, { dir, discard, buckets: new Map(), uploadCounts: new Map() })
  }

  openSink({ keep = !this.discard } = {}) {
    return new Sink(keep ? (version) => join(this.dir, version) : undefined)
  }

  addBucket({ name, id = name, public: isPublic = false, file_size_limit = null, allowed_mime_types = null }) {
    const now = new Date().toISOString()
    this.buckets.set(id, {
      id, name, owner: '', public: isPublic, file_size_limit, allowed_mime_types,
      created_at: now, updated_at: now, objects: new Map(),
    })
  }

  bucket(id) {
    const found = this.buckets.get(id)
    if (!found) throw errors.noSuchBucket()
    return found
  }

  find(bucket, key) {
    return this.buckets.get(bucket)?.objects.get(key)
  }

  get(bucket, key) {
    const found = this.find(bucket, key)
    if (!found) throw errors.noSuchKey()
    return found
  }

  // The row keeps its id over an upsert; the previous bytes go away
  // (storage/uploader.ts completeUpload).
  commit(bucketId, key, bytes, { content_type, cache_control, user_metadata }) {
    const bucket = this.bucket(bucketId)
    const old = bucket.objects.get(key)
    const now = new Date().toISOString()
    const object = {
      ...bytes, content_type, cache_control, user_metadata,
      id: old?.id ?? randomUUID(), bucket: bucketId, key, etag: `"${bytes.md5}"`,
      created_at: old?.created_at ?? now, updated_at: now, last_accessed_at: now,
    }
    bucket.objects.set(key, object)
    const name = `${bucketId}/${key}`
    this.uploadCounts.set(name, (this.uploadCounts.get(name) ?? 0) + 1)
    if (old) this.forget(old)
    return object
  }

  forget(object) {
    if (object.file) rmSync(object.file, { force: true })
  }

  remove(bucket, key) {
    const object = this.get(bucket, key)
    this.buckets.get(bucket).objects.delete(key)
    this.forget(object)
    return object
  }

  copy(source, bucketId, key) {
    const version = randomUUID()
    const bytes = { version, size: source.size, sha256: source.sha256, md5: source.md5, head: source.head }
    if (source.file) {
      bytes.file = join(this.dir, version)
      // Bytes never change after commit, so two names may share them.
      shareFile(source.file, bytes.file)
    }
    return this.commit(bucketId, key, bytes, source)
  }

  read(object, start = 0, end = object.size - 1) {
    if (object.file) return createReadStream(object.file, { start, end: Math.max(end, start), highWaterMark: 1 << 18 })
    return Readable.from(this.readDiscarded(object, start, end))
  }

  // With --discard only the beginning is real; the rest reads as zeros.
  *readDiscarded(object, start, end) {
    for (let at = start; at <= end; at += HEAD_BYTES) {
      const chunk = Buffer.alloc(Math.min(HEAD_BYTES, end + 1 - at))
      if (at < object.head.length) object.head.copy(chunk, 0, at)
      yield chunk
    }
  }

  clear() {
    for (const bucket of this.buckets.values()) bucket.objects.forEach((o) => this.forget(o))
    this.buckets.clear()
    this.uploadCounts.clear()
  }

  describe() {
    return [...this.buckets.values()].flatMap((b) => [...b.objects.values()]).map((o) => ({
      bucket: o.bucket, key: o.key, size: o.size, sha256: o.sha256, md5: o.md5,
      content_type: o.content_type, cache_control: o.cache_control, metadata: o.user_metadata,
      id: o.id, version: o.version, created_at: o.created_at, updated_at: o.updated_at,
      uploads: this.uploadCounts.get(`${o.bucket}/${o.key}`),
    }))
  }
}
