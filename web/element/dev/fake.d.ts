import type { Client, Video } from '../src/core.js'

export function video(fields?: Partial<Video>): Video
export function fakeClient(rows: Record<string, Video>): Client & { rows: Record<string, Video>; calls: { name: string }[]; names(): string[] }
